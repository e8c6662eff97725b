"""A live stream of a room: its tracks on one clock, whoever publishes it, and those who listen.

A `Stream` outlives its publishers: within the grace period the next one continues it, so viewers,
playlists and RTP timestamps go on. Besides the source's tracks it carries renditions that a
transcoder worker publishes back (`TrackId`s with a slash, such as ``audio/opus``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import structlog

from media.gop import GopCache
from media.units import CLOCK_RATE, AccessUnit, Codec, Kind, Track, TrackId

log = structlog.get_logger(__name__)

VIDEO: Final = TrackId("video")
AUDIO: Final = TrackId("audio")
AUDIO_OPUS: Final = TrackId("audio/opus")
AUDIO_AAC: Final = TrackId("audio/aac")
VIDEO_WEBRTC: Final = TrackId("video/webrtc")
"""Video re-encoded for WebRTC, present only while the source's cannot be sent there."""

SOURCE_TRACKS: Final = frozenset({VIDEO, AUDIO})
"""Those that come from the publisher; all others are made of them."""

SETTLE_TICKS: Final = CLOCK_RATE
"""How long a stream with one kind of track waits for the other before it counts as complete."""


class Phase(StrEnum):
    LIVE = "live"
    GRACE = "grace"
    ENDED = "ended"


class StreamSink(Protocol):
    """A listener. Called in order, on the event loop; must neither block nor raise."""

    def on_track(self, track: Track) -> None:
        """A track is new, or its parameters changed; comes before the first unit that needs it."""

    def on_track_removed(self, track: TrackId) -> None:
        """No more units of this track will come."""

    def on_unit(self, unit: AccessUnit) -> None: ...

    def on_gap(self) -> None:
        """Time jumped, or another publisher goes on: what follows is no continuation."""

    def on_reordering(self, track: TrackId) -> None:
        """Pictures of this track came in another order than they are shown (B-frames);
        said at most once for each `on_track`, and at `attach` for what is known by then."""

    def on_phase(self, phase: Phase) -> None:
        """LIVE or GRACE or, as the last call of all, ENDED."""


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who is sending: for logs, API and studio. `remote` is an address, never a key."""

    protocol: str
    remote: str
    encoder: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something the publisher should know, in plain words, with the cure."""

    code: str
    message: str


