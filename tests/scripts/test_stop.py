"""SIGTERM in the middle of everything: viewers are told, nothing is left, the status is 0."""

import asyncio
import re
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urljoin

import psutil
import pytest
from aiohttp import ClientSession

from tests.support.browser import page_at, wait_playing
from tests.support.ffmpeg import push_command, pushing
from tests.support.vitrine import Vitrine, serve

pytestmark = [pytest.mark.external, pytest.mark.timeout(120)]

DRAIN_S = 6
ENVIRON = {"VITRINE_SERVER__DRAIN_TIMEOUT_S": str(DRAIN_S)}


async def playlists(http: ClientSession, index: str) -> list[str]:
    """The media playlists of a live room."""
    async with http.get(index) as reply:
        assert reply.status == 200
        text = await reply.text()
    named = re.findall(r'URI="([^"]+\.m3u8[^"]*)"', text)
    named += [line for line in text.splitlines() if line and not line.startswith("#")]
    return [urljoin(index, uri) for uri in named]


async def blocked(http: ClientSession, playlist: str) -> str:
    """Asks for a segment that has not begun, which holds the request."""
    async with http.get(playlist) as reply:
        text = await reply.text()
    first = int(text.partition("#EXT-X-MEDIA-SEQUENCE:")[2].split()[0])
    following = first + text.count("#EXTINF:") + 1
    async with http.get(playlist, params={"_HLS_msn": str(following)}) as reply:
        assert reply.status == 200
        return await reply.text()


def left(processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running()]


async def stopped(server: Vitrine) -> tuple[int, float]:
    """The exit status and the seconds it took."""
    started = time.monotonic()
    status = await server.stop()
    return status, time.monotonic() - started


@pytest.mark.parametrize("protocol", ["rtmp", "srt"])
async def test_with_viewers_and_a_publisher(tmp_path: Path, protocol: str) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(tmp_path, environ=ENVIRON))
        http = await stack.enter_async_context(ClientSession())
        publisher = await stack.enter_async_context(
            pushing(push_command(server.first_run[protocol]))
        )
        await server.wait_live()
        for door in ("rtmp", "http", "webrtc"):
            silent = socket.create_connection(("127.0.0.1", server.ports[door]))
            stack.enter_context(silent)
        page = await stack.enter_async_context(page_at(f"{server.http}/r/demo"))
        await wait_playing(page, "webrtc")
        found = await playlists(http, server.first_run["hls"])
        reloads = [asyncio.create_task(blocked(http, playlist)) for playlist in found]
        await asyncio.wait(reloads, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        children = server.children()
        commands = [" ".join(child.cmdline()) for child in children]

        status, seconds = await stopped(server)
        texts = await asyncio.gather(*reloads)
        async with asyncio.timeout(20):
            await publisher.wait()

    assert status == 0
    assert seconds < DRAIN_S + 2
    assert len(texts) == 2
    assert all("#EXT-X-ENDLIST" in text for text in texts)
    assert any("transcoder.worker" in command for command in commands)
    assert left(children) == []
    assert not [line for line in server.log if "Traceback" in line or '"error"' in line]


async def test_with_the_demo(tmp_path: Path) -> None:
    async with serve(tmp_path, "--demo", environ=ENVIRON) as server:
        await server.wait_live()
        children = server.children()
        commands = [" ".join(child.cmdline()) for child in children]
        status, seconds = await stopped(server)

    assert any("scripts.demo" in command for command in commands)
    assert status == 0
    assert seconds < DRAIN_S + 2
    assert left(children) == []
    assert not [line for line in server.log if "Traceback" in line or '"error"' in line]
