"""The whole product as users start it: a process with its own ports and an empty data folder."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import psutil
from aiohttp import ClientSession

HELD: Final = (
    "vitrine_streams{",
    "vitrine_webrtc_held{",
    "vitrine_hls_bytes ",
    "vitrine_rtmp_connections ",
    "vitrine_srt_connections ",
)
ROOT: Final = Path(__file__).resolve().parents[2]


def free_ports(count: int) -> list[int]:
    """Ports that are free for TCP and for UDP at this moment."""
    found: list[int] = []
    held: list[socket.socket] = []
    while len(found) < count:
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        held += [tcp, udp]
        tcp.bind(("127.0.0.1", 0))
        port: int = tcp.getsockname()[1]
        try:
            udp.bind(("127.0.0.1", port))
        except OSError:
            continue
        found.append(port)
    for holder in held:
        holder.close()
    return found


class Vitrine:
    """A running server; `log` holds its newest lines."""

    def __init__(self, process: Process, data_dir: Path, ports: Mapping[str, int]) -> None:
        self.process = process
        self.data_dir = data_dir
        self.ports = ports
        self.log: deque[str] = deque(maxlen=5000)
        self._ready = asyncio.Event()
        self._readers = [
            asyncio.create_task(self._read(stream))
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]

    @property
    def first_run(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.data_dir / "first-run.json").read_text())
        return loaded

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def open_files(self) -> int:
        return psutil.Process(self.pid).num_fds()

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)

    async def wait_live(self, room: str = "demo") -> None:
        """Until the API says that a publisher is there."""
        async with ClientSession() as session, asyncio.timeout(20):
            while True:
                async with session.get(f"{self.http}/api/v1/rooms/{room}") as reply:
                    if (await reply.json())["live"]:
                        return
                await asyncio.sleep(0.05)

    async def wait_empty(self) -> None:
        """Until nothing is held any more: no stream, viewer, media, worker, connection."""
        async with asyncio.timeout(60):
            while any((await self.holdings()).values()) or self.children():
                await asyncio.sleep(0.2)

    async def holdings(self) -> dict[str, float]:
        """What the metrics say is held, by metric and labels."""
        async with ClientSession() as session, session.get(f"{self.http}/metrics") as reply:
            lines = (await reply.text()).splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if line.startswith(HELD))
        assert found
        return {name: float(value) for name, value in found.items()}

    async def wait_ready(self) -> None:
        ready = asyncio.create_task(self._ready.wait())
        ended = asyncio.create_task(self.process.wait())
        await asyncio.wait({ready, ended}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        ended.cancel()
        if not self._ready.is_set():
            raise RuntimeError("the server did not start:\n" + "\n".join(self.log))

    async def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.wait_for(self.process.wait(), 30)
        except TimeoutError:
            self.process.kill()
            raise
        await asyncio.gather(*self._readers)
        return status

    async def _read(self, stream: asyncio.StreamReader) -> None:
        while line := await stream.readline():
            text = line.decode(errors="replace").rstrip()
            self.log.append(text)
            if text == "vitrine ready":
                self._ready.set()


@asynccontextmanager
async def serve(
    data_dir: Path, *arguments: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Vitrine]:
    """Starts the server with logs as JSON lines; stops it at the end."""
    names = ("http", "rtmp", "rtmps", "srt", "webrtc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    variables = {
        "VITRINE_SERVER__DATA_DIR": str(data_dir),
        "VITRINE_SERVER__HTTP_PORT": str(ports["http"]),
        "VITRINE_MEDIA__RTMP_PORT": str(ports["rtmp"]),
        "VITRINE_MEDIA__RTMPS_PORT": str(ports["rtmps"]),
        "VITRINE_MEDIA__SRT_PORT": str(ports["srt"]),
        "VITRINE_MEDIA__WEBRTC_PORT": str(ports["webrtc"]),
        "VITRINE_MEDIA__WEBRTC_HOSTS": "127.0.0.1",
        "VITRINE_SERVER__LOG_FORMAT": "json",
        **(environ or {}),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "scripts.bootstrap",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=PIPE,
        stderr=PIPE,
    )
    server = Vitrine(process, data_dir, ports)
    try:
        await server.wait_ready()
        yield server
    finally:
        await server.stop()
