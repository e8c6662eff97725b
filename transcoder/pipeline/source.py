"""Decoding one source track: units in, frames out, and damage survived."""

from dataclasses import replace
from fractions import Fraction
from typing import Final

from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext, ThreadType
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from media.codecs import opus
from media.errors import MediaError
from media.units import CLOCK_RATE, AccessUnit, Codec, Track

TICK: Final = Fraction(1, CLOCK_RATE)
MAX_ERRORS_IN_A_ROW: Final = 50
"""So many damaged units, and the decoder is made anew, in case it is the one that is damaged."""
MAX_PIXELS: Final = 4096 * 2304
"""Larger pictures are damage: one that claims 16384x16384 would take gigabytes."""

_DECODERS: Final = {
    Codec.AAC: "aac",
    Codec.OPUS: "libopus",
    Codec.H264: "h264",
    Codec.HEVC: "hevc",
    Codec.AV1: "libdav1d",
}


class SourceDecoder:
    """One source track's decoder, made when it is first needed and again when its track changes."""

    def __init__(self) -> None:
        self.errors = 0
        self._track: Track | None = None
        self._context: AudioCodecContext | VideoCodecContext | None = None
        self._errors_in_a_row = 0

    @property
    def track(self) -> Track | None:
        return self._track

    def configure(self, track: Track) -> bool:
        """True when the parameters are new, so that the decoder starts over."""
        if track == self._track:
            return False
        self._track = track
        self._context = None
        return True

    def restart(self) -> None:
        self._context = None

    def decode(self, unit: AccessUnit, *, hurry: bool = False) -> list[AudioFrame | VideoFrame]:
        """The frames that this unit completes. With `hurry` pictures that no other picture needs
        are left out."""
        packet = Packet(unit.payload)
        packet.pts, packet.dts, packet.time_base = unit.pts, unit.dts, TICK
        packet.is_keyframe = unit.keyframe
        try:
            if self._context is None:
                self._context = self._open()
            if isinstance(self._context, VideoCodecContext):
                self._context.skip_frame = "NONREF" if hurry else "DEFAULT"
            frames: list[AudioFrame | VideoFrame] = [*self._context.decode(packet)]
        except (FFmpegError, MediaError):
            self.errors += 1
            self._errors_in_a_row += 1
            if self._errors_in_a_row >= MAX_ERRORS_IN_A_ROW:
                self._errors_in_a_row = 0
                self._context = None
            return []
        self._errors_in_a_row = 0
        return frames

    def _open(self) -> AudioCodecContext | VideoCodecContext:
        track = self._track
        assert track is not None, "configure comes first"
        context = CodecContext.create(_DECODERS[track.codec], "r")
        assert isinstance(context, AudioCodecContext | VideoCodecContext)
        context.extradata = track.config
        if track.codec is Codec.OPUS:
            # Nothing is cut off: the times of the first packet speak of all its samples.
            config = replace(opus.OpusConfig.parse(track.config), pre_skip=0)
            context.extradata = config.to_head()
        if isinstance(context, VideoCodecContext):
            # Frame threads would hold a picture back for each thread.
            context.thread_type = ThreadType.SLICE
            context.thread_count = 2
            context.options = {"max_pixels": str(MAX_PIXELS)}
        if track.codec is Codec.AV1:
            context.options |= {"max_frame_delay": "1"}
        return context
