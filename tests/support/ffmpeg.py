"""Debian's ffmpeg as an encoder: pushes a moving test picture and a tone, as OBS would."""

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

H264 = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline"),
    *("-b:v", "1500k", "-maxrate", "1500k", "-bufsize", "1500k", "-g", "60", "-pix_fmt", "yuv420p"),
)
H264_B_FRAMES = (
    *("-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "main", "-bf", "3", "-g", "60"),
    *("-x264-params", "b-adapt=0:keyint=60:scenecut=0", "-b:v", "1500k", "-pix_fmt", "yuv420p"),
)
AAC = ("-c:a", "aac", "-b:a", "128k", "-ar", "48000", "-ac", "2")
PICTURE = ("-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30")
TONE = ("-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000")


def push_command(
    url: str, *, video: Sequence[str] = H264, audio: Sequence[str] = AAC, seconds: float = 300
) -> list[str]:
    container = "mpegts" if url.startswith("srt") else "flv"
    return [
        *("ffmpeg", "-hide_banner", "-loglevel", "warning", "-nostdin"),
        *PICTURE,
        *TONE,
        *("-t", str(seconds), "-map", "0:v", "-map", "1:a"),
        *video,
        *audio,
        *("-f", container, url),
    ]


@asynccontextmanager
async def pushing(command: Sequence[str]) -> AsyncIterator[Process]:
    """Runs the encoder for as long as the block lasts."""
    process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def run(command: Sequence[str], *, timeout_s: float = 60) -> tuple[int, str, str]:
    """Runs a command to its end: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        out, err = await asyncio.wait_for(process.communicate(), timeout_s)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
