"""Two seconds of moving picture and sound, encoded once and published over and over.

For benches and tests that need something to watch without a publisher's protocol in between.
"""

import asyncio
import itertools
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import av
import numpy as np

from media.codecs import opus
from media.codecs.assembler import VideoAssembler
from media.codecs.nal import split_annexb
from media.hub import Hub, Publication, PublishGrant
from media.stream import AUDIO, VIDEO, Publisher
from media.units import CLOCK_RATE, AccessUnit, Codec, Track


@dataclass(frozen=True)
class Clip:
    """Two seconds of picture and sound that can be looped; times from 0, units in order of dts."""

    video: Track
    audio: Track
    units: tuple[AccessUnit, ...]
    ticks: int

    def parts(self, kind: Track) -> list[AccessUnit]:
        return [unit for unit in self.units if unit.track == kind.id]


@cache
def clip(
    width: int = 320,
    height: int = 240,
    *,
    bitrate: int = 600_000,
    profile: str = "baseline",
    b_frames: int = 0,
) -> Clip:
    """A moving picture at 30 frames a second in one group of pictures, and a tone in Opus."""
    video, pictures = _encode_video(width, height, bitrate, profile, b_frames)
    audio, sounds = _encode_audio()
    ordered = sorted((*pictures, *sounds), key=lambda unit: unit.dts)
    return Clip(video, audio, tuple(ordered), 2 * CLOCK_RATE)


def _encode_video(
    width: int, height: int, bitrate: int, profile: str, b_frames: int
) -> tuple[Track, list[AccessUnit]]:
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.bit_rate = bitrate
    encoder.framerate = Fraction(30)
    encoder.time_base = Fraction(1, 30)
    encoder.gop_size = 60
    encoder.options = {
        "preset": "veryfast" if profile == "high" else "ultrafast",
        "profile": profile,
        "bf": str(b_frames),
        "x264-params": f"scenecut=0:nal-hrd=cbr:vbv-maxrate={bitrate // 1000}"
        f":vbv-bufsize={bitrate // 4000}:force-cfr=1",
        **({} if b_frames else {"tune": "zerolatency"}),
    }
    assembler = VideoAssembler(VIDEO, Codec.H264)
    rng = np.random.default_rng(7)
    noise = rng.integers(0, 255, (height, width), dtype=np.uint8)
    track: Track | None = None
    units: list[AccessUnit] = []
    packets = []
    for number in range(60):
        planes = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
        planes[:height] = np.roll(noise, number * 4, axis=1) // 2
        planes[height // 4 : height // 2, (number * 5) % (width - 40) :][:, :40] = 235
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 30)
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    for packet in packets:
        assembled = assembler.assemble(split_annexb(bytes(packet)))
        assert assembled is not None
        assert packet.pts is not None
        assert packet.dts is not None
        track = assembled.track or track
        units.append(
            AccessUnit(
                VIDEO,
                packet.pts * 3000 + b_frames * 3000,
                packet.dts * 3000 + b_frames * 3000,
                assembled.keyframe,
                assembled.payload,
            )
        )
    assert track is not None
    return track, units


def _encode_audio() -> tuple[Track, list[AccessUnit]]:
    encoder = av.CodecContext.create("libopus", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "stereo", "s16"
    encoder.bit_rate = 96_000
    encoder.time_base = Fraction(1, 48_000)
    units: list[AccessUnit] = []
    for number in range(101):
        time = np.arange(number * 960, (number + 1) * 960) / 48_000
        tone = (np.sin(2 * np.pi * 440 * time) * 12_000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(
            np.repeat(tone, 2)[None, :], format="s16", layout="stereo"
        )
        frame.sample_rate, frame.pts = 48_000, number * 960
        for packet in encoder.encode(frame):
            if len(units) < 100:
                ticks = len(units) * 1800
                units.append(AccessUnit(AUDIO, ticks, ticks, True, bytes(packet)))
    track = opus.track(AUDIO, opus.OpusConfig(channels=2).serialize())
    return track, units


class Loop:
    """Publishes a clip over and over, at its own pace, until it is stopped."""

    def __init__(self, hub: Hub, room: str, source: Clip) -> None:
        self._source = source
        self._publication: Publication = hub.publish(
            PublishGrant(room), Publisher("clip", "local"), lambda _: None
        )
        self._task = asyncio.create_task(self._run())
        self.frames = 0
        self.laps = 0

    async def _run(self) -> None:
        source = self._source
        self._publication.set_track(source.video)
        self._publication.set_track(source.audio)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for lap in itertools.count():
            self.laps = lap + 1
            for unit in source.units:
                due = started + (unit.dts + lap * source.ticks) / CLOCK_RATE
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                shift = lap * source.ticks
                self.frames += unit.track == VIDEO
                self._publication.write(replace(unit, pts=unit.pts + shift, dts=unit.dts + shift))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._publication.close("stopped")
