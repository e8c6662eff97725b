"""Real encoders against the real server: Debian's ffmpeg, and the newer one in PyAV's wheel."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import av
import pytest
from av.video.codeccontext import VideoCodecContext

from media.stream import AUDIO, VIDEO, Phase
from media.units import AccessUnit, Codec, TrackId
from tests.support.ffmpeg import H264_B_FRAMES, push_command, pushing, run
from tests.support.rtmp_push import PICTURES
from tests.support.rtmp_server import Ingest, certificate, eventually, ingest
from tests.support.streams import Recorder

pytestmark = pytest.mark.external

NAME = "demo?key=s3cret"


@pytest.fixture
async def running() -> AsyncIterator[Ingest]:
    async with ingest() as each:
        yield each


def units(recorder: Recorder, track: TrackId) -> list[AccessUnit]:
    return [unit for unit in recorder.units if unit.track == track]


def decoded(running: Ingest, track: TrackId) -> int:
    """Pictures that a decoder makes of the units."""
    description = running.stream.track(track)
    assert description is not None
    decoder = av.CodecContext.create(
        {Codec.H264: "h264", Codec.HEVC: "hevc", Codec.AV1: "libdav1d"}[description.codec], "r"
    )
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = description.config
    frames = []
    for unit in units(running.recorders[0], track):
        frames += decoder.decode(av.Packet(unit.payload))
    return len(frames) + len(decoder.decode(None))


async def test_h264_and_aac_from_ffmpeg(running: Ingest) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{NAME}"

    code, _, err = await run(push_command(url, seconds=3))

    assert code == 0, err
    (recorder,) = running.recorders
    pictures, sounds = units(recorder, VIDEO), units(recorder, AUDIO)
    stream = running.stream
    assert [(track.codec, track.width, track.height) for track in stream.tracks] == [
        (Codec.H264, 640, 360),
        (Codec.AAC, 0, 0),
    ]
    assert stream.publisher is None
    assert stream.phase is Phase.GRACE
    assert len(pictures) == 90
    assert [unit.keyframe for unit in pictures] == [index % 60 == 0 for index in range(90)]
    assert decoded(running, VIDEO) == 90
    assert {later.dts - earlier.dts for earlier, later in pairwise(pictures)} <= {2970, 3060}
    assert {later.dts - earlier.dts for earlier, later in pairwise(sounds)} == {1920}
    assert 140 <= len(sounds) <= 143
    assert abs(pictures[0].dts - sounds[0].dts) < 90_000 // 10
    assert "reordering" not in recorder.names()


async def test_b_frames_from_ffmpeg(running: Ingest) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{NAME}"

    code, _, err = await run(push_command(url, video=H264_B_FRAMES, seconds=2))

    assert code == 0, err
    pictures = units(running.recorders[0], VIDEO)
    assert "reordering" in running.recorders[0].names()
    assert decoded(running, VIDEO) == 60
    assert sorted(unit.pts for unit in pictures) != [unit.pts for unit in pictures]
    assert all(unit.pts >= unit.dts for unit in pictures)


@pytest.mark.parametrize(
    ("name", "said"),
    [("demo?key=wrong", "not the key of this room"), ("nowhere?key=s3cret", "no such room")],
)
async def test_a_wrong_key_or_room_with_ffmpeg(running: Ingest, name: str, said: str) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{name}"
    began = time.monotonic()

    code, _, err = await run(push_command(url, seconds=5))

    assert code != 0
    assert said in err
    assert time.monotonic() - began < 4
    assert running.hub.streams == ()


async def test_takeover_between_two_ffmpegs(running: Ingest) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{NAME}"
    async with pushing(push_command(url)) as first:
        await eventually(lambda: bool(running.recorders and len(running.recorders[0].units) > 30))
        async with pushing(push_command(url)):
            await asyncio.wait_for(first.wait(), 10)
            heard = len(running.recorders[0].units)
            await eventually(lambda: len(running.recorders[0].units) > heard + 30)
            assert first.returncode != 0
            assert running.stream.phase is Phase.LIVE
            assert len(running.recorders) == 1
            assert running.recorders[0].names().count("gap") == 1


async def test_ffmpeg_killed_and_restarted(running: Ingest) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{NAME}"
    for _ in range(3):
        heard = len(running.recorders[0].units) if running.recorders else 0
        async with pushing(push_command(url)):
            await eventually(
                lambda heard=heard: bool(  # type: ignore[misc]
                    running.recorders and len(running.recorders[0].units) > heard + 20
                )
            )
    await eventually(lambda: running.server.connections == 0)

    assert len(running.recorders) == 1
    dts = [unit.dts for unit in units(running.recorders[0], VIDEO)]
    assert all(earlier < later for earlier, later in pairwise(dts))


@pytest.mark.parametrize("wrap", [1 << 31, 1 << 32])
async def test_ffmpeg_over_the_wrap_of_the_timestamps(running: Ingest, wrap: int) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{NAME}"
    command = push_command(url, seconds=2.5)
    command[-3:-3] = ["-output_ts_offset", f"{wrap / 1000 - 1:.3f}"]

    code, _, err = await run(command)

    assert code == 0, err
    assert "gap" not in running.recorders[0].names()
    pictures = units(running.recorders[0], VIDEO)
    assert len(pictures) == 75
    assert {later.dts - earlier.dts for earlier, later in pairwise(pictures)} <= {2970, 3060}


async def test_rtmps_from_ffmpeg(tmp_path: Path) -> None:
    async with ingest(tls=certificate(tmp_path)) as running:
        url = f"rtmps://127.0.0.1:{running.port}/live/{NAME}"

        code, _, err = await run(push_command(url, seconds=1))

        assert code == 0, err
        assert len(units(running.recorders[0], VIDEO)) == 30


async def test_a_wrong_key_over_rtmps_from_ffmpeg(tmp_path: Path) -> None:
    async with ingest(tls=certificate(tmp_path)) as running:
        url = f"rtmps://127.0.0.1:{running.port}/live/demo?key=wrong"

        code, _, err = await run(push_command(url, seconds=1))

        assert code != 0
        assert "not the key of this room" in err


@pytest.mark.parametrize(
    ("codec", "expected"),
    [("libx264", Codec.H264), ("libx265", Codec.HEVC), ("libsvtav1", Codec.AV1)],
)
async def test_enhanced_rtmp_from_a_newer_ffmpeg(
    running: Ingest, codec: str, expected: Codec
) -> None:
    url = f"rtmp://127.0.0.1:{running.port}/live/{NAME}"

    code, _, err = await run(
        [sys.executable, "-m", "tests.support.rtmp_push", url, codec, "libopus"]
    )

    assert code == 0, err
    await eventually(lambda: running.server.connections == 0)
    tracks = {track.id: track for track in running.stream.tracks}
    assert tracks[VIDEO].codec is expected
    assert (tracks[VIDEO].width, tracks[VIDEO].height) == (320, 192)
    assert tracks[AUDIO].codec is Codec.OPUS
    assert len(units(running.recorders[0], VIDEO)) == PICTURES
    assert decoded(running, VIDEO) == PICTURES
    sounds = units(running.recorders[0], AUDIO)
    assert len(sounds) in (50, 51)
    assert {later.dts - earlier.dts for earlier, later in pairwise(sounds)} == {1800}
