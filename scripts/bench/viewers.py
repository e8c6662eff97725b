"""WHEP viewers of the whole house: what they cost the server, and how soon they see a picture.

    python -m scripts.bench.viewers --load PATH/TO/whep_load.py [--no-audio] [--peer MEDIAMTX]

ffmpeg sends a clip of 2.5 Mbit/s by RTMP, the load generator opens the viewers and reads the
server's processor time with that of its workers. `us/packet` is all of it divided by the packets
sent; `net` leaves out what the server needs for the publisher alone. `scripts.bench.whep` measures
the same without any ingest. MediaMTX does not transcode AAC and refuses who asks for sound: with a
peer, leave it out for both.
"""

import argparse
import tempfile
import time
from pathlib import Path

from scripts.bench.ingest import encode, sending
from scripts.bench.running import Target, mediamtx, vitrine
from scripts.bench.whep import measure

COLUMNS = (
    f"{'server':10} {'viewers':>7} {'failed':>6} {'us/packet':>9} {'net':>6} {'cores':>6}"
    f" {'join p50':>8} {'p95 ms':>7} {'kB/viewer':>9} {'loss %':>6}"
)


def run(
    target: Target, clip: Path, load: Path, counts: list[int], seconds: float, *more: str
) -> None:
    with sending(clip, target.rtmp):
        time.sleep(5)
        idle = measure(load, target.pid, target.whep, 0, seconds, *more)["server"]
        for viewers in counts:
            report = measure(load, target.pid, target.whep, viewers, seconds, *more)
            server, joined = report["server"], report["time_from_post_ms"]["keyframe"]
            packets = report["packets_per_s"]
            if not packets:
                print(f"{target.name:10} {viewers:7} {report['viewers_failed']:6} refused")
                continue
            print(
                f"{target.name:10} {viewers:7} {report['viewers_failed']:6}"
                f" {1e6 * server['cores'] / packets:9.2f}"
                f" {1e6 * (server['cores'] - idle['cores']) / packets:6.2f}"
                f" {server['cores']:6.3f} {joined['p50']:8.1f} {joined['p95']:7.1f}"
                f" {1000 * (server['rss_max_mb'] - idle['rss_max_mb']) / viewers:9.0f}"
                f" {report['loss_pct']:6.2f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--load", type=Path, required=True, help="the load generator")
    parser.add_argument("--peer", type=Path, help="a MediaMTX binary to run beside")
    parser.add_argument("--viewers", type=int, nargs="+", default=[1, 25, 100, 250])
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--no-audio", action="store_true", help="ask for the picture alone")
    options = parser.parse_args()
    more = ("--no-audio",) if options.no_audio else ()
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        encode(clip)
        print(COLUMNS)
        with vitrine() as target:
            run(target, clip, options.load, options.viewers, options.seconds, *more)
        if options.peer:
            with mediamtx(options.peer) as target:
                run(target, clip, options.load, options.viewers, options.seconds, *more)


if __name__ == "__main__":
    main()
