"""The same stream by LL-HLS: a browser with hls.js, and ffmpeg as any other player."""

import json
from pathlib import Path
from urllib.parse import urljoin

import pytest
from aiohttp import ClientSession

from tests.support.browser import page_at, player, wait_playing
from tests.support.ffmpeg import push_command, pushing, run
from tests.support.vitrine import serve

pytestmark = [pytest.mark.external, pytest.mark.timeout(180)]

NO_WEBRTC = "delete window.RTCPeerConnection;"

WATCH_STALLS = """
() => {
  const video = [...document.querySelectorAll("video")].find((v) => v.classList.contains("shown"));
  window.stalls = 0;
  video.addEventListener("waiting", () => { window.stalls += 1; });
}
"""


async def test_a_browser_without_webrtc_plays_hls_for_half_a_minute_without_a_stall(
    tmp_path: Path,
) -> None:
    async with (
        serve(tmp_path) as server,
        pushing(push_command(server.first_run["rtmp"])),
        page_at(f"{server.http}/") as page,
    ):
        await page.add_init_script(NO_WEBRTC)
        await page.goto(f"{server.http}/r/demo")
        await wait_playing(page, "hls")
        await page.wait_for_timeout(3000)
        await page.evaluate(WATCH_STALLS)
        before = await player(page)
        await page.wait_for_timeout(30_000)
        after = await player(page)
        stalls = await page.evaluate("() => window.stalls")

    assert after["state"] == "playing"
    assert stalls == 0
    assert after["frames"] - before["frames"] >= 0.95 * 30 * 30
    assert after["latency"] < 4


async def test_ffprobe_reads_rising_timestamps_and_parts_make_up_their_segment(
    tmp_path: Path,
) -> None:
    async with serve(tmp_path) as server, pushing(push_command(server.first_run["rtmp"])):
        await server.wait_live()
        async with ClientSession() as session:
            async with session.get(server.first_run["hls"]) as reply:
                assert reply.status == 200
                index = await reply.text()
            media = urljoin(server.first_run["hls"], index.strip().splitlines()[-1])
            for number in range(5):
                async with session.get(media, params={"_HLS_msn": number}) as reply:
                    assert reply.status == 200
            async with session.get(media) as reply:
                playlist = await reply.text()
            parts, segment = parts_of_a_whole_segment(playlist)
            bodies = [await (await session.get(urljoin(media, part))).read() for part in parts]
            whole = await (await session.get(urljoin(media, segment))).read()
        probe = (
            *("ffprobe", "-v", "error", "-show_entries", "packet=stream_index,dts", "-of", "json"),
            *("-read_intervals", "%+6", server.first_run["hls"]),
        )
        status, out, err = await run(probe)

    assert len(parts) >= 3
    assert b"".join(bodies) == whole
    assert (status, err) == (0, "")
    by_stream: dict[int, list[int]] = {}
    for packet in json.loads(out)["packets"]:
        by_stream.setdefault(packet["stream_index"], []).append(packet["dts"])
    assert len(by_stream) == 2
    for times in by_stream.values():
        assert len(times) > 100
        assert times == sorted(set(times))


def parts_of_a_whole_segment(playlist: str) -> tuple[list[str], str]:
    """The newest segment that is whole, and its parts."""
    parts: list[str] = []
    found: tuple[list[str], str] = ([], "")
    for line in playlist.splitlines():
        if line.startswith("#EXT-X-PART:"):
            parts.append(line.partition('URI="')[2].partition('"')[0])
        elif line and not line.startswith("#"):
            found = (parts, line) if parts else found
            parts = []
    return found