class Stream:
    """One room's stream. `clock_origin` is the monotonic, `wall_origin` the UTC time of tick 0."""

    def __init__(self, room: str, *, clock_origin: float, wall_origin: float) -> None:
        self.room = room
        self.clock_origin = clock_origin
        self.wall_origin = wall_origin
        self.phase = Phase.LIVE
        self.publisher: Publisher | None = None
        self._tracks: dict[TrackId, Track] = {}
        self._gops: dict[TrackId, GopCache] = {}
        self._sinks: list[StreamSink] = []
        self._notices: dict[str, Notice] = {}
        self._of_publisher: set[str] = set()
        self._last_pts: dict[TrackId, int] = {}
        self._reordering: set[TrackId] = set()
        self._doubted: set[TrackId] = set()
        self._first_dts: int | None = None
        self._newest_dts = 0
        self.bytes_in = 0

    # What it is

    def ticks(self, monotonic: float) -> int:
        """The stream's clock at a monotonic time, in ticks of 90 kHz."""
        return round((monotonic - self.clock_origin) * CLOCK_RATE)

    @property
    def tracks(self) -> Sequence[Track]:
        return tuple(self._tracks.values())

    def track(self, track: TrackId) -> Track | None:
        return self._tracks.get(track)

    @property
    def has_units(self) -> bool:
        """True once a first unit has come."""
        return self._first_dts is not None

    @property
    def newest_dts(self) -> int:
        return self._newest_dts

    @property
    def settled(self) -> bool:
        """True once the set of source tracks can be relied on: both kinds are there, or the one
        that is has been running for a second."""
        kinds = {track.kind for track in self._tracks.values()}
        if self._first_dts is None or not kinds:
            return False
        return len(kinds) == len(Kind) or self._newest_dts - self._first_dts >= SETTLE_TICKS

    def reorders(self, track: TrackId) -> bool:
        """True once B-frames were seen in this track as it is now."""
        return track in self._reordering

    @property
    def notices(self) -> Sequence[Notice]:
        return tuple(self._notices.values())

    def notify(self, notice: Notice, *, of_publisher: bool = False) -> None:
        """Records a notice for the publisher; a repeat of a known one is not logged again. One
        `of_publisher` goes when another publisher comes; any other when it is cleared."""
        if of_publisher:
            self._of_publisher.add(notice.code)
        if self._notices.get(notice.code) == notice:
            return
        self._notices[notice.code] = notice
        log.warning("stream.notice", room=self.room, code=notice.code, notice=notice.message)

    def clear_notice(self, code: str) -> None:
        self._notices.pop(code, None)
        self._of_publisher.discard(code)

    def pick(self, *choices: tuple[TrackId, frozenset[Codec]]) -> Track | None:
        """The first of the wanted tracks that is there in one of the wanted codecs."""
        for wanted, codecs in choices:
            track = self._tracks.get(wanted)
            if track is not None and track.codec in codecs:
                return track
        return None

    def gop(self, track: TrackId) -> Sequence[AccessUnit]:
        """The units of a video track since its newest keyframe; empty when none is kept."""
        cache = self._gops.get(track)
        return cache.units if cache is not None else ()

    # Who listens

    def attach(self, sink: StreamSink, *, replay: bool = False) -> None:
        """Adds a listener; it hears of the tracks at once, and with `replay` gets every cached
        group of pictures before the next live unit."""
        for track in self._tracks.values():
            sink.on_track(track)
        for reordered in self._reordering:
            sink.on_reordering(reordered)
        if replay:
            cached = [unit for cache in self._gops.values() for unit in cache.units]
            for unit in sorted(cached, key=lambda unit: unit.dts):
                sink.on_unit(unit)
        self._sinks.append(sink)

    def detach(self, sink: StreamSink) -> None:
        if sink in self._sinks:
            self._sinks.remove(sink)

    @property
    def listeners(self) -> int:
        return len(self._sinks)

    # What goes through

    def set_track(self, track: Track) -> None:
        if self._tracks.get(track.id) == track and track.id not in self._doubted:
            return
        self._tracks[track.id] = track
        if track.kind is Kind.VIDEO:
            self._gops[track.id] = GopCache()
            self._forget_order(track.id)
        for sink in tuple(self._sinks):
            sink.on_track(track)

    def remove_track(self, track: TrackId) -> None:
        if self._tracks.pop(track, None) is None:
            return
        self._gops.pop(track, None)
        self._forget_order(track)
        for sink in tuple(self._sinks):
            sink.on_track_removed(track)

    def push(self, unit: AccessUnit) -> None:
        """A unit already on the stream's clock; units of unknown tracks are dropped."""
        if unit.track not in self._tracks:
            return
        if self._first_dts is None:
            self._first_dts = unit.dts
        self._newest_dts = max(self._newest_dts, unit.dts)
        gop = self._gops.get(unit.track)
        if gop is not None:
            gop.add(unit)
            self._watch_order(unit)
        for sink in tuple(self._sinks):
            sink.on_unit(unit)

    def gap(self) -> None:
        for cache in self._gops.values():
            cache.clear()
        self._last_pts.clear()
        for sink in tuple(self._sinks):
            sink.on_gap()

    def change_publisher(self) -> None:
        """What follows comes from somebody else: what was known of the old one is forgotten."""
        for code in tuple(self._of_publisher):
            self.clear_notice(code)
        # Another encoder with the same parameters may have no B-frames: when it announces the
        # track, that counts as a change.
        self._doubted = {track for track in self._reordering if track in SOURCE_TRACKS}
        self.gap()

    def enter(self, phase: Phase) -> None:
        if phase is self.phase:
            return
        self.phase = phase
        for sink in tuple(self._sinks):
            sink.on_phase(phase)
        if phase is Phase.ENDED:
            self._sinks.clear()
            self._gops.clear()

    def _watch_order(self, unit: AccessUnit) -> None:
        back = unit.pts < self._last_pts.get(unit.track, unit.pts)
        if back and unit.track not in self._reordering:
            self._reordering.add(unit.track)
            for sink in tuple(self._sinks):
                sink.on_reordering(unit.track)
        self._last_pts[unit.track] = unit.pts

    def _forget_order(self, track: TrackId) -> None:
        self._last_pts.pop(track, None)
        self._reordering.discard(track)
        self._doubted.discard(track)
