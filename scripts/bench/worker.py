"""What the codec worker costs and how fast it is there.

    python -m scripts.bench.worker [--seconds 10] [--kills 3]

Publishes into a hub in real time, as the ingest servers would, and reads the processor time of the
worker process: sound of an AAC and of an Opus publisher, then pictures with B-frames re-encoded.
What one `ffmpeg` needs for the same pictures with the same settings stands beside it, if there is
an ffmpeg. Then kills the worker and takes the time until sound and picture are back.
"""

import argparse
import asyncio
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import uvloop

from configs.kernel.clock import SystemClock
from media.codecs import aac, h264
from media.codecs.nal import join_annexb, split_length_prefixed
from media.hub import Hub
from media.stream import AUDIO, AUDIO_AAC, AUDIO_OPUS, VIDEO, VIDEO_WEBRTC, Phase
from media.units import AccessUnit, Kind, Track, TrackId
from scripts.bench.clip import Clip, Loop, clip
from transcoder.supervisor import TranscoderService, WorkerStats

ROOM = "bench"
WARM_UP = 3.0


class Arrivals:
    """When the newest unit of each track came, and how many."""

    def __init__(self) -> None:
        self.first: dict[TrackId, float] = {}
        self.count: dict[TrackId, int] = {}

    def on_unit(self, unit: AccessUnit) -> None:
        self.first.setdefault(unit.track, time.monotonic())
        self.count[unit.track] = self.count.get(unit.track, 0) + 1

    def on_track(self, track: Track) -> None: ...

    def on_track_removed(self, track: TrackId) -> None: ...

    def on_gap(self) -> None: ...

    def on_reordering(self, track: TrackId) -> None: ...

    def on_phase(self, phase: Phase) -> None: ...


def aac_clip(rate: int) -> Clip:
    """384 000 samples, which are both 375 frames of AAC and 8 s (8.7 s at 44.1 kHz), of tone and
    noise."""
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = rate, "stereo", "fltp"
    encoder.bit_rate = 160_000
    encoder.time_base = Fraction(1, rate)
    encoder.flags |= av.codec.context.Flags.global_header
    rng = np.random.default_rng(7)
    units: list[AccessUnit] = []
    for number in range(377):
        moment = np.arange(number * 1024, (number + 1) * 1024) / rate
        noise = rng.normal(0, 0.05, (2, 1024))
        samples = (0.3 * np.sin(2 * np.pi * 330 * moment) + noise).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = rate, number * 1024
        for packet in encoder.encode(frame):
            if len(units) < 375:
                ticks = len(units) * 1024 * 90_000 // rate
                units.append(AccessUnit(AUDIO, ticks, ticks, True, bytes(packet)))
    track = aac.track(AUDIO, encoder.extradata or b"")
    return Clip(clip().video, track, tuple(units), 375 * 1024 * 90_000 // rate)


def only(source: Clip, kind: Kind) -> Clip:
    wanted = VIDEO if kind is Kind.VIDEO else AUDIO
    units = tuple(unit for unit in source.units if unit.track == wanted)
    return Clip(source.video, source.audio, units, source.ticks)


@asynccontextmanager
async def published(source: Clip) -> AsyncIterator[tuple[TranscoderService, Arrivals, float]]:
    hub = Hub(SystemClock())
    service = TranscoderService(clock=SystemClock())
    hub.observe(service)
    began = time.monotonic()
    loop = Loop(hub, ROOM, source)
    stream = hub.stream(ROOM)
    assert stream is not None
    arrivals = Arrivals()
    stream.attach(arrivals)
    try:
        yield service, arrivals, began
    finally:
        await loop.stop()
        hub.end(ROOM, "measured")
        await service.close()


async def until_heard(arrivals: Arrivals, track: TrackId, *, more_than: int = 0) -> None:
    async with asyncio.timeout(60):
        while arrivals.count.get(track, 0) <= more_than:  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def own_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def process_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def row(*cells: object) -> None:
    print("  ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True)))


WIDTHS = (34, 12, 12, 12, 12, 10)


async def measure(name: str, source: Clip, target: TrackId, seconds: float) -> None:
    async with published(source) as (service, arrivals, began):
        await until_heard(arrivals, target)
        first = (arrivals.first[target] - began) * 1000
        await asyncio.sleep(WARM_UP)
        pid = service.stats[0].pid
        assert pid is not None
        worker, own, start = process_cpu(pid), own_cpu(), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - start
        worker, own = process_cpu(pid) - worker, own_cpu() - own
        stats: WorkerStats = service.stats[0]
    row(
        name,
        f"{first:.0f} ms",
        f"{worker / took:.2%}",
        f"{own / took:.2%}",
        f"{stats.resident_bytes / 1e6:.0f} MB",
        sum(job.dropped for job in stats.jobs),
    )


async def recovery(name: str, source: Clip, target: TrackId, kills: int) -> None:
    taken = []
    async with published(source) as (service, arrivals, _):
        for number in range(kills):
            await until_heard(arrivals, target, more_than=arrivals.count.get(target, 0) + 20)
            pid = service.stats[0].pid
            assert pid is not None
            killed = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            while service.stats[0].restarts <= number:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
            heard = arrivals.count[target]
            await until_heard(arrivals, target, more_than=heard)
            taken.append(time.monotonic() - killed)
    print(f"{name} back after kill -9: {', '.join(f'{seconds:.2f} s' for seconds in taken)}")


def ffmpeg_cpu(source: Clip, laps: int) -> float:
    """Processor seconds of one ffmpeg for each second of these pictures."""
    config = h264.AvcConfig.parse(source.video.config)
    head = join_annexb([*config.sps, *config.pps])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.h264"
        body = b"".join(
            (head if unit.keyframe else b"") + join_annexb(split_length_prefixed(unit.payload))
            for unit in source.parts(source.video)
        )
        path.write_bytes(body * laps)
        command = [
            *("ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-i", str(path)),
            *("-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency"),
            *("-profile:v", "baseline", "-crf", "23", "-maxrate", "3000k", "-bufsize", "3000k"),
            *("-g", "60", "-sc_threshold", "0", "-threads", "2", "-f", "null", "-"),
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used / (laps * source.ticks / 90_000)


async def bench(seconds: float, kills: int) -> None:
    pictures = clip(1280, 720, bitrate=2_500_000, profile="high", b_frames=2)
    video = only(pictures, Kind.VIDEO)
    row("one stream", "first unit", "worker", "publisher+hub", "resident", "left out")
    await measure("AAC 48 kHz to Opus", aac_clip(48_000), AUDIO_OPUS, seconds)
    await measure("AAC 44.1 kHz to Opus", aac_clip(44_100), AUDIO_OPUS, seconds)
    await measure("Opus to AAC", only(pictures, Kind.AUDIO), AUDIO_AAC, seconds)
    await measure("720p30 with B-frames to H.264", video, VIDEO_WEBRTC, seconds)
    await recovery("sound", aac_clip(48_000), AUDIO_OPUS, kills)
    await recovery("picture", video, VIDEO_WEBRTC, kills)
    if shutil.which("ffmpeg"):
        cost = await asyncio.to_thread(ffmpeg_cpu, video, 8)
        print(f"one ffmpeg, the same pictures and settings: {cost:.2%} of a core")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--kills", type=int, default=3)
    arguments = parser.parse_args()
    uvloop.run(bench(arguments.seconds, arguments.kills))


if __name__ == "__main__":
    main()
