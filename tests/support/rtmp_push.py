"""Pushes a second of picture and silence with PyAV's ffmpeg, which is newer than Debian's and
speaks Enhanced RTMP. A process of its own, since nothing can interrupt it: URL, video, audio codec.
"""

import sys
from fractions import Fraction
from typing import Final

import av
from av.audio.stream import AudioStream
from av.video.stream import VideoStream

OPTIONS: Final = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libsvtav1": {"preset": "12", "svtav1-params": "pred-struct=1"},
}
PICTURES: Final = 30


def push(url: str, codec: str, audio: str) -> None:
    with av.open(url, "w", format="flv") as output:
        video = output.add_stream(codec, rate=30, options=OPTIONS[codec])
        assert isinstance(video, VideoStream)
        video.width, video.height, video.pix_fmt = 320, 192, "yuv420p"
        sound = output.add_stream(audio, rate=48000)
        assert isinstance(sound, AudioStream)
        sound.layout = "stereo"
        for index in range(PICTURES):
            output.mux(video.encode(picture(index)))
            output.mux(sound.encode(silence(index)))
        output.mux(video.encode(None))
        output.mux(sound.encode(None))


def picture(index: int) -> av.VideoFrame:
    frame = av.VideoFrame(320, 192, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([index * 8]) * plane.buffer_size)
    frame.pts = index
    frame.time_base = Fraction(1, 30)
    return frame


def silence(index: int) -> av.AudioFrame:
    frame = av.AudioFrame("flt", "stereo", 1600)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = 48000
    frame.pts = index * 1600
    frame.time_base = Fraction(1, 48000)
    return frame


if __name__ == "__main__":
    push(*sys.argv[1:])
