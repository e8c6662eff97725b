"""What a connection is for: one that feeds the hub, and one that reads a stream back."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from configs.kernel.errors import PeerError
from media.errors import UnsupportedCodec
from media.hub import Publication
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.muxer import TsMuxer
from media.stream import AUDIO, VIDEO, Notice, Stream
from media.subscription import Subscription
from media.units import AccessUnit, Track, TrackId

log = structlog.get_logger(__name__)

HOPELESS_BYTES: Final = 1 << 20
UNSUPPORTED: Final = "unsupported_track"
SRT_PAYLOAD: Final = 7 * 188
"""Seven transport packets, as everybody sends them."""


class IngestSession:
    """MPEG-TS from a publisher into its publication."""

    mode = "publish"

    def __init__(self, room: str) -> None:
        self.room = room
        self._demuxer = TsDemuxer()
        self._hopeless_after = HOPELESS_BYTES
        self._unsupported: tuple[str, ...] = ()
        self._announced: set[TrackId] = set()
        self.publication: Publication | None = None
        self.connection: int | None = None

    def feed(self, payload: bytes) -> None:
        """Raises PeerError when what comes holds no track that we know, and has not for long."""
        self._publish(self._demuxer.feed(payload))
        if self._hopeless_after > 0:
            self._hopeless_after -= len(payload)
            if self._demuxer.tracks:
                self._hopeless_after = 0
            elif self._hopeless_after <= 0:
                raise PeerError("no MPEG-TS with a track that we know")

    def ended(self, reason: str) -> None:
        if self.publication is not None:
            self._publish(self._demuxer.flush())
            self.publication.close(reason)

    @property
    def continuity_errors(self) -> int:
        return self._demuxer.continuity_errors

    def _publish(self, items: list[Track | AccessUnit]) -> None:
        publication = self.publication
        if publication is None:
            return
        for item in items:
            if isinstance(item, Track):
                self._announced.add(item.id)
                publication.set_track(item)
            else:
                publication.write(item)
        self._let_go(publication)
        self._tell_unsupported(publication)

    def _let_go(self, publication: Publication) -> None:
        """Tracks that the programme has no more. While it has none at all, another programme's
        table is on its way, and may have them again."""
        tracks = self._demuxer.tracks
        if not tracks or self._announced <= tracks:
            return
        for track in self._announced - tracks:
            publication.remove_track(track)
        self._announced &= tracks

    def _tell_unsupported(self, publication: Publication) -> None:
        unsupported = tuple(self._demuxer.unsupported)
        if unsupported == self._unsupported:
            return
        self._unsupported = unsupported
        if not unsupported:
            publication.clear_notice(UNSUPPORTED)
            return
        left_out = ", ".join(unsupported)
        publication.notify(
            Notice(UNSUPPORTED, f"Left out: {left_out}. Send H.264 or HEVC with AAC or Opus.")
        )


class PlaySession:
    """A stream as MPEG-TS to a reader; `send` takes one packet's payload."""

    mode = "request"

    def __init__(self, stream: Stream, send: Callable[[bytes], None]) -> None:
        self._subscription = Subscription(stream, tracks=(VIDEO, AUDIO))
        self._muxer = TsMuxer()
        self._send = send
        self.room = stream.room
        self._carried: set[TrackId] = set()
        self._rest = bytearray()

    async def run(self) -> None:
        """Until the stream ends or `close` is called."""
        async for item in self._subscription:
            if isinstance(item, Track):
                self._set_track(item)
            elif item.track in self._carried:
                self._rest += self._muxer.mux(item)
                self._send_whole()
                # The cached pictures come without a pause: others want to run meanwhile.
                await asyncio.sleep(0)
        if self._rest:
            self._send(bytes(self._rest))

    def close(self) -> None:
        self._subscription.close()

    def _set_track(self, track: Track) -> None:
        try:
            self._muxer.set_track(track)
        except (UnsupportedCodec, PeerError) as error:
            self._carried.discard(track.id)
            log.info("srt.track_left_out", room=self.room, track=track.id, reason=str(error))
        else:
            self._carried.add(track.id)

    def _send_whole(self) -> None:
        rest = self._rest
        whole = len(rest) - len(rest) % SRT_PAYLOAD
        for at in range(0, whole, SRT_PAYLOAD):
            self._send(bytes(rest[at : at + SRT_PAYLOAD]))
        del rest[:whole]
