"""Maps the clock of one publisher onto the clock of the stream.

A publisher counts from wherever it likes, jumps when its scene changes, and starts anew when it
reconnects. The stream's clock runs on through all of that. The rules:

- The first unit is anchored at the stream's present time; from there on differences count, so that
  sound and picture keep the distance that the encoder gave them.
- A step of a track's dts back by more than `MAX_BACKWARD`, or of any unit ahead by more than
  `MAX_FORWARD`, is a jump: everything is anchored anew, and the caller is told (`Mapped.jumped`).
- Smaller steps back, and repeats, are pushed to one tick after their predecessor: outputs may rely
  on dts that rise strictly within a track.
"""

from dataclasses import dataclass
from typing import Final

from media.units import CLOCK_RATE, AccessUnit, TrackId

MAX_BACKWARD: Final = 1 * CLOCK_RATE
MAX_FORWARD: Final = 10 * CLOCK_RATE


@dataclass(frozen=True, slots=True)
class Mapped:
    unit: AccessUnit
    jumped: bool


class Timeline:
    """One publisher's clock; `floor` is the dts that no mapped unit may fall below."""

    def __init__(self, *, floor: int = 0) -> None:
        self._floor = floor
        self._offset: int | None = None
        self._last_source: dict[TrackId, int] = {}
        self._newest_source = 0
        self._last_mapped: dict[TrackId, int] = {}

    def map(self, unit: AccessUnit, *, now: int) -> Mapped:
        """The unit on the stream's clock; `now` is that clock's present time in ticks."""
        jumped = False
        if self._offset is None:
            self._anchor(unit.dts, now)
        elif self._is_jump(unit):
            jumped = True
            self._last_source.clear()
            self._anchor(unit.dts, max(now, self._floor))
        offset = self._offset
        assert offset is not None
        self._last_source[unit.track] = unit.dts
        self._newest_source = max(self._newest_source, unit.dts)

        dts = max(unit.dts + offset, self._last_mapped.get(unit.track, self._floor - 1) + 1)
        pts = max(unit.pts + offset, dts)
        self._last_mapped[unit.track] = dts
        return Mapped(AccessUnit(unit.track, pts, dts, unit.keyframe, unit.payload), jumped)

    @property
    def newest(self) -> int:
        """The highest dts handed out so far."""
        return max(self._last_mapped.values(), default=self._floor)

    def _anchor(self, source: int, at: int) -> None:
        self._offset = max(at, self._floor, self.newest if self._last_mapped else 0) - source
        self._newest_source = source

    def _is_jump(self, unit: AccessUnit) -> bool:
        last = self._last_source.get(unit.track)
        if last is not None and unit.dts < last - MAX_BACKWARD:
            return True
        return abs(unit.dts - self._newest_source) > MAX_FORWARD
