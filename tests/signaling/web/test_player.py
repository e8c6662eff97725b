"""The viewer's page in Chromium, with a real WebRTC peer and a real HLS stream to play."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Page

from signaling.pages import PageServer
from tests.support.browser import chromium
from tests.support.signaling import open_signaling
from tests.support.signaling_broadcast import ROOM, Broadcast, live_hls
from tests.support.signaling_pages import open_page, until

pytestmark = pytest.mark.external


@dataclass(frozen=True)
class Viewer:
    page: Page
    broadcast: Broadcast
    url: str

    async def watch(self, room: str = ROOM) -> None:
        await self.page.goto(f"{self.url}/r/{room}")

    async def until(self, condition: str, *, seconds: float = 25) -> None:
        reached = await until(self.page, condition, seconds=seconds)
        assert reached, f"{condition} was not reached: {await self.history()}"

    async def plays_by(self, transport: str, *, seconds: float = 25) -> None:
        await self.until(
            f"vitrine.state === 'playing' && vitrine.transport === '{transport}'", seconds=seconds
        )

    async def is_in(self, state: str) -> None:
        await self.until(f"vitrine.state === '{state}'")

    async def frames_go_on(self) -> None:
        frames = await self.page.evaluate("vitrine.stats().framesDecoded")
        await self.until(f"vitrine.stats().framesDecoded > {frames} + 5")

    async def history(self) -> list[str]:
        entries: list[dict[str, Any]] = await self.page.evaluate("vitrine.history")
        return [entry["text"] for entry in entries]


@asynccontextmanager
async def viewer_of(folder: Path, *, hls: bool = False) -> AsyncIterator[Viewer]:
    async with open_signaling() as signaling:
        await signaling.rooms.open(ROOM, "Demo", owner=None)
        broadcast = Broadcast(signaling.live, folder)
        application = signaling.application(*PageServer().routes(), *broadcast.routes())
        async with TestServer(application) as server, chromium() as browser:
            async with open_page(browser) as (page, faults):
                viewer = Viewer(page, broadcast, str(server.make_url("")).rstrip("/"))
                if hls:
                    async with live_hls(folder):
                        yield viewer
                else:
                    yield viewer
            await broadcast.close()
            assert faults == []


async def test_plays_by_webrtc_with_sound_and_says_goodbye(tmp_path: Path) -> None:
    async with viewer_of(tmp_path) as viewer:
        viewer.broadcast.go_live()
        await viewer.watch()
        await viewer.plays_by("webrtc")
        await viewer.frames_go_on()
        assert await viewer.page.get_attribute("#player", "data-transport") == "webrtc"
        assert await viewer.page.get_attribute("#player", "data-state") == "playing"
        assert "7 viewers" in await viewer.page.inner_text(".line")
        await viewer.until("document.getElementById('status').textContent.includes('behind')")

        await viewer.page.click("#sound")
        await viewer.until("vitrine.stats().audioEnergy > 0.001")
        assert await viewer.page.get_attribute("#sound", "aria-label") == "Mute"

        # What the browser fires when a page goes into its back-forward cache and comes out again.
        await viewer.page.evaluate(
            "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))"
        )
        await viewer.is_in("idle")
        await viewer.page.evaluate(
            "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
        )
        await viewer.plays_by("webrtc")

        await viewer.page.goto(f"{viewer.url}/web/icon.svg")
        async with viewer.broadcast.changed:
            await viewer.broadcast.changed.wait_for(lambda: viewer.broadcast.deletes == 2)
        assert (viewer.broadcast.posts, viewer.broadcast.sessions) == (2, 0)


async def test_falls_back_to_hls_and_comes_back_without_a_gap(tmp_path: Path) -> None:
    async with viewer_of(tmp_path, hls=True) as viewer:
        viewer.broadcast.go_live()
        viewer.broadcast.whep = "blocked"
        await viewer.watch()
        await viewer.plays_by("hls")
        await viewer.frames_go_on()
        await viewer.until("vitrine.stats().latency > 0")
        before = len(await viewer.history())

        viewer.broadcast.whep = "open"
        await viewer.plays_by("webrtc", seconds=40)

        await viewer.frames_go_on()
        changes = (await viewer.history())[before:]
        assert [change for change in changes if not change.startswith("webrtc ")] == [
            "playing webrtc"
        ]


async def test_falls_back_to_hls_when_no_candidate_can_be_reached(tmp_path: Path) -> None:
    async with viewer_of(tmp_path, hls=True) as viewer:
        viewer.broadcast.go_live()
        viewer.broadcast.whep = "unreachable"
        await viewer.watch()

        await viewer.plays_by("hls")

        await viewer.frames_go_on()


async def test_falls_back_to_hls_when_the_picture_stalls_and_returns(tmp_path: Path) -> None:
    async with viewer_of(tmp_path, hls=True) as viewer:
        viewer.broadcast.go_live()
        await viewer.watch()
        await viewer.plays_by("webrtc")

        viewer.broadcast.stall()
        await viewer.plays_by("hls")

        viewer.broadcast.go_live()
        await viewer.plays_by("webrtc", seconds=40)


async def test_goes_on_by_itself_when_the_publisher_comes_back(tmp_path: Path) -> None:
    async with viewer_of(tmp_path) as viewer:
        viewer.broadcast.go_live()
        await viewer.watch()
        await viewer.plays_by("webrtc")

        # within the grace period: in the same session
        viewer.broadcast.lose_publisher()
        await viewer.is_in("reconnecting")
        assert "lost the connection" in await viewer.page.inner_text(".overlay")
        viewer.broadcast.go_live()
        await viewer.plays_by("webrtc")
        assert viewer.broadcast.posts == 1

        # after it: in a new one
        viewer.broadcast.lose_publisher()
        await viewer.is_in("reconnecting")
        await viewer.broadcast.end()
        await viewer.is_in("waiting")
        viewer.broadcast.go_live()
        await viewer.plays_by("webrtc")
        assert viewer.broadcast.sessions == 1


async def test_waits_for_a_room_that_is_not_live_and_names_one_that_is_not_there(
    tmp_path: Path,
) -> None:
    async with viewer_of(tmp_path) as viewer:
        await viewer.watch("none")
        await viewer.is_in("missing")
        assert await viewer.page.inner_text("#message") == "There is no such room"

        await viewer.watch()
        await viewer.is_in("waiting")
        assert await viewer.page.inner_text("#message") == "Not live at the moment"
        viewer.broadcast.go_live()
        await viewer.plays_by("webrtc")
