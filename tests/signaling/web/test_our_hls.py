"""The viewer's page and the HLS that we make, without WebRTC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Page

from configs.kernel.clock import SystemClock
from media.stream import AUDIO, Phase, Stream
from media.units import Codec
from signaling.pages import PageServer
from tests.support.browser import chromium
from tests.support.hls import ROOM, Tape, feed_live, pictures, sound
from tests.support.signaling import Signaling, open_signaling
from tests.support.signaling_pages import open_page, until
from transcoder.hls.http import HlsEndpoint
from transcoder.hls.service import HlsService

pytestmark = [pytest.mark.external, pytest.mark.timeout(120)]

PICTURE, SOUND = pictures(gops=4, size=(320, 192)), sound()
PLAYS = "vitrine.state === 'playing' && vitrine.transport === 'hls'"
HEARD = "document.getElementById('hls').webkitAudioDecodedByteCount"


@dataclass(frozen=True)
class Room:
    """A live room, and a page that is still empty."""

    page: Page
    address: str
    stream: Stream
    signaling: Signaling

    def enter(self, phase: Phase) -> None:
        self.stream.enter(phase)
        self.signaling.live.go_live(ROOM, phase=phase)


@asynccontextmanager
async def live_room() -> AsyncIterator[Room]:
    clock = SystemClock()
    hls = HlsService(clock)
    stream = Stream(ROOM, clock_origin=clock.monotonic(), wall_origin=clock.wall())
    hls.stream_started(stream)
    async with open_signaling() as signaling, chromium() as browser:
        await signaling.rooms.open(ROOM, "Demo", owner=None)
        signaling.live.go_live(ROOM)
        media = HlsEndpoint(hls, signaling.keys.room_exists).routes()
        application = signaling.application(*PageServer().routes(), *media)
        async with TestServer(application) as server, open_page(browser) as (page, faults):
            await page.add_init_script("delete window.RTCPeerConnection;")
            yield Room(page, str(server.make_url(f"/r/{ROOM}")), stream, signaling)
            stream.enter(Phase.ENDED)
            hls.stream_ended(stream)
            assert faults == []


@pytest.mark.parametrize(
    ("before", "after"),
    [((PICTURE,), (PICTURE, SOUND)), ((PICTURE, SOUND), (PICTURE,))],
    ids=["sound comes", "sound goes"],
)
async def test_a_publisher_who_comes_back_with_other_tracks_is_followed(
    before: tuple[Tape, ...], after: tuple[Tape, ...]
) -> None:
    async with live_room() as room:
        page = room.page
        feeding = asyncio.create_task(feed_live(room.stream, *before, seconds=7))
        await page.goto(room.address)
        assert await until(page, PLAYS)
        await feeding
        room.enter(Phase.GRACE)
        await asyncio.sleep(2)  # a publisher takes its time
        room.stream.gap()
        room.enter(Phase.LIVE)
        feeding = asyncio.create_task(feed_live(room.stream, *after, seconds=30))
        await asyncio.sleep(1)  # the hub, too, gives a track a second to come back
        if SOUND not in after:
            room.stream.remove_track(AUDIO)

        went_on = f"{PLAYS} && {HEARD} {'> 0' if SOUND in after else '=== 0'}"
        assert await until(page, went_on, seconds=9)
        frames = await page.evaluate("vitrine.stats().framesDecoded")
        assert await until(page, f"vitrine.stats().framesDecoded > {frames} + 30", seconds=5)
        feeding.cancel()


async def test_a_codec_that_the_browser_lacks_is_known_at_once_and_may_change() -> None:
    async with live_room() as room:
        page = room.page
        hevc = pictures(codec=Codec.HEVC, gops=4)
        feeding = asyncio.create_task(feed_live(room.stream, hevc, seconds=30))
        await page.goto(room.address)
        refused = "vitrine.history.some(({text}) => text.startsWith('hls refused'))"
        assert await until(page, refused, seconds=9)
        feeding.cancel()

        room.stream.gap()
        feeding = asyncio.create_task(feed_live(room.stream, PICTURE, seconds=40))

        assert await until(page, PLAYS, seconds=25)
        feeding.cancel()
