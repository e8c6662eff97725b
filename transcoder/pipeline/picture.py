"""Pictures that browsers cannot play in real time, re-encoded to H.264 that they can."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Final

from av.codec.context import CodecContext, Flags
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from media.codecs import h264
from media.codecs.nal import join_length_prefixed, split_annexb
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId
from transcoder.pipeline.source import TICK, SourceDecoder

KEYFRAME_TICKS: Final = 2 * CLOCK_RATE
"""The longest time between two keyframes of a re-encoded picture."""
THIN_OUT_TICKS: Final = CLOCK_RATE // 4
CATCH_UP_TICKS: Final = CLOCK_RATE * 7 // 10
CAUGHT_UP_TICKS: Final = CLOCK_RATE * 3 // 20
MAX_WIDTH, MAX_HEIGHT = 1920, 1080

_SLICES: Final = frozenset({h264.NAL_SLICE, h264.NAL_IDR})


class PicturePipeline:
    """A picture that browsers cannot play in real time to H.264 constrained baseline that they can.

    No B-frames, a keyframe wherever the source has one and every two seconds at least, at most
    1080p. When it falls behind it first leaves out every other picture, then all of them until it
    has caught up, which is also how it starts from a cached group of pictures.
    """

    def __init__(self, target: TrackId, *, after: int = -1) -> None:
        self.skipped = 0
        self._target = target
        self._decoder = SourceDecoder()
        self._encoder: VideoCodecContext | None = None
        self._rate = BitRateMeter()
        self._rate_cap = 0
        self._announced: Track | None = None
        self._await_keyframe = True
        self._want_keyframe = True
        self._catching_up = False
        self._left_out = False
        self._last_keyframe = 0
        self._newest = after

    @property
    def errors(self) -> int:
        return self._decoder.errors

    def configure(self, track: Track) -> None:
        if self._decoder.configure(track):
            self._await_keyframe = True

    def gap(self) -> None:
        self._decoder.restart()
        self._await_keyframe = True
        self._want_keyframe = True

    def transcode(self, unit: AccessUnit, *, behind: int) -> list[Track | AccessUnit]:
        if self._await_keyframe and not unit.keyframe:
            return []
        self._await_keyframe = False
        self._rate.add(len(unit.payload), unit.dts)
        made: list[Track | AccessUnit] = []
        if self._catching_up:
            self._catching_up = behind > CAUGHT_UP_TICKS
        else:
            self._catching_up = behind > CATCH_UP_TICKS
        for frame in self._decoder.decode(unit, hurry=self._catching_up):
            if not isinstance(frame, VideoFrame) or frame.pts is None:
                continue
            self._want_keyframe |= frame.key_frame
            if self._leave_out(behind):
                self.skipped += 1
            elif frame.pts > self._newest:
                self._newest = frame.pts
                made += self._encode(frame, frame.pts)
        return made

    def _leave_out(self, behind: int) -> bool:
        if self._catching_up:
            return True
        self._left_out = behind > THIN_OUT_TICKS and not self._left_out
        return self._left_out

    def _encode(self, frame: VideoFrame, pts: int) -> Iterator[Track | AccessUnit]:
        width, height = fitted(frame.width, frame.height)
        if (width, height, "yuv420p") != (frame.width, frame.height, frame.format.name):
            frame = frame.reformat(width=width, height=height, format="yuv420p")
        frame.pts, frame.time_base = pts, TICK
        encoder = self._encoder_for(width, height)
        keyframe = self._want_keyframe or pts - self._last_keyframe >= KEYFRAME_TICKS
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        if keyframe:
            self._want_keyframe = False
            self._last_keyframe = pts
        for packet in self._encoded(encoder, frame):
            if self._announced is None:
                self._announced = self._track(encoder.extradata or b"")
                yield self._announced
            nals = [nal for nal in split_annexb(bytes(packet)) if h264.nal_type(nal) in _SLICES]
            # Without B-frames a picture is decoded when it is shown.
            at = packet.pts if packet.pts is not None else pts
            yield AccessUnit(self._target, at, at, packet.is_keyframe, join_length_prefixed(nals))

    def _encoded(
        self, encoder: VideoCodecContext, frame: VideoFrame
    ) -> "list[Packet[VideoStream]]":
        try:
            return encoder.encode(frame)
        except FFmpegError:
            self._encoder = None
            raise

    def _encoder_for(self, width: int, height: int) -> VideoCodecContext:
        """The encoder for this size; a new one too, at a keyframe, when the source's rate moved."""
        source = self._decoder.track
        assert source is not None
        # Unknown, or without sense.
        fps = source.frame_rate if 1 <= source.frame_rate <= 120 else 30.0
        cap = rate_cap(width, height, fps, source.codec, self._rate.bits_per_second)
        encoder = self._encoder
        if encoder is not None and (encoder.width, encoder.height) == (width, height):
            moved = not 0.75 <= cap / self._rate_cap <= 1.33
            if not (moved and self._want_keyframe):
                return encoder
        self._rate_cap = cap
        self._want_keyframe = True
        self._announced = None
        self._encoder = _picture_encoder(width, height, fps, cap)
        return self._encoder

    def _track(self, extradata: bytes) -> Track:
        nals = split_annexb(extradata)
        config = h264.AvcConfig(
            sps=tuple(nal for nal in nals if h264.nal_type(nal) == h264.NAL_SPS),
            pps=tuple(nal for nal in nals if h264.nal_type(nal) == h264.NAL_PPS),
        )
        source = self._decoder.track
        assert source is not None
        # x264 writes its clock of 90 kHz where a frame rate would be.
        return replace(h264.track(self._target, config), frame_rate=source.frame_rate)


