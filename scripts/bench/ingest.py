"""What one publisher of 2.5 Mbit/s costs: processor time of the server and of its codec worker.

`python -m scripts.bench.ingest [--peer MEDIAMTX] [--seconds N]`. ffmpeg sends a file encoded
before, in real time, by RTMP and by SRT, so that its own work does not disturb the figures.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from scripts.bench.running import Target, mediamtx, vitrine


def encode(path: Path, seconds: int = 60) -> None:
    """720p30 H.264 at 2.5 Mbit/s with AAC, a keyframe every two seconds, no B-frames."""
    source = ("-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate=30:duration={seconds}")
    tone = ("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}")
    video = (
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-tune",
        "zerolatency",
        "-g",
        "60",
        "-profile:v",
        "baseline",
    )
    rate = ("-b:v", "2500k", "-minrate", "2500k", "-maxrate", "2500k", "-bufsize", "2500k")
    sound = ("-c:a", "aac", "-b:a", "128k", "-ac", "2")
    shape = ("-x264-params", "nal-hrd=cbr", "-pix_fmt", "yuv420p")
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, *tone, *video, *rate, *shape, *sound]
    subprocess.run([*command, str(path)], check=True)


@contextmanager
def sending(clip: Path, url: str) -> Iterator[None]:
    container = "mpegts" if url.startswith("srt") else "flv"
    command = ["ffmpeg", "-loglevel", "error", "-nostdin", "-re", "-stream_loop", "-1"]
    command += ["-i", str(clip), "-c", "copy", "-f", container, url]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measure(target: Target, seconds: float) -> tuple[float, float, float]:
    """Percent of a core: the main process, its workers; and the main process's memory in MB."""
    main = psutil.Process(target.pid)
    time.sleep(4)
    workers = main.children(recursive=True)
    before = busy(main), sum(map(busy, workers))
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    after = busy(main), sum(map(busy, workers))
    memory = main.memory_info().rss / 1e6
    return 100 * (after[0] - before[0]) / took, 100 * (after[1] - before[1]) / took, memory


def run(target: Target, clip: Path, seconds: float) -> None:
    for protocol, url in (("RTMP", target.rtmp), ("SRT", target.srt)):
        with sending(clip, url):
            main, workers, memory = measure(target, seconds)
        print(f"{target.name:10} {protocol:8} {main:8.2f} {workers:10.2f} {memory:10.0f}")
        time.sleep(2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", type=Path, help="a MediaMTX binary to run beside")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        encode(clip)
        print(f"{'server':10} {'protocol':8} {'main %':>8} {'workers %':>10} {'memory MB':>10}")
        with vitrine() as target:
            run(target, clip, arguments.seconds)
        if arguments.peer:
            with mediamtx(arguments.peer) as target:
                run(target, clip, arguments.seconds)


if __name__ == "__main__":
    main()
