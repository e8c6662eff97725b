"""A publisher who comes back with other tracks, as those see it who watch by HLS."""

import asyncio
import contextlib

import pytest
from aiohttp.test_utils import TestServer

from configs.kernel.clock import SystemClock
from media.stream import AUDIO, Phase, Stream
from signaling.pages import PageServer
from tests.support.browser import chromium
from tests.support.hls import ROOM, Tape, feed_live, pictures, sound
from tests.support.signaling import open_signaling
from tests.support.signaling_pages import open_page, until
from transcoder.hls.http import HlsEndpoint
from transcoder.hls.service import HlsService

pytestmark = [pytest.mark.external, pytest.mark.timeout(120)]

PICTURE, SOUND = pictures(gops=4, size=(320, 192)), sound()
PLAYS = "vitrine.state === 'playing' && vitrine.transport === 'hls'"
HEARD = "document.getElementById('hls').webkitAudioDecodedByteCount"


@pytest.mark.parametrize(
    ("before", "after"),
    [((PICTURE,), (PICTURE, SOUND)), ((PICTURE, SOUND), (PICTURE,))],
    ids=["sound comes", "sound goes"],
)
async def test_the_page_goes_on_in_the_next_presentation(
    before: tuple[Tape, ...], after: tuple[Tape, ...]
) -> None:
    async with open_signaling() as signaling, contextlib.AsyncExitStack() as stack:
        await signaling.rooms.open(ROOM, "Demo", owner=None)
        signaling.live.go_live(ROOM)
        clock = SystemClock()
        hls = HlsService(clock)
        endpoint = HlsEndpoint(hls, signaling.keys.room_exists)
        application = signaling.application(*PageServer().routes(), *endpoint.routes())
        server = await stack.enter_async_context(TestServer(application))
        browser = await stack.enter_async_context(chromium())
        page, faults = await stack.enter_async_context(open_page(browser))
        await page.add_init_script("delete window.RTCPeerConnection;")
        stream = Stream(ROOM, clock_origin=clock.monotonic(), wall_origin=clock.wall())
        hls.stream_started(stream)

        feeding = asyncio.create_task(feed_live(stream, *before, seconds=7))
        await page.goto(str(server.make_url(f"/r/{ROOM}")))
        assert await until(page, PLAYS)
        await feeding
        stream.enter(Phase.GRACE)
        signaling.live.go_live(ROOM, phase=Phase.GRACE)
        await asyncio.sleep(2)  # a publisher takes its time
        stream.gap()
        stream.enter(Phase.LIVE)
        signaling.live.go_live(ROOM)
        feeding = asyncio.create_task(feed_live(stream, *after, seconds=30))
        await asyncio.sleep(1)  # the hub, too, gives a track a second to come back
        if SOUND not in after:
            stream.remove_track(AUDIO)

        went_on = f"{PLAYS} && {HEARD} {'> 0' if SOUND in after else '=== 0'}"
        assert await until(page, went_on, seconds=9)
        frames = await page.evaluate("vitrine.stats().framesDecoded")
        assert await until(page, f"vitrine.stats().framesDecoded > {frames} + 30", seconds=5)
        feeding.cancel()
        stream.enter(Phase.ENDED)
        hls.stream_ended(stream)
        assert faults == []
