import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from scripts.demo import BEEP_SECONDS, CHUNK, FRAME_RATE, SAMPLE_RATE, Beeper, Pace
from scripts.demo_picture import HEIGHT, WIDTH, Window
from tests.support.ffmpeg import run

NOON = 1_795_608_000.0
LAMP = (slice(350, 378), slice(262, 290))
CLOCK = (slice(192, 316), slice(230, 1050))


def test_the_lamp_lights_at_the_full_second() -> None:
    window = Window()
    brightness = []
    for tenth in range(10):
        window.draw(NOON + tenth / 10, tenth)
        brightness.append(float(window.planes[:HEIGHT][LAMP].mean()))

    assert brightness[0] > brightness[1] > brightness[2]
    assert len(set(brightness[2:])) == 1
    assert brightness[0] - brightness[5] > 80


def test_the_clock_shows_every_moment_differently_and_the_same_moment_alike() -> None:
    window = Window()

    def clock(wall: float) -> bytes:
        window.draw(wall, 0)
        return window.planes[:HEIGHT][CLOCK].tobytes()

    first = clock(NOON)
    others = {clock(NOON + step) for step in (0.001, 0.1, 1, 60, 3600)}

    assert len(others) == 5
    assert first not in others
    assert clock(NOON) == first


def test_the_shelf_moves_and_comes_round() -> None:
    window = Window()

    def shelf(frame: int) -> bytes:
        window.draw(NOON, frame)
        return window.planes[480:660].tobytes()

    assert window.planes.shape == (HEIGHT * 3 // 2, WIDTH)
    assert shelf(0) != shelf(1)
    assert shelf(0) == shelf(640)


def test_beeps_at_the_full_second_and_not_between() -> None:
    beeper = Beeper()

    beep = beeper.samples(NOON)
    across = beeper.samples(NOON + 1 - 512 / SAMPLE_RATE)
    between = beeper.samples(NOON + BEEP_SECONDS + 0.01)

    assert beep.shape == (2, CHUNK)
    assert 0.1 < np.abs(beep).max() < 0.5
    assert np.array_equal(beep[0], beep[1])
    assert not across[:, :511].any()
    assert across[:, 600:].any()
    assert not between.any()


def test_frames_fall_on_full_seconds_in_real_time() -> None:
    pace = Pace(monotonic=100.0, wall=NOON + 0.4177)

    assert pace.due() == pytest.approx(100.0 + 0.4333333 - 0.4177)
    shown = [pace.wall(frame / FRAME_RATE) for frame in range(FRAME_RATE)]
    assert min(abs(wall - NOON - 1) for wall in shown) < 1e-6
    pace.frame = 300
    assert pace.due() == pytest.approx(110.0 + 0.4333333 - 0.4177)


def test_a_little_delay_is_made_up_for_and_a_long_one_left_out() -> None:
    pace = Pace(monotonic=100.0, wall=NOON)

    pace.correct(monotonic=100.5, wall=NOON + 0.5)
    assert pace.frame == 0
    pace.correct(monotonic=103.0, wall=NOON + 3)
    assert pace.frame == 3 * FRAME_RATE
    assert pace.wall(3.0) == NOON + 3


def test_follows_a_wall_clock_that_is_set() -> None:
    pace = Pace(monotonic=100.0, wall=NOON)

    pace.correct(monotonic=100.0, wall=NOON + 3600)

    assert pace.wall(0.0) == pytest.approx(NOON + 3600)


@asynccontextmanager
async def demo(url: str, *, by_environment: bool = True) -> AsyncIterator[Process]:
    environment = {**os.environ, "DEMO_RTMP_URL": url if by_environment else ""}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "scripts.demo", stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    assert process.stdin is not None
    if not by_environment:
        process.stdin.write(url.encode() + b"\n")
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def arguments_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("by_environment", [True, False])
async def test_tries_again_without_a_server_tells_no_key_and_leaves_when_told(
    by_environment: bool,
) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/demo?key=s3cret"

    async with demo(url, by_environment=by_environment) as process:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            lines = [await process.stdout.readline() for _ in range(2)]
            arguments = arguments_of(process.pid)
            process.send_signal(signal.SIGTERM)
            rest, errors = await process.communicate()

    assert process.returncode == 0
    assert all(b"demo.disconnected" in line for line in lines)
    everything = b"".join([*lines, rest, errors, arguments])
    assert b"s3cret" not in everything
    assert b"Traceback" not in everything


async def test_says_what_it_needs_when_there_is_no_address() -> None:
    async with demo("http://127.0.0.1/", by_environment=False) as process:
        async with asyncio.timeout(30):
            _, errors = await process.communicate()

    assert process.returncode == 1
    assert b"DEMO_RTMP_URL" in errors


@pytest.mark.external
async def test_pushes_to_a_server_and_again_when_it_is_restarted(tmp_path: Path) -> None:
    address = f"rtmp://127.0.0.1:{free_port()}/live/demo"
    files = [tmp_path / "first.flv", tmp_path / "second.flv"]

    async with demo(f"{address}?key=s3cret"):
        for file in files:
            server = ["ffmpeg", "-v", "error", "-listen", "1", "-i", address, "-t", "3"]
            status, _, errors = await run([*server, "-c", "copy", str(file)], timeout_s=40)
            assert status == 0, errors

    for file in files:
        with av.open(str(file)) as received:
            video, audio = received.streams.video[0], received.streams.audio[0]
            assert (video.codec_context.name, video.width, video.height) == ("h264", 1280, 720)
            assert (audio.codec_context.name, audio.rate) == ("aac", 48_000)
            packets = [packet for packet in received.demux(video) if packet.size]
        keyframes = [packet.pts or 0 for packet in packets if packet.is_keyframe]
        assert all(packet.pts == packet.dts for packet in packets)
        assert keyframes[1] - keyframes[0] == 2000
        assert len(packets) >= 80
