"""Sources for the transcoder: sound and pictures made in memory by PyAV, as units of a track."""

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext, Flags
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from media.codecs import aac, h264, hevc, opus
from media.codecs.assembler import VideoAssembler
from media.codecs.nal import split_annexb
from media.stream import AUDIO, VIDEO
from media.units import CLOCK_RATE, AccessUnit, Codec, Track

Samples = NDArray[np.float32]


def tone(
    *,
    seconds: float,
    rate: int = 48_000,
    channels: int = 2,
    frequency: float = 997.0,
    level: float = 0.25,
) -> Samples:
    """A sine of the same phase in every channel; shape (channels, samples)."""
    time = np.arange(round(seconds * rate)) / rate
    wave = (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)
    return np.tile(wave, (channels, 1))


def clicks(*, seconds: float, rate: int = 48_000, at: Sequence[float]) -> Samples:
    """Silence with a burst of 2 ms at each of these times."""
    samples = np.zeros((2, round(seconds * rate)), np.float32)
    for moment in at:
        first = round(moment * rate)
        samples[:, first : first + rate // 500] = 0.8
    return samples


_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}


def sound(
    samples: Samples, *, rate: int = 48_000, codec: Codec = Codec.AAC, start: int = 0
) -> tuple[Track, list[AccessUnit]]:
    """The samples coded as the source's sound; the first sample is heard at tick `start`, and what
    the encoder needs before it is left away."""
    encoder = CodecContext.create("aac" if codec is Codec.AAC else "libopus", "w")
    assert isinstance(encoder, AudioCodecContext)
    channels = samples.shape[0]
    encoder.sample_rate, encoder.layout = rate, _LAYOUTS[channels]
    encoder.format = "fltp" if codec is Codec.AAC else "flt"
    encoder.bit_rate = 128_000 * max(1, channels // 2)
    encoder.time_base = Fraction(1, rate)
    encoder.flags |= Flags.global_header
    encoder.open()
    size = 1024 if codec is Codec.AAC else rate // 50
    units = []
    for first in range(0, samples.shape[1] - size + 1, size):
        piece = np.ascontiguousarray(samples[:, first : first + size])
        if codec is Codec.OPUS:
            piece = piece.T.reshape(1, -1)
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(piece), format=encoder.format.name, layout=_LAYOUTS[channels]
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        for packet in encoder.encode(frame):
            assert packet.pts is not None
            at = start + round(packet.pts * CLOCK_RATE / rate)
            if packet.pts >= 0:
                units.append(AccessUnit(AUDIO, at, at, True, bytes(packet)))
    extradata = encoder.extradata or b""
    if codec is Codec.AAC:
        return aac.track(AUDIO, extradata), units
    return opus.track(AUDIO, opus.OpusConfig.from_head(extradata).serialize()), units


def heard(track: Track, units: Sequence[AccessUnit]) -> Samples:
    """What a player makes of it, without the pre-skip or priming cut off: the first sample belongs
    to the first unit's pts. Shape (channels, samples)."""
    decoder = CodecContext.create("aac" if track.codec is Codec.AAC else "libopus", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.extradata = track.config
    if track.codec is Codec.OPUS:
        config = opus.OpusConfig.parse(track.config)
        decoder.extradata = opus.OpusConfig(
            channels=config.channels, pre_skip=0, sample_rate=config.sample_rate
        ).to_head()
    pieces: list[Samples] = []
    for unit in units:
        for frame in decoder.decode(Packet(unit.payload)):
            data: Samples = frame.to_ndarray().astype(np.float32)
            if not frame.format.is_planar:
                data = data.reshape(-1, frame.layout.nb_channels).T
            if frame.format.name.startswith("s16"):
                data /= np.float32(32768)
            pieces.append(data)
    return np.concatenate(pieces, axis=1)


def frequency_of(samples: Samples, rate: int = 48_000) -> float:
    """The loudest frequency of one channel, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return float(np.argmax(spectrum) * rate / samples.size)


def level_of(samples: Samples) -> float:
    """The amplitude of a sine with this channel's power."""
    return float(np.sqrt(2 * np.mean(samples**2)))


def picture(number: int, width: int, height: int) -> VideoFrame:
    """A grey ramp that moves; its mean tells nothing, its top left block the number (0 to 15)."""
    ramp = (np.arange(width)[None, :] + np.arange(height)[:, None] + 4 * number) % 256
    luma = ramp.astype(np.uint8)
    luma[:32, :32] = 16 + 14 * (number % 16)
    planes = np.concatenate([luma.reshape(-1), np.full(width * height // 2, 128, np.uint8)])
    return VideoFrame.from_ndarray(planes.reshape(height * 3 // 2, width), format="yuv420p")


def number_of(frame: VideoFrame) -> int:
    """The number (0 to 15) that `picture` wrote."""
    luma = frame.to_ndarray(format="yuv420p")
    return round((float(luma[8:24, 8:24].mean()) - 16) / 14)


_ENCODERS = {Codec.H264: "libx264", Codec.HEVC: "libx265", Codec.AV1: "libsvtav1"}


def _options(codec: Codec, b_frames: int) -> dict[str, str]:
    order = f"bframes={b_frames}:b-adapt=0"
    match codec:
        case Codec.H264:
            return {"preset": "ultrafast", "x264-params": f"{order}:scenecut=0"}
        case Codec.HEVC:
            params = f"log-level=none:{order}:pools=1:frame-threads=1"
            return {"preset": "ultrafast", "x265-params": params}
        case _:
            return {"preset": "12", "svtav1-params": "pred-struct=1:lookahead=0:lp=1"}


def pictures(
    *,
    seconds: float,
    b_frames: int = 0,
    codec: Codec = Codec.H264,
    width: int = 320,
    height: int = 180,
    fps: int = 30,
    keyframe_every: int = 60,
    start: int = 0,
) -> tuple[Track, list[AccessUnit]]:
    """A numbered moving picture as the source's video, in decoding order, first pts at `start`."""
    encoder = CodecContext.create(_ENCODERS[codec], "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps)
    encoder.gop_size, encoder.max_b_frames = keyframe_every, b_frames
    encoder.thread_count = 1
    encoder.flags |= Flags.global_header | Flags.closed_gop
    encoder.options = _options(codec, b_frames)
    encoder.open()
    known = _picture_track(codec, encoder.extradata or b"")
    assembler = VideoAssembler(VIDEO, codec, known.config if known else None)
    units: list[AccessUnit] = []
    shift = 0
    for packet in _encoded(encoder, round(seconds * fps), width, height):
        assert packet.pts is not None
        assert packet.dts is not None
        if not units:
            shift = -packet.dts
        data = bytes(packet)
        assembled = assembler.assemble([data] if codec is Codec.AV1 else split_annexb(data))
        assert assembled is not None
        pts, dts = ((t + shift) * CLOCK_RATE // fps + start for t in (packet.pts, packet.dts))
        units.append(AccessUnit(VIDEO, pts, dts, assembled.keyframe, assembled.payload))
    track = assembler.track
    assert track is not None
    return track, units


def decoded(track: Track, units: Sequence[AccessUnit]) -> list[VideoFrame]:
    """The pictures of these units, in the order of their pts."""
    name = "libdav1d" if track.codec is Codec.AV1 else track.codec.value
    decoder = CodecContext.create(name, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.extradata = track.config
    frames: list[VideoFrame] = []
    for unit in units:
        packet = Packet(unit.payload)
        packet.pts, packet.dts, packet.time_base = unit.pts, unit.dts, Fraction(1, CLOCK_RATE)
        frames += decoder.decode(packet)
    return [*frames, *decoder.decode(None)]


def _encoded(
    encoder: VideoCodecContext, count: int, width: int, height: int
) -> "Iterator[Packet[VideoStream]]":
    for number in range(count):
        frame = picture(number, width, height)
        frame.pts, frame.time_base = number, encoder.time_base
        yield from encoder.encode(frame)
    yield from encoder.encode(None)


def _picture_track(codec: Codec, extradata: bytes) -> Track | None:
    """What the encoder says beforehand; AV1's parameters come with its pictures."""
    if codec is Codec.AV1:
        return None
    nals = split_annexb(extradata)
    if codec is Codec.H264:
        by_type = [(h264.nal_type(nal), nal) for nal in nals]
        sps = tuple(nal for kind, nal in by_type if kind == h264.NAL_SPS)
        pps = tuple(nal for kind, nal in by_type if kind == h264.NAL_PPS)
        return h264.track(VIDEO, h264.AvcConfig(sps=sps, pps=pps))
    sets = {kind: tuple(nal for nal in nals if nal[0] >> 1 & 0x3F == kind) for kind in (32, 33, 34)}
    return hevc.track(VIDEO, hevc.HvcConfig(vps=sets[32], sps=sets[33], pps=sets[34]))
