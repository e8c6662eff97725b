"""What real players make of it: FFmpeg's and hls.js in Chromium, in real time."""

import asyncio
import json
import shutil
import tarfile
from asyncio.subprocess import PIPE
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Final

import pytest
from aiohttp import web

from media.stream import Phase
from media.units import Codec
from tests.support.browser import page_at
from tests.support.hls import Tape, feed_live, origin, pictures, sound

pytestmark = [pytest.mark.external, pytest.mark.timeout(120)]

VENDOR: Final = Path(__file__).resolve().parents[3] / "signaling" / "web" / "vendor"
HLS_JS: Final = "hls.js@1.7.4"

PAGE: Final = """<!doctype html><video id=v muted playsinline width=320></video>
<script type=module>
import Hls from "/hls.mjs";
const video = document.getElementById("v");
const seen = window.seen = {stalls: 0, errors: [], latencies: [], began: 0, times: []};
const options = {lowLatencyMode: true, enableWorker: false, maxLiveSyncPlaybackRate: 1.1};
const hls = window.hls = new Hls(options);
hls.on(Hls.Events.ERROR, (_, e) => {
  seen.errors.push(e.details + " " + (e.error?.message ?? e.reason ?? ""));
  if (e.details === "bufferStalledError") seen.stalls++;
});
video.addEventListener("playing", () => { seen.began ||= performance.now(); });
video.addEventListener("waiting", () => { if (seen.began) seen.stalls++; });
setInterval(() => {
  if (!seen.began) return;
  seen.times.push(video.currentTime);
  if (hls.playingDate) seen.latencies.push((Date.now() - hls.playingDate.getTime()) / 1000);
}, 250);
hls.loadSource("/hls/demo/index.m3u8");
hls.attachMedia(video);
video.play();
</script>"""


async def hls_js() -> bytes:
    """The player as the product's set-up left it, or fetched by npm once for this machine."""
    for name in ("hls.mjs", "hls.min.mjs"):
        if (VENDOR / name).is_file():
            return (VENDOR / name).read_bytes()
    kept = Path(gettempdir()) / "vitrine-tests" / f"{HLS_JS}.mjs"
    if not kept.is_file():
        if shutil.which("npm") is None:
            pytest.skip("neither the set-up's hls.js nor npm is here")
        kept.parent.mkdir(exist_ok=True)
        npm = await asyncio.create_subprocess_exec(
            "npm", "pack", HLS_JS, "--json", cwd=kept.parent, stdout=PIPE, stderr=PIPE
        )
        output, _ = await npm.communicate()
        if npm.returncode:
            pytest.skip("npm could not fetch hls.js")
        packed = kept.parent / json.loads(output)[0]["filename"]
        with tarfile.open(packed) as archive:
            member = archive.extractfile("package/dist/hls.mjs")
            assert member is not None
            kept.write_bytes(member.read())
    return kept.read_bytes()


def page_routes(script: bytes) -> list[web.RouteDef]:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def module(_: web.Request) -> web.Response:
        return web.Response(body=script, content_type="text/javascript")

    return [web.get("/", page), web.get("/hls.mjs", module)]


async def watch(*tapes: Tape, seconds: float) -> dict[str, Any]:
    async with origin(None, *page_routes(await hls_js())) as house:
        stream = house.start()
        feeding = asyncio.create_task(feed_live(stream, *tapes, seconds=seconds + 30))
        # opened as the stream begins: the index waits for the first segment
        async with page_at(str(house.server.make_url("/"))) as page:
            await page.wait_for_function("seen.began > 0", timeout=15_000)
            await page.wait_for_function(
                f"performance.now() - seen.began > {seconds * 1000}",
                timeout=(seconds + 15) * 1000,
                polling=500,
            )
            seen: dict[str, Any] = await page.evaluate(
                "({...seen, quality: document.getElementById('v').getVideoPlaybackQuality()"
                ".totalVideoFrames, dropped: document.getElementById('v')"
                ".getVideoPlaybackQuality().droppedVideoFrames, "
                "played: document.getElementById('v').currentTime - seen.times[0], "
                "level: hls.levels[0].codecSet, "
                "audio: hls.audioTracks.length})"
            )
        feeding.cancel()
        house.end(stream)
        return seen


@pytest.mark.parametrize("b_frames", [0, 2])
async def test_chromium_plays_without_a_stall_close_to_the_edge(
    b_frames: int, record_property: Callable[[str, object], None]
) -> None:
    seconds = 30 if not b_frames else 12

    seen = await watch(
        pictures(gops=4, b_frames=b_frames, size=(640, 360)), sound(), seconds=seconds
    )

    assert seen["stalls"] == 0, seen["errors"]
    assert seen["errors"] == []
    assert seen["audio"] == 1
    settled = sorted(seen["latencies"][-20:])
    latency = settled[len(settled) // 2]
    record_property("latency_s", latency)
    assert latency <= 2.5
    assert seen["quality"] >= 0.95 * 30 * seen["played"]


async def test_chromium_plays_on_when_the_publisher_comes_back() -> None:
    tapes = pictures(gops=4, size=(320, 192)), sound()
    again = pictures(gops=4, size=(640, 360), b_frames=2), sound()
    async with origin(None, *page_routes(await hls_js())) as house:
        stream = house.start()
        feeding = asyncio.create_task(feed_live(stream, *tapes, seconds=10))
        async with page_at(str(house.server.make_url("/"))) as page:
            await page.wait_for_function("seen.began > 0", timeout=15_000)
            await feeding
            stream.enter(Phase.GRACE)
            await asyncio.sleep(3)  # a publisher takes its time
            stream.gap()
            stream.enter(Phase.LIVE)
            feeding = asyncio.create_task(feed_live(stream, *again, seconds=40))
            video = "document.getElementById('v')"
            await page.wait_for_function(f"{video}.videoWidth === 640", timeout=20_000)
            await page.evaluate(f"window.from = {video}.currentTime")

            await page.wait_for_function(f"{video}.currentTime > from + 5", timeout=10_000)
            latency = await page.evaluate("seen.latencies.at(-1)")
        feeding.cancel()
        house.end(stream)

    assert latency < 6


@pytest.mark.parametrize(("codec", "b_frames"), [(Codec.H264, 0), (Codec.H264, 2), (Codec.HEVC, 2)])
async def test_ffmpeg_reads_on_with_rising_timestamps(codec: Codec, b_frames: int) -> None:
    async with origin() as house:
        stream = house.start()
        tapes = pictures(codec=codec, gops=4, b_frames=b_frames), sound()
        feeding = asyncio.create_task(feed_live(stream, *tapes, seconds=40))
        probe = await asyncio.create_subprocess_exec(
            *("ffprobe", "-v", "error", "-read_intervals", "%+6", "-of", "json"),
            *("-show_entries", "packet=stream_index,dts_time,pts_time,duration_time"),
            house.url(),
            stdout=PIPE,
            stderr=PIPE,
        )
        output, complaints = await probe.communicate()
        feeding.cancel()
        house.end(stream)

    assert probe.returncode == 0
    assert complaints.decode() == ""
    packets = json.loads(output)["packets"]
    for index in (0, 1):
        times = [float(one["dts_time"]) for one in packets if one["stream_index"] == index]
        assert len(times) > 100
        steps = [after - before for before, after in pairwise(times)]
        assert min(steps) > 0
        assert max(steps) < 0.05
