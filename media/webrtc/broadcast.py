"""A stream as its WebRTC viewers see it: a fan-out for every track that can go over RTP.

The broadcast listens to the stream, viewers ask it which fan-out they belong to, and it tells them
when that may have changed. Which picture a viewer gets: the rendition re-encoded for WebRTC while
there is one, otherwise the source's, unless its pictures are reordered: RTP receivers show frames
as they come, so B-frames would go back and forth.
"""

import asyncio
from collections.abc import Iterator
from typing import Final, Protocol

import structlog

from configs.kernel.clock import Clock
from media.errors import InvalidBitstream, UnsupportedCodec
from media.rtp.downlink import Downlink
from media.rtp.fanout import TrackFanout
from media.stream import AUDIO, AUDIO_OPUS, VIDEO, VIDEO_WEBRTC, Phase, Stream
from media.units import AccessUnit, Codec, Kind, Track, TrackId
from media.webrtc.alarm import Alarm

log = structlog.get_logger(__name__)

SENDABLE: Final = frozenset({Codec.H264, Codec.HEVC, Codec.AV1, Codec.OPUS})


QUIET: Final = 0.5
"""Seconds without a unit after which a viewer's missing picture is the publisher's silence."""


class Audience(Protocol):
    """A viewer as the broadcast knows it."""

    @property
    def connected(self) -> bool: ...

    def tracks_changed(self) -> None:
        """Another fan-out may be the right one now."""

    def stream_ended(self) -> None: ...


class Broadcast:
    """Attach it to its stream with `replay`, so that the newest group of pictures is at hand."""

    def __init__(self, stream: Stream, *, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        self.stream = stream
        self._clock = clock
        self._loop = loop
        self._alarm = Alarm(loop, clock, self._handle_timer)
        self._fanouts: dict[TrackId, TrackFanout] = {}
        self._audience: dict[Audience, None] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._last_unit_at = clock.monotonic()

    # Viewers

    def join(self, viewer: Audience) -> None:
        self._audience[viewer] = None

    def leave(self, viewer: Audience) -> None:
        self._audience.pop(viewer, None)

    @property
    def audience(self) -> int:
        return len(self._audience)

    @property
    def connected(self) -> int:
        """Viewers whose handshake is done."""
        return sum(viewer.connected for viewer in self._audience)

    @property
    def downlinks(self) -> int:
        """Places that viewers hold in the fan-outs."""
        return sum(fanout.viewers for fanout in self._fanouts.values())

    def video_tracks(self) -> list[Track]:
        """What a picture can be sent from, best first; empty while it has to be re-encoded.

        A viewer that takes the source's HEVC or AV1 gets that, although others need it re-encoded.
        """
        tracks = [fanout.track for fanout in self._video_fanouts()]
        return sorted(tracks, key=lambda track: track.codec is Codec.H264)

    def fanout_for(self, kind: Kind, codec: Codec) -> TrackFanout | None:
        """Where a viewer who agreed upon `codec` belongs now; None: nothing to send yet."""
        fanouts = self._video_fanouts() if kind is Kind.VIDEO else self._audio_fanouts()
        return next((f for f in fanouts if f.track.codec is codec), None)

    def has_fanout(self, fanout: TrackFanout) -> bool:
        """Whether its track still exists."""
        return self._fanouts.get(fanout.track.id) is fanout

    def place(self, downlink: Downlink, fanout: TrackFanout | None, at: TrackFanout | None) -> None:
        """Moves a viewer's downlink to `fanout` from where it is `at`."""
        now = self._clock.monotonic()
        if fanout is None:
            self.withdraw(downlink)
            if at is not None:
                at.remove(downlink)
        elif at is None:
            fanout.add(downlink, now=now)
        else:
            fanout.take_over(downlink, at, now=now, at_once=not self.has_fanout(at))
        self._arm()

    def withdraw(self, downlink: Downlink) -> None:
        """Sends no more to it, wherever it is or was about to go."""
        for fanout in self._fanouts.values():
            fanout.remove(downlink)

    def restart(self, downlink: Downlink, fanout: TrackFanout) -> None:
        """The viewer cannot decode: begins again with a keyframe. While nothing comes from the
        publisher a repeat would only show the past once more."""
        now = self._clock.monotonic()
        if now - self._last_unit_at >= QUIET:
            return
        fanout.restart(downlink, now=now)
        self._arm()

    # Whether it can be joined

    @property
    def watchable(self) -> bool:
        """Whether a viewer who joins now sees or hears something at once."""
        stream = self.stream
        if stream.phase is not Phase.LIVE or not stream.settled:
            return False
        videos = [track.id for track in stream.tracks if track.kind is Kind.VIDEO]
        return not videos or any(stream.gop(track) for track in videos)

    async def wait_watchable(self, seconds: float) -> bool:
        """Waits up to `seconds`; False when there is still nothing."""
        if self.watchable:
            return True
        if self.stream.phase is not Phase.LIVE:
            return False
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._waiters.discard(waiter)
        return self.watchable

    # The stream's calls

    def on_track(self, track: Track) -> None:
        if track.codec not in SENDABLE:
            self.on_track_removed(track.id)
            return
        fanout = self._fanouts.get(track.id)
        try:
            if fanout is not None and fanout.track.codec is track.codec:
                fanout.set_track(track)
            else:
                self._fanouts[track.id] = TrackFanout(track, defer=self._loop.call_soon)
        except (InvalidBitstream, UnsupportedCodec) as error:
            log.info(
                "webrtc.track_unusable", room=self.stream.room, track=track.id, reason=str(error)
            )
            self._fanouts.pop(track.id, None)
        self._tell()

    def on_track_removed(self, track: TrackId) -> None:
        if self._fanouts.pop(track, None) is not None:
            self._tell()

    def on_unit(self, unit: AccessUnit) -> None:
        self._last_unit_at = self._clock.monotonic()
        fanout = self._fanouts.get(unit.track)
        if fanout is not None:
            fanout.on_unit(unit)
            self._alarm.set(fanout.next_timer())
        if self._waiters and self.watchable:
            self._wake()

    def on_gap(self) -> None:
        for fanout in self._fanouts.values():
            fanout.on_gap()

    def on_reordering(self, track: TrackId) -> None:
        if track == VIDEO:
            self._tell()

    def on_phase(self, phase: Phase) -> None:
        if phase is not Phase.LIVE:
            self._wake()
        if phase is Phase.ENDED:
            for viewer in tuple(self._audience):
                viewer.stream_ended()
            self._alarm.cancel()

    # Inside

    def _video_fanouts(self) -> Iterator[TrackFanout]:
        if VIDEO_WEBRTC in self._fanouts:
            yield self._fanouts[VIDEO_WEBRTC]
        if VIDEO in self._fanouts and not self.stream.reorders(VIDEO):
            yield self._fanouts[VIDEO]

    def _audio_fanouts(self) -> Iterator[TrackFanout]:
        for track in (AUDIO_OPUS, AUDIO):
            if track in self._fanouts:
                yield self._fanouts[track]

    def _tell(self) -> None:
        for viewer in tuple(self._audience):
            viewer.tracks_changed()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _arm(self) -> None:
        for fanout in self._fanouts.values():
            self._alarm.set(fanout.next_timer())

    def _handle_timer(self) -> None:
        now = self._clock.monotonic()
        for fanout in self._fanouts.values():
            deadline = fanout.next_timer()
            if deadline is not None and deadline <= now:
                fanout.handle_timer(now=now)
        self._arm()
