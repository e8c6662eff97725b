"""Glass to glass: from the moment a picture is drawn to the moment a browser shows it.

`python -m scripts.bench.glass [--peer MEDIAMTX] [--seconds N]`. The picture carries the wall clock
as 32 black or white squares; Chromium reads them back from each frame that it shows. Encoding
(x264, zerolatency) is part of the figure, as it is for a streamer.
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from playwright.async_api import async_playwright

from scripts.bench.running import Target, mediamtx, vitrine
from scripts.demo import FRAME_RATE, Beeper, Broadcast, Pace
from scripts.demo_picture import HEIGHT, WIDTH

BITS: Final = 32
SQUARE: Final = WIDTH // BITS
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--autoplay-policy=no-user-gesture-required",
)

SAMPLER: Final = """
({bits, square}) => {
  const canvas = Object.assign(document.createElement("canvas"), {width: bits, height: 1});
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.imageSmoothingEnabled = false;
  window.delays = [];
  const watched = new WeakSet();
  const look = (video) => {
    const now = Date.now();
    const {videoWidth: width, videoHeight: height} = video;
    if (width) {
      const side = square * width / 1280;
      context.drawImage(video, 0, height - side / 2 - 1, width, 2, 0, 0, bits, 1);
      const {data} = context.getImageData(0, 0, bits, 1);
      let drawn = 0;
      for (let bit = 0; bit < bits; bit++) drawn = drawn * 2 + (data[4 * bit] > 127 ? 1 : 0);
      window.delays.push((now % 2 ** bits) - drawn);
    }
    video.requestVideoFrameCallback(() => look(video));
  };
  setInterval(() => {
    for (const video of document.querySelectorAll("video")) {
      if (watched.has(video) || !video.videoWidth) continue;
      watched.add(video);
      video.requestVideoFrameCallback(() => look(video));
    }
  }, 100);
}
"""


def draw_clock(planes: NDArray[np.uint8], wall: float) -> None:
    """The low 32 bits of the milliseconds as squares along the bottom edge, in yuv420p."""
    stamp = int(wall * 1000) % 2**BITS
    for bit in range(BITS):
        white = stamp >> (BITS - 1 - bit) & 1
        planes[HEIGHT - SQUARE : HEIGHT, bit * SQUARE : (bit + 1) * SQUARE] = 235 if white else 16


@contextmanager
def publishing(url: str) -> Iterator[None]:
    stopping = threading.Event()
    thread = threading.Thread(target=_publish, args=(url, stopping))
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


def _publish(url: str, stopping: threading.Event) -> None:
    broadcast = Broadcast(url)
    noise = np.random.default_rng(1).integers(96, 160, (HEIGHT, 2 * WIDTH), np.uint8)
    planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    pace, beeper = Pace(monotonic=time.monotonic(), wall=time.time()), Beeper()
    while not stopping.wait(max(0.0, pace.due() - time.monotonic())):
        shift = 4 * pace.frame % WIDTH
        planes[:HEIGHT:8] = noise[::8, shift : shift + WIDTH]
        draw_clock(planes, time.time())
        broadcast.picture(planes, pace.frame)
        broadcast.sound(beeper, pace, pace.frame / FRAME_RATE)
        pace.frame += 1
    broadcast.close()


async def measure(url: str, seconds: float, *, without_webrtc: bool) -> list[float]:
    """Milliseconds of each frame shown, once the player has settled."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=list(FLAGS)
        )
        page = await browser.new_page(viewport={"width": 640, "height": 480})
        if without_webrtc:
            await page.add_init_script("delete window.RTCPeerConnection;")
        await page.goto(url)
        await page.evaluate(SAMPLER, {"bits": BITS, "square": SQUARE})
        deadline = time.monotonic() + 60
        while await page.evaluate("() => window.delays.length") < FRAME_RATE:
            if time.monotonic() > deadline:
                return []
            await page.wait_for_timeout(200)
        await page.wait_for_timeout(8000)
        await page.evaluate("() => { window.delays.length = 0; }")
        await page.wait_for_timeout(seconds * 1000)
        delays: list[float] = await page.evaluate("() => window.delays")
        await browser.close()
    return [delay for delay in delays if 0 <= delay < 60_000]


def run(target: Target, seconds: float) -> None:
    for path, url, without_webrtc in (
        ("WebRTC", target.page, False),
        ("LL-HLS", target.hls_page, True),
    ):
        with publishing(target.rtmp):
            time.sleep(6)
            delays = sorted(asyncio.run(measure(url, seconds, without_webrtc=without_webrtc)))
        if len(delays) < FRAME_RATE:
            print(f"{target.name:10} {path:8} no picture")
            continue
        p50 = statistics.median(delays)
        p95 = delays[int(0.95 * len(delays))]
        print(f"{target.name:10} {path:8} {len(delays):6} {p50:8.0f} {p95:8.0f} {delays[-1]:8.0f}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, help="a MediaMTX binary to run beside")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    print(f"{'server':10} {'path':8} {'frames':>6} {'p50 ms':>8} {'p95 ms':>8} {'max ms':>8}")
    with vitrine() as target:
        run(target, arguments.seconds)
    if arguments.peer:
        with mediamtx(arguments.peer) as target:
            run(target, arguments.seconds)


if __name__ == "__main__":
    main()
