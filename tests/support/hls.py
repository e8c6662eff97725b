"""Coded units for the packager's tests, made by real encoders, and a server that plays them out."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from configs.kernel.clock import SystemClock
from media.codecs import aac
from media.codecs.assembler import VideoAssembler
from media.codecs.nal import split_annexb
from media.stream import AUDIO, VIDEO, Phase, Stream
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId
from transcoder.hls.http import HlsEndpoint
from transcoder.hls.presentation import HlsConfig
from transcoder.hls.service import HlsService


@dataclass(frozen=True)
class Tape:
    """A stretch of coded units that can be played round and round; times from 0, in 90 kHz."""

    track: Track
    units: tuple[AccessUnit, ...]
    length: int

    def forever(self, start: int = 0) -> Iterator[AccessUnit]:
        turn = start
        while True:
            for unit in self.units:
                yield AccessUnit(
                    unit.track, unit.pts + turn, unit.dts + turn, unit.keyframe, unit.payload
                )
            turn += self.length


@cache
def pictures(
    *,
    codec: Codec = Codec.H264,
    fps: int = 30,
    gop: int = 60,
    gops: int = 1,
    b_frames: int = 0,
    size: tuple[int, int] = (160, 96),
    bit_rate: int = 0,
) -> Tape:
    """A moving picture, encoded."""
    encoder = av.CodecContext.create("libx264" if codec is Codec.H264 else "libx265", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height = size
    encoder.pix_fmt = "yuv420p"
    encoder.framerate = Fraction(fps)
    encoder.time_base = Fraction(1, fps)
    encoder.gop_size = gop
    encoder.thread_count = 1
    if bit_rate:
        encoder.bit_rate = bit_rate
    common = f"keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0:bframes={b_frames}"
    if codec is Codec.H264:
        encoder.options = {"preset": "ultrafast", "x264-params": common}
    else:
        encoder.options = {"preset": "ultrafast", "x265-params": common + ":log-level=none"}
    packets = []
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    for number in range(gop * gops):
        wave = ((columns + rows + 4 * number) % 256).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.stack([wave, wave.T.reshape(wave.shape), wave], 2))
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    assembler = VideoAssembler(VIDEO, codec)
    units = []
    track = None
    tick = CLOCK_RATE // fps
    first = min(packet.dts for packet in packets if packet.dts is not None)
    for packet in packets:
        assert packet.pts is not None
        assert packet.dts is not None
        assembled = assembler.assemble(split_annexb(bytes(packet)))
        assert assembled is not None
        track = assembled.track or track
        pts, dts = (packet.pts - first) * tick, (packet.dts - first) * tick
        units.append(AccessUnit(VIDEO, pts, dts, assembled.keyframe, assembled.payload))
    assert track is not None
    return Tape(track, tuple(units), gop * gops * tick)


@cache
def sound(*, rate: int = 48000, frames: int = 375, channels: int = 2) -> Tape:
    """A tone, encoded as AAC; 375 frames at 48 kHz are exactly 8 s."""
    encoder = av.CodecContext.create("aac", "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate = rate
    encoder.layout = "stereo" if channels == 2 else "mono"
    encoder.format = "fltp"
    encoder.bit_rate = 128_000
    encoder.open()
    packets = []
    for number in range(frames):
        at = (np.arange(1024) + number * 1024) / rate
        tone = (0.2 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone] * channels), "fltp", encoder.layout.name)
        frame.sample_rate = rate
        frame.pts = number * 1024
        packets += encoder.encode(frame)
    assert encoder.extradata is not None
    track = aac.track(AUDIO, encoder.extradata)
    times = [number * 1024 * CLOCK_RATE // rate for number in range(len(packets))]
    units = [
        AccessUnit(AUDIO, time, time, True, bytes(packet))
        for time, packet in zip(times, packets, strict=True)
    ]
    return Tape(track, tuple(units), len(packets) * 1024 * CLOCK_RATE // rate)


def interleaved(*tapes: Tape, until: int, start: int = 0) -> Iterator[AccessUnit]:
    """Units of several tapes in the order of their decoding times, up to `until` ticks."""
    readers = [tape.forever(start) for tape in tapes]
    heads = [next(reader) for reader in readers]
    while True:
        position = min(range(len(heads)), key=lambda index: heads[index].dts)
        if heads[position].dts >= until:
            return
        yield heads[position]
        heads[position] = next(readers[position])


def in_milliseconds(unit: AccessUnit) -> AccessUnit:
    """As RTMP would have sent it."""
    pts, dts = ((round(time / 90) * 90) for time in (unit.pts, unit.dts))
    return AccessUnit(unit.track, pts, dts, unit.keyframe, unit.payload)


def feed(stream: Stream, *tapes: Tape, seconds: float, start: float = 0.0) -> None:
    """Pushes that many seconds of the tapes at once."""
    for tape in tapes:
        stream.set_track(tape.track)
    first = round(start * CLOCK_RATE)
    for unit in interleaved(*tapes, until=first + round(seconds * CLOCK_RATE), start=first):
        stream.push(in_milliseconds(unit))


async def feed_live(stream: Stream, *tapes: Tape, seconds: float) -> None:
    """Pushes the tapes at their own pace, from the stream's present time on."""
    loop = asyncio.get_running_loop()
    for tape in tapes:
        stream.set_track(tape.track)
    start = stream.ticks(loop.time())
    for unit in interleaved(*tapes, until=start + round(seconds * CLOCK_RATE), start=start):
        due = stream.clock_origin + unit.dts / CLOCK_RATE
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        stream.push(in_milliseconds(unit))


def other_id(track: Track, identity: TrackId) -> Track:
    """The same track under another name, as a worker would publish it."""
    return Track(
        identity, track.codec, track.config, sample_rate=track.sample_rate, channels=track.channels
    )


# A server

ROOM = "demo"


@dataclass
class Origin:
    """An HTTP server with one room, `ROOM`, that is live for as long as its `stream` is wanted."""

    service: HlsService
    server: TestServer
    clock: SystemClock

    def url(self, path: str = "index.m3u8") -> str:
        return str(self.server.make_url(f"/hls/{ROOM}/{path}"))

    def start(self) -> Stream:
        now, wall = self.clock.monotonic(), self.clock.wall()
        stream = Stream(ROOM, clock_origin=now, wall_origin=wall)
        self.service.stream_started(stream)
        return stream

    def end(self, stream: Stream) -> None:
        stream.enter(Phase.ENDED)
        self.service.stream_ended(stream)


@asynccontextmanager
async def origin(
    config: HlsConfig | None = None, *routes: web.AbstractRouteDef
) -> AsyncIterator[Origin]:
    clock = SystemClock()
    service = HlsService(clock, config)

    async def exists(room: str) -> bool:
        return room == ROOM

    app = web.Application()
    app.add_routes([*HlsEndpoint(service, exists).routes(), *routes])
    server = TestServer(app)
    async with server:
        yield Origin(service, server, clock)
