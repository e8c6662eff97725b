"""How fast a viewer who joins is fed the group of pictures that it missed."""

from typing import Final

MIN_RATE: Final = 10_000_000.0
"""Bits a second; a slower access line could not carry a live picture and its own catching up."""

SPEED_UP: Final = 3.0
"""Times the stream's own bitrate."""

TICK: Final = 0.005
"""Seconds between two bursts; at `MIN_RATE` that is five packets."""


class Pacer:
    """A bucket of bytes that fills with time. A whole frame may overdraw it; the next one waits.

    It starts with enough for one frame, so the first picture leaves at once.
    """

    __slots__ = ("_bytes", "_rate", "_since")

    def __init__(self, *, bitrate: float) -> None:
        self._rate = max(MIN_RATE, SPEED_UP * bitrate) / 8
        self._bytes = 1.0
        self._since: float | None = None

    def may_send(self, now: float) -> bool:
        elapsed = 0.0 if self._since is None else max(0.0, now - self._since)
        self._since = now
        # What could not be used is lost: a bucket that is full after a pause would burst.
        self._bytes = min(self._bytes + elapsed * self._rate, 2 * TICK * self._rate)
        return self._bytes > 0

    def sent(self, size: int) -> None:
        self._bytes -= size
