"""Servers under test, in processes of their own: Vitrine as it is served, peers given by path."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
START_TIMEOUT_S: Final = 60.0

MEDIAMTX: Final = """
logLevel: error
api: no
playback: no
rtsp: no
moq: no
rtmpAddress: 127.0.0.1:{rtmp}
srtAddress: 127.0.0.1:{srt}
hlsAddress: 127.0.0.1:{hls}
hlsVariant: lowLatency
hlsSegmentDuration: 2s
hlsPartDuration: 500ms
webrtcAddress: 127.0.0.1:{http}
webrtcLocalUDPAddress: 127.0.0.1:{webrtc}
webrtcIPsFromInterfaces: no
webrtcAdditionalHosts: [127.0.0.1]
paths:
  all_others:
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A running server: what to push to, what to open, whose processor time to read."""

    name: str
    pid: int
    rtmp: str
    srt: str
    whep: str
    page: str
    hls_page: str


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


@contextlib.contextmanager
def vitrine() -> Iterator[Target]:
    """A server with an empty data folder, room `demo`."""
    with tempfile.TemporaryDirectory() as folder:
        names = ("SERVER__HTTP", "MEDIA__RTMP", "MEDIA__SRT", "MEDIA__WEBRTC")
        environ = {f"VITRINE_{name}_PORT": str(free_port()) for name in names}
        environ |= {"VITRINE_SERVER__DATA_DIR": folder, "VITRINE_MEDIA__WEBRTC_HOSTS": "127.0.0.1"}
        command = [sys.executable, "-m", "scripts.bootstrap"]
        with _process(command, environ=environ) as process:
            assert process.stdout is not None
            while (line := process.stdout.readline()) != "vitrine ready\n":
                if not line:
                    raise RuntimeError("the server did not start")
            run: dict[str, Any] = json.loads((Path(folder) / "first-run.json").read_text())
            page = f"{run['http']}/r/demo"
            yield Target("vitrine", process.pid, run["rtmp"], run["srt"], run["whep"], page, page)


@contextlib.contextmanager
def mediamtx(binary: Path) -> Iterator[Target]:
    """MediaMTX with the same parts and segments; it takes any key."""
    ports = {name: free_port() for name in ("rtmp", "srt", "hls", "http", "webrtc")}
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "mediamtx.yml"
        settings.write_text(MEDIAMTX.format(**ports))
        with _process([str(binary), str(settings)]) as process:
            _wait_port(ports["http"])
            host = "127.0.0.1"
            yield Target(
                "mediamtx",
                process.pid,
                f"rtmp://{host}:{ports['rtmp']}/demo",
                f"srt://{host}:{ports['srt']}?streamid=publish:demo",
                f"http://{host}:{ports['http']}/demo/whep",
                f"http://{host}:{ports['http']}/demo/",
                f"http://{host}:{ports['hls']}/demo/",
            )


@contextlib.contextmanager
def _process(
    command: list[str], *, environ: dict[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_port(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(0.05)
