"""Headless Chromium as the viewer."""

from pathlib import Path
from typing import Any, Final

import pytest

from scripts.bench.clip import Loop, clip
from tests.support.browser import chromium
from tests.support.webrtc import site, until

WATCH: Final = """
async ([url, tcpOnly]) => {
  const started = performance.now();
  const pc = new RTCPeerConnection();
  window.pc = pc;
  pc.addTransceiver('video', {direction: 'recvonly'});
  pc.addTransceiver('audio', {direction: 'recvonly'});
  const stream = new MediaStream();
  pc.ontrack = (event) => stream.addTrack(event.track);
  await pc.setLocalDescription();
  const response = await fetch(url, {
    method: 'POST', headers: {'Content-Type': 'application/sdp'}, body: pc.localDescription.sdp,
  });
  let answer = await response.text();
  if (tcpOnly) answer = answer.replaceAll(/a=candidate:.* udp .*\\r\\n/g, '');
  window.session = new URL(response.headers.get('Location'), url).href;
  window.etag = response.headers.get('ETag');
  const video = document.createElement('video');
  Object.assign(video, {autoplay: true, muted: false, srcObject: stream});
  document.body.append(video);
  const first = new Promise((done) => video.requestVideoFrameCallback(done));
  await pc.setRemoteDescription({type: 'answer', sdp: answer});
  const at = await first.then(() => performance.now());
  return {status: response.status, firstFrame: at - started};
}
"""

STATS: Final = """
async () => {
  const found = {};
  for (const report of (await window.pc.getStats()).values()) {
    if (report.type === 'inbound-rtp') found[report.kind] = report;
    if (report.type === 'transport') found.transport = report;
    if (report.type === 'candidate-pair' && report.nominated) found.pair = report;
    if (report.type === 'remote-candidate') found.remote = report;
  }
  return found;
}
"""


async def _stats_after(page: Any, seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    before = await page.evaluate(STATS)
    await page.wait_for_timeout(seconds * 1000)
    return before, await page.evaluate(STATS)


@pytest.mark.external
async def test_chromium_decodes_nearly_all_frames_with_gcm(tmp_path: Path) -> None:
    async with site(tmp_path) as where, chromium() as browser:
        source = Loop(where.hub, "demo", clip(640, 360, profile="high"))
        page = await browser.new_page()
        await page.goto(where.url + "/")
        joined = await page.evaluate(WATCH, [where.whep(), False])
        assert joined["status"] == 201

        sent = source.frames
        before, after = await _stats_after(page, 6)
        sent = source.frames - sent

        decoded = after["video"]["framesDecoded"] - before["video"]["framesDecoded"]
        assert decoded >= 0.95 * sent
        assert after["video"]["framesDropped"] <= 0.05 * decoded + 3
        assert after["transport"]["srtpCipher"].endswith("AEAD_AES_128_GCM")
        assert after["audio"]["totalAudioEnergy"] > before["audio"]["totalAudioEnergy"]
        assert after["audio"]["concealedSamples"] < 0.2 * after["audio"]["totalSamplesReceived"]
        (stats,) = where.service.viewer_stats("demo")
        assert stats.bitrate_estimate is not None
        await source.stop()


@pytest.mark.external
async def test_chromium_watches_over_tcp_when_udp_is_not_offered(tmp_path: Path) -> None:
    async with site(tmp_path) as where, chromium() as browser:
        source = Loop(where.hub, "demo", clip())
        page = await browser.new_page()
        await page.goto(where.url + "/")
        joined = await page.evaluate(WATCH, [where.whep(), True])
        assert joined["status"] == 201

        sent = source.frames
        before, after = await _stats_after(page, 4)
        sent = source.frames - sent

        assert after["remote"]["protocol"] == "tcp"
        assert after["video"]["framesDecoded"] - before["video"]["framesDecoded"] >= 0.95 * sent
        await source.stop()


RESTART: Final = """
async () => {
  const pc = window.pc;
  await pc.setLocalDescription(await pc.createOffer({iceRestart: true}));
  const own = (name) => pc.localDescription.sdp.match(new RegExp(`a=${name}:(.*)`))[1].trim();
  const response = await fetch(window.session, {
    method: 'PATCH',
    headers: {'Content-Type': 'application/trickle-ice-sdpfrag', 'If-Match': '"*"'},
    body: `a=ice-ufrag:${own('ice-ufrag')}\\r\\na=ice-pwd:${own('ice-pwd')}\\r\\n`,
  });
  const fragment = await response.text();
  const theirs = (name) => fragment.match(new RegExp(`a=${name}:.*`))[0].trim();
  const sdp = pc.remoteDescription.sdp
    .replaceAll(/a=ice-ufrag:.*/g, theirs('ice-ufrag'))
    .replaceAll(/a=ice-pwd:.*/g, theirs('ice-pwd'));
  await pc.setRemoteDescription({type: 'answer', sdp});
  return {status: response.status, etag: response.headers.get('ETag')};
}
"""


@pytest.mark.external
async def test_chromium_restarts_ice_without_losing_the_picture(tmp_path: Path) -> None:
    async with site(tmp_path) as where, chromium() as browser:
        source = Loop(where.hub, "demo", clip())
        page = await browser.new_page()
        await page.goto(where.url + "/")
        await page.evaluate(WATCH, [where.whep(), False])
        before = where.service.viewer_stats()[0].remote

        restarted = await page.evaluate(RESTART)

        assert restarted["status"] == 200
        assert restarted["etag"].startswith('"')
        await until(lambda: where.service.viewer_stats()[0].remote != before)
        sent = source.frames
        first, last = await _stats_after(page, 4)
        sent = source.frames - sent
        assert last["video"]["framesDecoded"] - first["video"]["framesDecoded"] >= 0.95 * sent
        await source.stop()
