"""Encoders of others push, others' browsers watch by WebRTC: the whole house as it is served."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import ClientSession
from playwright.async_api import Page

from tests.support.browser import page_at, player, rtc_stats, wait_playing
from tests.support.ffmpeg import H264_B_FRAMES, push_command, pushing, run
from tests.support.vitrine import Vitrine, serve

pytestmark = [pytest.mark.external, pytest.mark.timeout(180)]

WATCHED_S = 30
FRAME_RATE = 30


async def watch(page: Page, seconds: float = WATCHED_S) -> dict[str, float]:
    """Turns the sound on and watches; what was decoded meanwhile."""
    await page.get_by_role("button", name="sound").first.click()
    before = await rtc_stats(page)
    await page.wait_for_timeout(seconds * 1000)
    after = await rtc_stats(page)
    assert after["state"] == "connected"
    return {
        "decoded": after["video"]["framesDecoded"] - before["video"]["framesDecoded"],
        "dropped": after["video"]["framesDropped"] - before["video"]["framesDropped"],
        "freezes": after["video"].get("freezeCount", 0) - before["video"].get("freezeCount", 0),
        "energy": after["audio"]["totalAudioEnergy"] - before["audio"]["totalAudioEnergy"],
        "seconds": after["video"]["timestamp"] / 1000 - before["video"]["timestamp"] / 1000,
    }


async def test_rtmp_to_a_browser(tmp_path: Path) -> None:
    async with (
        serve(tmp_path) as server,
        pushing(push_command(server.first_run["rtmp"])),
        page_at(f"{server.http}/r/demo") as page,
    ):
        await wait_playing(page, "webrtc")
        seen = await watch(page)
        stats = await rtc_stats(page)

    assert seen["decoded"] >= 0.95 * FRAME_RATE * seen["seconds"]
    assert seen["energy"] > 0.01
    assert stats["transport"]["srtpCipher"].endswith("AEAD_AES_128_GCM")
    assert stats["audio/opus"]["channels"] == 2
    assert not [line for line in server.log if "Traceback" in line]


ONLY_TCP = """
const set = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function ({type, sdp}) {
  const lines = sdp.split("\\r\\n").filter((line) => !/^a=candidate:.* udp /i.test(line));
  return set.call(this, {type, sdp: lines.join("\\r\\n")});
};
"""


async def test_a_browser_that_udp_does_not_reach_watches_by_tcp(tmp_path: Path) -> None:
    async with (
        serve(tmp_path) as server,
        pushing(push_command(server.first_run["rtmp"])),
        page_at(f"{server.http}/") as page,
    ):
        await page.add_init_script(ONLY_TCP)
        await page.goto(f"{server.http}/r/demo")
        await wait_playing(page, "webrtc")
        seen = await watch(page, 10)
        joined = [line for line in server.log if "whep.viewer_joined" in line]

    assert seen["decoded"] >= 0.95 * FRAME_RATE * seen["seconds"]
    assert seen["energy"] > 0.01
    assert '"transport": "tcp' in joined[-1]


async def test_srt_with_a_passphrase_to_a_browser_and_a_wrong_one_is_refused(
    tmp_path: Path,
) -> None:
    environ = {"VITRINE_MEDIA__SRT_PASSPHRASE": "correct horse battery"}
    async with serve(tmp_path, environ=environ) as server:
        url = server.first_run["srt"].partition("&")[0]
        wrong = push_command(f"{url}&passphrase=incorrect horse battery&pbkeylen=16", seconds=5)
        assert (await run(wrong))[0] != 0
        assert (await run(push_command(url, seconds=5)))[0] != 0

        right = push_command(f"{url}&passphrase=correct horse battery&pbkeylen=32")
        async with pushing(right), page_at(f"{server.http}/r/demo") as page:
            await wait_playing(page, "webrtc")
            seen = await watch(page)

    assert seen["decoded"] >= 0.95 * FRAME_RATE * seen["seconds"]
    assert seen["energy"] > 0.01
    assert not [line for line in server.log if "battery" in line]


async def test_b_frames_play_forwards_and_the_publisher_is_told(tmp_path: Path) -> None:
    async with serve(tmp_path) as server:
        push = push_command(server.first_run["rtmp"], video=H264_B_FRAMES)
        async with pushing(push), page_at(f"{server.http}/r/demo") as page:
            await wait_playing(page, "webrtc")
            await page.evaluate(WATCH_ORDER)
            seen = await watch(page, 15)
            backwards = await page.evaluate("() => window.backwards")
            notices = await notices_of(server)

    assert seen["decoded"] >= 0.95 * FRAME_RATE * seen["seconds"]
    assert backwards == 0
    assert "b_frames" in notices


WATCH_ORDER = """
() => {
  const video = [...document.querySelectorAll("video")].find((v) => v.srcObject);
  window.backwards = 0;
  let last = -1;
  const look = (_now, {rtpTimestamp}) => {
    if (last >= 0 && ((rtpTimestamp - last) | 0) < 0) window.backwards += 1;
    last = rtpTimestamp;
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}
"""


async def notices_of(server: Vitrine) -> list[str]:
    """The codes that the room's host sees in the API."""
    async with ClientSession() as session:
        credentials = server.first_run["admin"]
        async with session.post(f"{server.http}/api/v1/auth/login", json=credentials) as reply:
            token = (await reply.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(f"{server.http}/api/v1/rooms/demo", headers=headers) as reply:
            return [notice["code"] for notice in (await reply.json())["notices"]]


async def test_the_sound_comes_back_by_itself_when_the_worker_is_killed(tmp_path: Path) -> None:
    async with (
        serve(tmp_path) as server,
        pushing(push_command(server.first_run["rtmp"])),
        page_at(f"{server.http}/r/demo") as page,
    ):
        await wait_playing(page, "webrtc")
        await page.get_by_role("button", name="sound").first.click()
        before = (await rtc_stats(page))["video"]["framesDecoded"]
        (worker,) = [c for c in server.children() if "transcoder.worker" in c.cmdline()]
        worker.kill()
        worker.wait(10)
        energy = (await rtc_stats(page))["audio"]["totalAudioEnergy"]
        await page.wait_for_function(
            "energy => window.vitrine.stats().audioEnergy > energy + 0.005",
            arg=energy,
            timeout=20_000,
        )
        after = await player(page)

    assert after["state"] == "playing"
    assert after["transport"] == "webrtc"
    assert after["framesDecoded"] > before


async def test_the_page_goes_on_by_itself_through_ten_publishers_and_nothing_leaks(
    tmp_path: Path,
) -> None:
    environ = {"VITRINE_MEDIA__GRACE_PERIOD_S": "3", "VITRINE_HLS__ENDED_KEEP_S": "1"}
    async with serve(tmp_path, environ=environ) as server:
        push = push_command(server.first_run["rtmp"])
        async with page_at(f"{server.http}/r/demo") as page:
            await go_through_publishers(page, push, 2)
        await server.wait_empty()
        files, memory = server.open_files(), server.resident_bytes()

        async with page_at(f"{server.http}/r/demo") as page:
            await go_through_publishers(page, push, 10)
            loads = await page.evaluate("() => performance.getEntriesByType('navigation').length")
        await server.wait_empty()

        assert loads == 1
        assert server.open_files() <= files
        assert server.resident_bytes() <= 1.05 * memory


async def go_through_publishers(page: Page, push: Sequence[str], count: int) -> None:
    """Kills and restarts the publisher; each time the page has to play on by itself."""
    for _ in range(count):
        frames = (await player(page)).get("framesDecoded", 0)
        async with pushing(push):
            await page.wait_for_function(
                "frames => { const s = window.vitrine.stats(); return s.state === 'playing'"
                " && (s.framesDecoded < frames || s.framesDecoded > frames + 30); }",
                arg=frames,
                timeout=20_000,
            )
