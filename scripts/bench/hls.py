"""What packaging a stream as LL-HLS costs, and what serving it does.

    python -m scripts.bench.hls [--seconds 300] [--requests 4000] [--waiting 500]

Packs seconds of a live stream (2.5 Mbit/s in 30 pictures a second with a keyframe every two
seconds, AAC of 128 kbit/s) as fast as they go, the playlists of each state written as they would
be for viewers, and reads this process's CPU time. Then asks an HTTP server of ours on loopback, in
a child process, for parts and for playlists that block; the figures of requests are those of the
server's CPU time, so they hold for one core.
"""

import argparse
import asyncio
import multiprocessing
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.connection import Connection
from typing import Final

import structlog
from aiohttp import ClientSession, TCPConnector, web

from configs.kernel.clock import SystemClock
from media.codecs import aac, h264
from media.stream import AUDIO, VIDEO, Stream
from media.units import CLOCK_RATE, AccessUnit, Track
from transcoder.hls.http import HlsEndpoint
from transcoder.hls.playlist import Skip
from transcoder.hls.presentation import HlsConfig, Presentation
from transcoder.hls.service import HlsService

SPS: Final = bytes.fromhex("6742c01fd9005005bb011000000300100000030320f1832480")
PPS: Final = bytes.fromhex("68cb83cb20")
ROOM: Final = "bench"
PICTURE_BYTES: Final = 2_500_000 // 8 // 30
SOUND_BYTES: Final = 128_000 * 1024 // 48000 // 8
AHEAD_S: Final = 30.0


def tracks() -> tuple[Track, Track]:
    picture = h264.track(VIDEO, h264.AvcConfig((SPS,), (PPS,)))
    return picture, aac.track(AUDIO, aac.AudioConfig(2, 48000, 2).serialize())


def units(seconds: float) -> Iterator[AccessUnit]:
    """In order of decoding; every keyframe is four times as large as what follows it."""
    filler = random.Random(1).randbytes(8 * PICTURE_BYTES)
    share = 60 * PICTURE_BYTES // 63
    pictures, sounds = 0, 0
    while (at := pictures / 30) < seconds:
        while (heard := sounds * 1024 / 48000) <= at:
            tick = round(heard * 1000) * 90
            yield AccessUnit(AUDIO, tick, tick, True, filler[:SOUND_BYTES])
            sounds += 1
        keyframe = pictures % 60 == 0
        tick = round(at * 1000) * 90
        yield AccessUnit(VIDEO, tick, tick, keyframe, filler[: share * (4 if keyframe else 1)])
        pictures += 1


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def live(service: HlsService, clock: SystemClock) -> Stream:
    stream = Stream(ROOM, clock_origin=clock.monotonic(), wall_origin=clock.wall())
    service.stream_started(stream)
    for track in tracks():
        stream.set_track(track)
    return stream


def render(presentation: Presentation) -> int:
    """The playlists that viewers ask for after each change; how many there were."""
    for name in presentation.outputs:
        presentation.media(name, Skip.NOTHING)
        presentation.media(name, Skip.SEGMENTS)
    return 2 * len(presentation.outputs)


def packaging(seconds: float) -> dict[str, float]:
    given = list(units(seconds))
    found: dict[str, float] = {}
    held = 0
    for name, with_playlists in (("package", False), ("package and write playlists", True)):
        clock = SystemClock()
        service = HlsService(clock)
        stream = live(service, clock)
        version, written = 0, 0
        began = cpu()
        for unit in given:
            stream.push(unit)
            presentation = service.presentation(ROOM) if with_playlists else None
            if presentation is None or not presentation.ready:
                continue
            now = sum(one.rendition.version for one in presentation.outputs.values())
            if now != version:
                version = now
                written += render(presentation)
        found[name] = 100 * (cpu() - began) / seconds
        if written:
            found["states a second"] = written / 4 / seconds
        packed = service.presentation(ROOM)
        held = packed.size if packed is not None else 0
    found["held after that, MB"] = held / 1e6
    return found


