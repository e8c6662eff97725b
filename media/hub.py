"""The hub: which rooms are live, who publishes them, and what happens as publishers come and go.

Theory of operation. A room has at most one `Stream`, and a stream at most one `Publication`:

    publish ──► LIVE ──(publisher leaves)──► GRACE ──(grace period over)──► ENDED, forgotten
                  ▲                            │
                  └───────── publish ──────────┘

When a second publisher comes while the first is connected, the key's policy decides: `takeover`
closes the first and continues the stream with the second; `reject` refuses the second, unless the
first has been silent for `SILENT_AFTER` seconds, since then it is a dead connection of which the
network has not told us. Either way the stream's clock runs on and listeners hear of a gap.

No I/O and no clock of its own: a shell calls `handle_timer` when `next_timer` is due.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import structlog

from configs.kernel.clock import Clock
from media.errors import PublishRefused
from media.stream import SETTLE_TICKS, SOURCE_TRACKS, Notice, Phase, Publisher, Stream
from media.timeline import Timeline
from media.units import AccessUnit, Track, TrackId

log = structlog.get_logger(__name__)

SILENT_AFTER: Final = 2.0
JUMP_LOG_S: Final = 10.0
"""A publisher whose clock jumps with every unit gets a line in the log this often."""


class Takeover(StrEnum):
    TAKEOVER = "takeover"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class PublishGrant:
    """The right to publish a room, given by whoever keeps the keys."""

    room: str
    policy: Takeover = Takeover.TAKEOVER


class StreamKeys(Protocol):
    """Whoever keeps the stream keys (signaling), as the ingest servers see it."""

    async def grant(self, room: str, key: str) -> PublishGrant:
        """Raises `PublishRefused`: `not_found` (no such room) or `unauthorized` (wrong key)."""
        ...

    async def room_exists(self, room: str) -> bool: ...

    async def srt_passphrase(self, room: str) -> str | None:
        """The passphrase that SRT callers of this room must use; None: none is asked for."""
        ...


class HubObserver(Protocol):
    """Told of streams as they come and go; what it builds, it attaches to the stream itself."""

    def stream_started(self, stream: Stream) -> None: ...

    def stream_ended(self, stream: Stream) -> None: ...


class Publication:
    """What a publisher holds while it may publish; once closed or evicted, writes do nothing."""

    def __init__(
        self, hub: "Hub", stream: Stream, publisher: Publisher, kick: Callable[[str], None]
    ) -> None:
        self._hub = hub
        self._stream = stream
        self._kick = kick
        self._timeline = Timeline(floor=stream.newest_dts + 1 if stream.has_units else 0)
        self._own: dict[TrackId, Track] = {}
        self._inherits = stream.has_units
        self._settles_at: int | None = None
        self._jump_logged = float("-inf")
        self.publisher = publisher
        self.last_write = hub.now()
        self.active = True

    @property
    def stream(self) -> Stream:
        return self._stream

    def set_track(self, track: Track) -> None:
        """Announces a track, or its new parameters, before the first unit that needs them."""
        if self.active:
            self._own[track.id] = track
            self._stream.set_track(track)

    def remove_track(self, track: TrackId) -> None:
        """The publisher has stopped sending this track and goes on with the others."""
        if self.active and self._own.pop(track, None) is not None:
            self._stream.remove_track(track)

    def notify(self, notice: Notice) -> None:
        """Tells the publisher of something in what it sends; its successor is not told."""
        if self.active:
            self._stream.notify(notice, of_publisher=True)

    def clear_notice(self, code: str) -> None:
        if self.active:
            self._stream.clear_notice(code)

    def write(self, unit: AccessUnit) -> None:
        """A unit with the publisher's own timestamps."""
        if not self.active or unit.track not in self._own:
            return
        now = self._hub.now()
        self.last_write = now
        mapped = self._timeline.map(unit, now=self._stream.ticks(now))
        if mapped.jumped:
            self._log_jump(now)
            self._stream.gap()
        self._stream.bytes_in += len(unit.payload)
        self._stream.push(mapped.unit)
        if self._inherits:
            self._settle(mapped.unit.dts)

    def close(self, reason: str = "") -> None:
        """The publisher left by itself; the stream waits for the next one."""
        if self.active:
            self.active = False
            self._hub.publication_closed(self, reason)

    def evict(self, reason: str) -> None:
        """Takes the right away, and has the ingest server close the connection."""
        if self.active:
            self.active = False
            self._kick(reason)

    def _log_jump(self, now: float) -> None:
        if now >= self._jump_logged + JUMP_LOG_S:
            self._jump_logged = now
            log.info("publisher.clock_jumped", room=self._stream.room)

    def _settle(self, dts: int) -> None:
        # Counted from the first unit, not from now: the stream may be ahead of real time.
        if self._settles_at is None:
            self._settles_at = dts + SETTLE_TICKS
        elif dts >= self._settles_at:
            self._inherits = False
            self._drop_inherited()

    def _drop_inherited(self) -> None:
        """Source tracks of the predecessor that this publisher does not have: they are over."""
        for track in self._stream.tracks:
            if track.id in SOURCE_TRACKS and track.id not in self._own:
                self._stream.remove_track(track.id)


