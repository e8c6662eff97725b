"""A room whose stream is packaged in virtual time, and its playlists, read and checked."""

from media.stream import Phase, Stream
from tests.support.clock import FakeClock
from tests.support.hls import ROOM, Tape, feed
from tests.support.hls_playlist import MediaPlaylist, check_media, parse_media
from transcoder.hls.playlist import Skip
from transcoder.hls.presentation import HlsConfig, Presentation
from transcoder.hls.service import HlsService


class Room:
    """A live stream, packaged; `now` moves with what is fed."""

    def __init__(self, config: HlsConfig | None = None) -> None:
        self.clock = FakeClock()
        self.service = HlsService(self.clock, config)
        self.stream = Stream(
            ROOM, clock_origin=self.clock.monotonic(), wall_origin=self.clock.wall()
        )
        self.service.stream_started(self.stream)
        self.now = 0.0

    def feed(self, *tapes: Tape, seconds: float) -> None:
        feed(self.stream, *tapes, seconds=seconds, start=self.now)
        self.now += seconds

    def pause(self, seconds: float) -> None:
        """The publisher goes and another comes."""
        self.stream.enter(Phase.GRACE)
        self.now += seconds
        self.stream.gap()
        self.stream.enter(Phase.LIVE)

    def end(self) -> None:
        self.stream.enter(Phase.ENDED)
        self.service.stream_ended(self.stream)

    @property
    def presentation(self) -> Presentation:
        presentation = self.service.presentation(ROOM)
        assert presentation is not None
        return presentation


def read(presentation: Presentation, name: str) -> MediaPlaylist:
    playlist = parse_media(presentation.media(name, Skip.NOTHING).body.decode())
    check_media(playlist, others=len(presentation.outputs) - 1)
    return playlist
