"""Timestamps of 33 bits, made to run on past their end."""

from typing import Final

from media.mpegts.packets import CLOCK_WRAP

_HALF: Final = CLOCK_WRAP // 2


def _nearest(value: int, reference: int) -> int:
    """The number nearest to `reference` that is `value` modulo 33 bits."""
    return reference + (value - reference + _HALF) % CLOCK_WRAP - _HALF


class Unwrapper:
    """One for all tracks of a programme, so that they pass the end of the 26.5 hours together."""

    def __init__(self) -> None:
        self._reference: int | None = None

    def unwrap(self, pts: int, dts: int) -> tuple[int, int]:
        if self._reference is None:
            self._reference = dts
        dts = self._reference = _nearest(dts, self._reference)
        return _nearest(pts, dts), dts
