"""What WHEP viewers cost the server, and how soon they see a picture.

    python -m scripts.bench.whep --load PATH/TO/whep_load.py [--viewers 1 25 100] [--seconds 10]
    python -m scripts.bench.whep --serve 8080

The server runs in a process of its own: hub, WebRTC service and HTTP, with a clip of 2.5 Mbit/s and
Opus looped into the hub, so that no ingest protocol is in the figures. The first form lets the
load generator open the viewers and prints a line for each count: the server's CPU time a packet
(above what it needs without viewers), join times from the POST on, and resident memory a viewer.
The second only serves.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop
from aiohttp import web

from configs.kernel.clock import SystemClock
from media.hub import Hub, PublishGrant
from media.webrtc.http import WhepHttp
from media.webrtc.service import WebRtcConfig, WebRtcService
from scripts.bench.clip import Loop, clip

ROOM: Final = "bench"


class OneRoom:
    """`StreamKeys` of the only room."""

    async def grant(self, room: str, key: str) -> PublishGrant:
        return PublishGrant(room)

    async def room_exists(self, room: str) -> bool:
        return room == ROOM

    async def srt_passphrase(self, room: str) -> str | None:
        return None


async def serve(port: int, data_dir: Path) -> None:
    # Whoever started us reads one line of the output, then no more: logs must not fill that pipe.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    clock = SystemClock()
    hub = Hub(clock)
    service = WebRtcService(
        WebRtcConfig(data_dir=data_dir, port=0, hosts=("127.0.0.1",)), clock=clock
    )
    await service.open()
    hub.observe(service)
    app = web.Application()
    app.add_routes(WhepHttp(service, OneRoom()).routes())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    source = Loop(hub, ROOM, clip(1280, 720, bitrate=2_350_000, profile="high"))
    gc.freeze()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/whep/{ROOM}", flush=True)
    await stop.wait()
    print(json.dumps(service.holdings), file=sys.stderr)
    await source.stop()
    await service.close()
    await runner.cleanup()


@contextlib.contextmanager
def server() -> Iterator[tuple[int, str]]:
    """A server process: its id and the address to watch."""
    process = subprocess.Popen(
        [sys.executable, "-m", "scripts.bench.whep", "--serve", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("http"):
                break
        else:
            raise SystemExit("the server did not start")
        yield process.pid, line.strip()
    finally:
        process.terminate()
        process.wait(10)


def measure(
    load: Path, pid: int, url: str, viewers: int, seconds: float, *more: str
) -> dict[str, Any]:
    """The load generator's report; `more` are further options of it."""
    command = [sys.executable, str(load), "--url", url, "-n", str(viewers), "--compact"]
    command += ["--server-pid", str(pid), "--duration", str(seconds), "--ramp", "25", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def line(viewers: int, report: dict[str, Any], idle: dict[str, Any]) -> str:
    used, unused = report["server"], idle["server"]
    packets = report["packets_per_s"] * report["window_s"]
    cost = (used["cores"] - unused["cores"]) * report["window_s"] / packets * 1e6
    resident = (used["rss_max_mb"] - unused["rss_max_mb"]) * 1000 / viewers
    joined = report["time_from_post_ms"]
    return (
        f"{viewers:5} viewers  {report['viewers_failed']} failed  "
        f"{cost:5.2f} us/packet  {used['cores']:.3f} cores  "
        f"join p50 {joined['keyframe']['p50']} p95 {joined['keyframe']['p95']} ms "
        f"(dtls p95 {joined['dtls']['p95']})  {resident:.0f} kB/viewer  "
        f"loss {report['loss_pct']} %  {'/'.join(report['srtp'])}  "
        f"drops {report['client_socket_drops']}  other {report['other_cores_busy']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--serve", type=int, metavar="PORT", help="only serve, on this HTTP port")
    parser.add_argument("--load", type=Path, help="the load generator")
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 25, 100])
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    if options.serve is not None:
        with tempfile.TemporaryDirectory() as data_dir:
            uvloop.run(serve(options.serve, Path(data_dir)))
        return
    if options.load is None:
        parser.error("--load or --serve is needed")
    for viewers in options.viewers:
        with server() as (pid, url):
            idle = measure(options.load, pid, url, 0, 4.0)
            report = measure(options.load, pid, url, viewers, options.seconds)
            print(line(viewers, report, idle), flush=True)


if __name__ == "__main__":
    main()
