"""What one rendition has to give: its segments and parts, in memory, while they may be asked for.

draft-pantos-hls-rfc8216bis, 6.2.2: a segment leaves the playlist once `window` seconds follow it,
and can be fetched for as long again as the playlist and itself last; the parts of a segment are
listed up to three target durations behind the edge, and can be fetched as long as their segment.
Time is the stream's own, so nothing is lost while a publisher is away. Above `max_bytes` the
oldest segments go early.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from media.units import Kind, Track
from transcoder.hls import cmaf
from transcoder.hls.cutter import Event, PartCut, SegmentClosed, SegmentOpened

MAX_BYTES: Final = 256 << 20
LEAST_TARGETS: Final = 6
"""Target durations that a playlist reaches back at least, so that it can be updated by deltas."""


@dataclass(slots=True)
class Part:
    """A slice of its segment; `duration` in seconds."""

    duration: float
    independent: bool
    offset: int
    size: int


@dataclass(slots=True)
class Segment:
    """`start` in seconds of the stream's clock; `duration` in seconds, so far while open."""

    msn: int
    start: float
    initialization: int
    discontinuity: bool
    independent: bool
    duration: float = 0.0
    closed: bool = False
    parts: list[Part] = field(default_factory=list)
    size: int = 0
    _chunks: list[bytes] = field(default_factory=list)

    @property
    def end(self) -> float:
        return self.start + self.duration

    def add(self, part: PartCut, duration: float) -> None:
        self.parts.append(Part(duration, part.independent, self.size, len(part.data)))
        self._chunks.append(part.data)
        self.size += len(part.data)
        self.duration += duration

    def close(self, duration: float) -> None:
        self._chunks = [b"".join(self._chunks)]
        self.duration = duration
        self.closed = True

    def data(self) -> bytes:
        """All of it; only when closed."""
        return self._chunks[0]

    def part(self, index: int) -> bytes | memoryview:
        if not self.closed:
            return self._chunks[index]
        part = self.parts[index]
        return memoryview(self._chunks[0])[part.offset : part.offset + part.size]


class Rendition:
    """Segments of one track, fed with the events of its segmenter.

    `name` is part of URIs; `version` rises with everything that changes the playlist.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        *,
        part_target: float,
        window: float,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.name = name
        self.kind = kind
        self.part_target = part_target
        self.target_duration = 0
        self.ended = False
        self.version = 0
        self.media_sequence = 0
        self.discontinuity_sequence = 0
        self.listed: deque[Segment] = deque()
        self.track: Track | None = None
        self._scale = 1
        self._window = window
        self._max_bytes = max_bytes
        self._listed_length = 0.0
        self._bytes = 0
        self._kept: dict[int, Segment] = {}
        self._initializations: dict[int, bytes] = {}
        self._newest_initialization = -1
        self._total_bytes = 0
        self._total_length = 0.0
        self._recent: deque[tuple[int, float]] = deque()
        self._peak = 0.0

    # What it has

    @property
    def ready(self) -> bool:
        """True once there is a whole segment, which players need to begin."""
        return bool(self.listed) and self.listed[0].closed

    @property
    def edge(self) -> float:
        """The end of what is published, in seconds of the stream's clock."""
        return self.listed[-1].end if self.listed else 0.0

    @property
    def last(self) -> tuple[int, int]:
        """Number of the newest segment of which something is published, and of its newest part."""
        for segment in reversed(self.listed):
            if segment.parts:
                return segment.msn, len(segment.parts) - 1
        return self.media_sequence - 1, -1

    @property
    def next_part(self) -> tuple[int, int]:
        """The part that will be published next."""
        if not self.listed:
            return self.media_sequence, 0
        newest = self.listed[-1]
        return (newest.msn + 1, 0) if newest.closed else (newest.msn, len(newest.parts))

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._bytes

    @property
    def peak_bandwidth(self) -> int:
        """Bits a second of the densest run of segments that lasts between half and one and a half
        target durations (the draft's peak segment bit rate)."""
        return round(self._peak or self.average_bandwidth)

    @property
    def average_bandwidth(self) -> int:
        return round(8 * self._total_bytes / self._total_length) if self._total_length else 0

    def initialization(self, index: int) -> bytes | None:
        return self._initializations.get(index)

    def segment(self, msn: int) -> Segment | None:
        """A segment that can still be fetched, listed or not."""
        return self._kept.get(msn)

    def has(self, msn: int, part: int | None) -> bool:
        """Whether segment `msn` is complete, or with `part`, that part of it is there. A part past
        the end of a complete segment stands for the first one of the next."""
        last_msn, _ = self.last
        if msn < last_msn:
            return True
        newest = self._kept.get(msn)
        if newest is None:
            return False
        return newest.closed if part is None else part < len(newest.parts)

    # What happens to it

    def apply(self, event: Event) -> None:
        match event:
            case SegmentOpened():
                self._open(event)
                return
            case PartCut():
                segment = self.listed[-1]
                segment.add(event, event.duration / self._scale)
                self._bytes += len(event.data)
            case SegmentClosed():
                segment = self.listed[-1]
                segment.close(event.duration / self._scale)
                self._measure(segment)
                self._listed_length += segment.duration
                self._evict()
        self.version += 1

    def end(self) -> None:
        self.ended = True
        self.version += 1

    def _open(self, event: SegmentOpened) -> None:
        if self.track != event.track:
            self.track = event.track
            self._scale = cmaf.timescale(event.track)
            self._newest_initialization += 1
            self._initializations[self._newest_initialization] = cmaf.initialization(event.track)
        segment = Segment(
            event.msn,
            event.time / self._scale,
            self._newest_initialization,
            event.discontinuity,
            event.independent,
        )
        self.listed.append(segment)
        self._kept[event.msn] = segment

    def _measure(self, segment: Segment) -> None:
        self._total_bytes += segment.size
        self._total_length += segment.duration
        self._recent.append((segment.size, segment.duration))
        longest = 1.5 * self.target_duration
        while len(self._recent) > 1 and sum(length for _, length in self._recent) > longest:
            self._recent.popleft()
        size, length = 0, 0.0
        for one, lasting in reversed(self._recent):
            size, length = size + one, length + lasting
            if 0.5 * self.target_duration <= length <= longest:
                self._peak = max(self._peak, 8 * size / length)

    def _evict(self) -> None:
        window = max(self._window, LEAST_TARGETS * self.target_duration)
        while self._listed_length - self.listed[0].duration >= window:
            self._unlist()
        while self._kept:
            oldest = next(iter(self._kept.values()))
            full = self._bytes > self._max_bytes and oldest.closed
            if oldest is self.listed[0]:
                if not full or len(self.listed) <= 4:
                    return
                self._unlist()
            behind = self.listed[0].start - oldest.end
            if not full and behind < self._listed_length + oldest.duration:
                return
            del self._kept[oldest.msn]
            self._bytes -= oldest.size
            needed = next(iter(self._kept.values())).initialization
            for index in range(oldest.initialization, needed):
                self._initializations.pop(index, None)

    def _unlist(self) -> None:
        gone = self.listed.popleft()
        self._listed_length -= gone.duration
        self.media_sequence += 1
        # the sequence counts the discontinuity tags that are no longer there
        self.discontinuity_sequence += gone.discontinuity