class BitRateMeter:
    """Bits a second of a track over its newest four seconds; 0 until one second is known."""

    def __init__(self) -> None:
        self._units: deque[tuple[int, int]] = deque()
        self._bytes = 0

    def add(self, size: int, dts: int) -> None:
        if self._units and not 0 <= dts - self._units[-1][0] < CLOCK_RATE:
            self._units.clear()
            self._bytes = 0
        self._units.append((dts, size))
        self._bytes += size
        while self._units[-1][0] - self._units[0][0] > 4 * CLOCK_RATE:
            self._bytes -= self._units.popleft()[1]

    @property
    def bits_per_second(self) -> float:
        span = self._units[-1][0] - self._units[0][0] if self._units else 0
        return self._bytes * 8 * CLOCK_RATE / span if span >= CLOCK_RATE else 0.0


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size within 1920x1080, or 1080x1920 for a tall picture, even in both directions."""
    bounds = (MAX_WIDTH, MAX_HEIGHT) if width >= height else (MAX_HEIGHT, MAX_WIDTH)
    scale = min(1.0, bounds[0] / width, bounds[1] / height)
    return max(2, round(width * scale) & ~1), max(2, round(height * scale) & ~1)


def rate_cap(width: int, height: int, fps: float, codec: Codec, measured: float) -> int:
    """The most bits a second to spend: what this size can use, and not much more than the source
    spends itself (more where the source's codec does better than H.264)."""
    useful = min(0.11 * width * height * min(fps, 30.0) * (1.4 if fps > 31 else 1.0), 8e6)
    factor = 1.2 if codec is Codec.H264 else 1.7
    if measured:
        useful = min(useful, factor * measured)
    return round(max(useful, 300e3))


def _picture_encoder(width: int, height: int, fps: float, cap: int) -> VideoCodecContext:
    encoder = CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = TICK
    encoder.framerate = Fraction(fps).limit_denominator(1001)
    encoder.thread_count = 2
    encoder.flags |= Flags.global_header | Flags.closed_gop
    encoder.max_b_frames = 0
    heavy = width * height * fps > 1920 * 1080 * 31
    encoder.options = {
        "preset": "superfast" if heavy else "veryfast",
        "tune": "zerolatency",
        "profile": "baseline",
        "crf": "23",
        "maxrate": str(cap),
        "bufsize": str(cap),
        "forced-idr": "1",
        # Keyframes are forced by time, since the frame rate may be unknown or wrong.
        "g": "10000",
        "sc_threshold": "0",
    }
    encoder.open()
    return encoder