def rendering(seconds: float = 90) -> dict[str, float]:
    """Microseconds for one playlist of the full window, with its compression."""
    clock = SystemClock()
    service = HlsService(clock)
    stream = live(service, clock)
    for unit in units(seconds):
        stream.push(unit)
    presentation = service.presentation(ROOM)
    assert presentation is not None
    rendition = presentation.outputs["video"].rendition
    found = {}
    asks: dict[str, Callable[[], object]] = {
        "media playlist": lambda: presentation.media("video", Skip.NOTHING),
        "delta update": lambda: presentation.media("video", Skip.SEGMENTS),
        "multivariant": presentation.index,
    }
    for name, ask in asks.items():
        began = cpu()
        for _ in range(300):
            rendition.version += 1
            ask()
        found[name] = (cpu() - began) / 300 * 1e6
    rendered = presentation.media("video", Skip.NOTHING)
    found["media playlist, bytes"] = len(rendered.body)
    found["compressed, bytes"] = len(rendered.compressed)
    return found


def serve(pipe: Connection) -> None:
    """The child: a live stream in real time, `AHEAD_S` seconds of it at once."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    asyncio.run(_serve(pipe))


async def _serve(pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    clock = SystemClock()
    service = HlsService(clock, HlsConfig())

    async def exists(room: str) -> bool:
        return room == ROOM

    async def seconds_of_cpu(_: web.Request) -> web.Response:
        return web.json_response(cpu())

    app = web.Application()
    app.add_routes(HlsEndpoint(service, exists).routes())
    app.add_routes([web.get("/cpu", seconds_of_cpu)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stream = live(service, clock)
    began = loop.time() - AHEAD_S
    announced = False
    for unit in units(600):
        delay = began + unit.dts / CLOCK_RATE - loop.time()
        if delay > 0:
            if not announced:
                announced = True
                pipe.send(runner.addresses[0][1])
            await asyncio.sleep(delay)
        stream.push(unit)
        if announced and pipe.poll():
            break
    await runner.cleanup()


async def serving(port: int, requests: int, waiting: int) -> dict[str, float]:
    base = f"http://127.0.0.1:{port}"
    connector = TCPConnector(limit=0)
    async with ClientSession(base, connector=connector) as session:

        async def get(path: str) -> bytes:
            async with session.get(path) as response:
                response.raise_for_status()
                return await response.read()

        async def used() -> float:
            return float(await get("/cpu"))

        index = (await get(f"/hls/{ROOM}/index.m3u8")).decode()
        identity = index.strip().split("\n")[-1].split("/")[0]
        root = f"/hls/{ROOM}/{identity}"
        found: dict[str, float] = {}
        for name, path in (
            ("video part (156 kB)", f"{root}/video/12.1.m4s"),
            ("audio part (8 kB)", f"{root}/audio/12.1.m4s"),
            ("media playlist", f"{root}/video.m3u8"),
        ):
            before = await used()
            for _ in range(requests // 20):
                await asyncio.gather(*(get(path) for _ in range(20)))
            found[f"{name}, requests a second and core"] = requests / (await used() - before)
        found.update(await _blocking(get, root, waiting))
        return found


async def _blocking(
    get: Callable[[str], Awaitable[bytes]], root: str, waiting: int
) -> dict[str, float]:
    """So many viewers ask for the next part at once: how long after the first is the last
    answered?"""
    spreads = []
    for _ in range(6):
        text = await get(f"{root}/video.m3u8")
        hint = next(line for line in text.decode().split("\n") if "PRELOAD-HINT" in line)
        msn, part = hint.split('"')[1].removeprefix("video/").split(".")[:2]
        query = f"{root}/video.m3u8?_HLS_msn={msn}&_HLS_part={part}"

        async def timed(query: str = query) -> float:
            await get(query)
            return time.monotonic()

        times = await asyncio.gather(*(timed() for _ in range(waiting)))
        spreads.append(1000 * (max(times) - min(times)))
    return {f"{waiting} blocked reloads answered within, ms": statistics.median(spreads)}


def table(title: str, rows: dict[str, float], unit: str = "") -> None:
    print(f"\n{title}")
    for name, value in rows.items():
        print(f"  {name:<52}{value:>12,.2f} {unit}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--waiting", type=int, default=500)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    print(f"Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    table("Packaging, percent of a core for each second of the stream", packaging(options.seconds))
    table("Writing a playlist of 60 s (compression included), microseconds", rendering())
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    child.start()
    try:
        figures = asyncio.run(serving(ours.recv(), options.requests, options.waiting))
        table("Serving, one process on loopback", figures)
    finally:
        ours.send("stop")
        child.join(10)
        child.kill()


if __name__ == "__main__":
    main()
