"""The demo publisher: a moving picture with a clock and a beep, pushed through the real RTMP port.

Run as a process of its own, `python -m scripts.demo`. The address, with the stream key, comes from
the environment (`DEMO_RTMP_URL`) or, without that, as the first line of standard input: arguments
can be read by everybody on the machine. It comes back by itself when the server does, and leaves
on SIGTERM or SIGINT.
"""

import contextlib
import io
import math
import os
import signal
import sys
import threading
import time
from fractions import Fraction
from types import FrameType
from typing import Final

import av
import numpy as np
import structlog
from av.audio.frame import AudioFrame
from av.container.output import OutputContainer
from av.error import FFmpegError
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from scripts.demo_picture import HEIGHT, WIDTH, Window

log = structlog.get_logger(__name__)

FRAME_RATE: Final = 30
KEYFRAME_EVERY: Final = 2 * FRAME_RATE
SAMPLE_RATE: Final = 48_000
CHUNK: Final = 1024
BEEP_HZ: Final = 880.0
BEEP_SECONDS: Final = 0.09
FIRST_RETRY, LAST_RETRY = 0.25, 5.0
LATE_AFTER: Final = 1.0
"""Seconds of delay that are not made up for any more, but left out."""
LEAVE_TIMEOUT: Final = 2


class Beeper:
    """A short tone at each full second of the wall clock, over silence."""

    def __init__(self) -> None:
        time = np.arange(round(BEEP_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
        shape = np.minimum(time / 0.003, 1) * np.minimum((BEEP_SECONDS - time) / 0.05, 1)
        tone = np.sin(2 * np.pi * BEEP_HZ * time) + 0.3 * np.sin(4 * np.pi * BEEP_HZ * time)
        self._second = np.zeros(SAMPLE_RATE, np.float32)
        self._second[: time.size] = 0.22 * shape * tone

    def samples(self, wall: float) -> NDArray[np.float32]:
        """The next `CHUNK` samples from a moment in seconds since 1970; shape (2, CHUNK)."""
        first = round(wall % 1 * SAMPLE_RATE)
        picked = self._second[np.arange(first, first + CHUNK) % SAMPLE_RATE]
        return np.tile(picked, (2, 1))


class Pace:
    """Frame numbers in real time. Picture and sound of a moment show and sound the same `wall`, and
    a full second begins with a frame, so that flash and beep come together."""

    def __init__(self, *, monotonic: float, wall: float) -> None:
        self._wall = math.ceil(wall * FRAME_RATE) / FRAME_RATE
        self._began = monotonic + self._wall - wall
        self.frame = 0

    def due(self) -> float:
        """The monotonic time of the frame to come."""
        return self._began + self.frame / FRAME_RATE

    def wall(self, seconds: float) -> float:
        """The wall clock's time at this many seconds of the stream."""
        return self._wall + seconds

    def correct(self, *, monotonic: float, wall: float) -> None:
        """Leaves out what is too late, and follows a wall clock that was set."""
        late = monotonic - self.due()
        if late > LATE_AFTER:
            self.frame += int(late * FRAME_RATE)
        frames_off = round((wall - self._wall - monotonic + self._began) * FRAME_RATE)
        self._wall += frames_off / FRAME_RATE


class Broadcast:
    """One connection: encoders and the container. Times are seconds of the stream."""

    def __init__(self, url: str) -> None:
        options = {"flvflags": "no_duration_filesize", "flush_packets": "1"}
        opened = av.open(url, "w", format="flv", options=options, timeout=5.0)
        self._container: OutputContainer = opened
        self._video = opened.add_stream("libx264", rate=FRAME_RATE)
        self._video.width, self._video.height, self._video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = self._video.codec_context
        context.time_base = Fraction(1, FRAME_RATE)
        context.gop_size, context.max_b_frames = KEYFRAME_EVERY, 0
        context.thread_count = 1
        context.bit_rate = 2_500_000
        context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
        context.color_primaries, context.color_trc = 1, 1
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "baseline",
            "maxrate": "2500000",
            "bufsize": "2500000",
            "sc_threshold": "0",
        }
        self._audio = opened.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        self._audio.codec_context.bit_rate = 128_000
        self._samples = 0
        # This is where it connects.
        opened.start_encoding()

    def picture(self, planes: NDArray[np.uint8], frame: int) -> None:
        image = VideoFrame.from_ndarray(planes, format="yuv420p")
        image.pts, image.time_base = frame, Fraction(1, FRAME_RATE)
        image.pict_type = PictureType.NONE
        self._container.mux(self._video.encode(image))

    def sound(self, beeper: Beeper, pace: Pace, until: float) -> None:
        """Sound up to this time of the stream, behind what was sent already."""
        if until * SAMPLE_RATE - self._samples > LATE_AFTER * SAMPLE_RATE:
            self._samples = round(until * SAMPLE_RATE) - CHUNK
        while self._samples + CHUNK <= until * SAMPLE_RATE:
            piece = beeper.samples(pace.wall(self._samples / SAMPLE_RATE))
            chunk = AudioFrame.from_ndarray(piece, format="fltp", layout="stereo")
            chunk.sample_rate = SAMPLE_RATE
            chunk.pts, chunk.time_base = self._samples, Fraction(1, SAMPLE_RATE)
            self._container.mux(self._audio.encode(chunk))
            self._samples += CHUNK

    def close(self) -> None:
        with contextlib.suppress(FFmpegError):
            self._container.close()


class Demo:
    """Publishes until `stop`, whatever the server does meanwhile, or until `parent` is gone: who
    started it and was killed can no longer end it."""

    def __init__(self, url: str, *, parent: int) -> None:
        self._url = url
        self._parent = parent
        self._stopping = threading.Event()
        self._window = Window()
        self._beeper = Beeper()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        retry = FIRST_RETRY
        while not self._is_over(0):
            began = time.monotonic()
            try:
                self._broadcast()
            except FFmpegError as error:
                # Its text has the address, and the address has the key.
                log.info("demo.disconnected", reason=error.strerror, retry_s=retry)
            if time.monotonic() - began > LAST_RETRY:
                retry = FIRST_RETRY
            self._is_over(retry)
            retry = min(retry * 2, LAST_RETRY)

    def _is_over(self, wait: float) -> bool:
        return self._stopping.wait(wait) or os.getppid() != self._parent

    def _broadcast(self) -> None:
        broadcast = Broadcast(self._url)
        log.info("demo.connected")
        try:
            pace = Pace(monotonic=time.monotonic(), wall=time.time())
            while not self._is_over(max(0.0, pace.due() - time.monotonic())):
                now = pace.frame / FRAME_RATE
                self._window.draw(pace.wall(now), pace.frame)
                broadcast.picture(self._window.planes, pace.frame)
                broadcast.sound(self._beeper, pace, now)
                pace.frame += 1
                pace.correct(monotonic=time.monotonic(), wall=time.time())
        finally:
            broadcast.close()


def main() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    url = os.environ.get("DEMO_RTMP_URL") or sys.stdin.readline().strip()
    if not url.startswith(("rtmp://", "rtmps://")):
        sys.exit("demo: give the RTMP address in DEMO_RTMP_URL or on standard input")
    demo = Demo(url, parent=os.getppid())

    def leave(number: int, frame: FrameType | None) -> None:
        demo.stop()
        # A server that does not read must not hold us.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LEAVE_TIMEOUT)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    demo.run()


if __name__ == "__main__":
    main()