class Hub:
    """All live streams of this process, by room."""

    def __init__(self, clock: Clock, *, grace_period_s: float = 10.0) -> None:
        self._clock = clock
        self._grace_period = grace_period_s
        self._streams: dict[str, Stream] = {}
        self._publications: dict[str, Publication] = {}
        self._deadlines: dict[str, float] = {}
        self._observers: list[HubObserver] = []
        self.timer_changed: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self._clock.monotonic()

    def observe(self, observer: HubObserver) -> None:
        self._observers.append(observer)

    def stream(self, room: str) -> Stream | None:
        """The room's stream, live or in its grace period."""
        return self._streams.get(room)

    @property
    def streams(self) -> Sequence[Stream]:
        return tuple(self._streams.values())

    def publish(
        self, grant: PublishGrant, publisher: Publisher, kick: Callable[[str], None]
    ) -> Publication:
        """Starts or continues the room's stream.

        `kick` is called with a reason when the right is taken away, and has to close the
        connection. Raises `PublishRefused` with code `conflict` when the room is being published
        and the policy is `reject`.
        """
        room = grant.room
        current = self._publications.get(room)
        if current is not None:
            silent = self.now() - current.last_write
            if grant.policy is Takeover.REJECT and silent < SILENT_AFTER:
                raise PublishRefused(f"room {room} is already being published", code="conflict")
            current.evict("taken over by another publisher")
            log.info(
                "publisher.taken_over",
                room=room,
                old=current.publisher.remote,
                new=publisher.remote,
            )
        stream = self._streams.get(room)
        publication = self._continue(stream, publisher, kick) if stream else None
        if publication is None:
            publication = self._start(room, publisher, kick)
        self._publications[room] = publication
        log.info(
            "publisher.joined",
            room=room,
            protocol=publisher.protocol,
            peer=publisher.remote,
            encoder=publisher.encoder,
            continued=stream is not None,
        )
        return publication

    def evict(self, room: str, reason: str) -> None:
        """Sends the room's publisher away; the stream waits for the next one as for any other."""
        publication = self._publications.get(room)
        if publication is not None:
            publication.evict(reason)
            self.publication_closed(publication, reason)

    def end(self, room: str, reason: str) -> None:
        """Ends a room's stream now, without a grace period."""
        publication = self._publications.pop(room, None)
        if publication is not None:
            publication.evict(reason)
        self._end(room)

    def next_timer(self) -> float | None:
        return min(self._deadlines.values(), default=None)

    def handle_timer(self) -> None:
        now = self.now()
        for room in [room for room, deadline in self._deadlines.items() if deadline <= now]:
            self._end(room)

    def publication_closed(self, publication: Publication, reason: str) -> None:
        room = publication.stream.room
        if self._publications.get(room) is not publication:
            return
        del self._publications[room]
        log.info("publisher.left", room=room, peer=publication.publisher.remote, reason=reason)
        publication.stream.publisher = None
        publication.stream.enter(Phase.GRACE)
        self._deadlines[room] = self.now() + self._grace_period
        self.timer_changed()

    def _start(self, room: str, publisher: Publisher, kick: Callable[[str], None]) -> Publication:
        stream = Stream(room, clock_origin=self._clock.monotonic(), wall_origin=self._clock.wall())
        stream.publisher = publisher
        self._streams[room] = stream
        publication = Publication(self, stream, publisher, kick)
        for observer in self._observers:
            observer.stream_started(stream)
        return publication

    def _continue(
        self, stream: Stream, publisher: Publisher, kick: Callable[[str], None]
    ) -> Publication:
        self._deadlines.pop(stream.room, None)
        self.timer_changed()
        stream.publisher = publisher
        stream.change_publisher()
        stream.enter(Phase.LIVE)
        return Publication(self, stream, publisher, kick)

    def _end(self, room: str) -> None:
        self._deadlines.pop(room, None)
        stream = self._streams.pop(room, None)
        if stream is None:
            return
        stream.enter(Phase.ENDED)
        log.info("stream.ended", room=room)
        for observer in self._observers:
            observer.stream_ended(stream)
