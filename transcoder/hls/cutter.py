"""Samples into parts, parts into segments: the rules of length that picture and sound share.

draft-pantos-hls-rfc8216bis, 4.4.4.9: no part is longer than the part target, and none but the last
of its segment is shorter than 85 % of it. A part is closed as soon as another sample like its last
would not fit. Two things can break the rule, and both are the source's doing: a picture that stays
longer than the part target gets a part of its own, and one so long that it does not fit leaves the
part before it short.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from media.units import Kind, Track
from transcoder.hls import cmaf

LEAST_PART: Final = 0.85


@dataclass(frozen=True, slots=True)
class SegmentOpened:
    """Segment `msn` begins at `time` (ticks of the track's timescale) with a track's parameters."""

    msn: int
    time: int
    track: Track
    discontinuity: bool
    independent: bool


@dataclass(frozen=True, slots=True)
class PartCut:
    """Part `index` of segment `msn`; `independent` if its first sample is a keyframe."""

    msn: int
    index: int
    duration: int
    independent: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class SegmentClosed:
    msn: int
    duration: int


Event = SegmentOpened | PartCut | SegmentClosed


class Cutter:
    """Lengths are in ticks of the track's timescale; `part_limit` is the part target."""

    def __init__(self, kind: Kind, *, part_limit: int) -> None:
        self._kind = kind
        self._part_limit = part_limit
        self._least = LEAST_PART * part_limit
        self._events: deque[Event] = deque()
        self._msn = -1
        self._parts = 0
        self._fragments = 0
        self._samples: list[cmaf.Sample] = []
        self._part_length = 0
        self._start: int | None = None
        self._end = 0

    @property
    def end(self) -> int:
        """The time at which the last sample so far ends."""
        return self._end

    @property
    def start(self) -> int | None:
        """The time at which the open segment began; None while none is open."""
        return self._start

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def open(self, time: int, track: Track, *, discontinuity: bool, independent: bool) -> None:
        self._msn += 1
        self._parts = 0
        self._start = self._end = time
        self._events.append(SegmentOpened(self._msn, time, track, discontinuity, independent))

    def add(self, sample: cmaf.Sample) -> None:
        """A sample of the open segment."""
        if self._samples and self._part_length + sample.duration > self._part_limit:
            self._close_part()
        self._samples.append(sample)
        self._part_length += sample.duration
        self._end = sample.time + sample.duration
        # milliseconds make pictures of 33 and 34 of them: the next may be a little shorter
        least_next = sample.duration - sample.duration // 8
        full = self._part_length + least_next > self._part_limit
        if full and self._part_length >= self._least:
            self._close_part()

    def close(self) -> None:
        """Ends the open segment, if there is one, after its last sample."""
        if self._start is None:
            return
        if self._samples:
            self._close_part()
        self._events.append(SegmentClosed(self._msn, self._end - self._start))
        self._start = None

    def _close_part(self) -> None:
        self._fragments += 1
        data = cmaf.fragment(self._fragments, self._samples, kind=self._kind)
        independent = self._samples[0].keyframe
        length = self._end - self._samples[0].time
        self._events.append(PartCut(self._msn, self._parts, length, independent, data))
        self._parts += 1
        self._samples = []
        self._part_length = 0
