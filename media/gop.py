"""The group of pictures since the newest keyframe: what a viewer who joins must decode first."""

from collections.abc import Sequence

from media.units import CLOCK_RATE, AccessUnit


class GopCache:
    """Units of one video track from its newest keyframe on, bounded in bytes, time and number.

    A group that outgrows a bound is forgotten whole, since its tail cannot be decoded without its
    head; the cache then stays empty until the next keyframe.
    """

    def __init__(
        self, *, max_bytes: int = 16 << 20, max_seconds: float = 12.0, max_units: int = 4096
    ) -> None:
        self._max_bytes = max_bytes
        self._max_units = max_units
        self._max_ticks = int(max_seconds * CLOCK_RATE)
        self._units: list[AccessUnit] = []
        self._bytes = 0

    def add(self, unit: AccessUnit) -> None:
        if unit.keyframe:
            self._units = [unit]
            self._bytes = len(unit.payload)
            return
        if not self._units:
            return
        self._units.append(unit)
        self._bytes += len(unit.payload)
        if (
            self._bytes > self._max_bytes
            or len(self._units) > self._max_units
            or unit.dts - self._units[0].dts > self._max_ticks
        ):
            self.clear()

    def clear(self) -> None:
        self._units = []
        self._bytes = 0

    @property
    def units(self) -> Sequence[AccessUnit]:
        return self._units

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._bytes
