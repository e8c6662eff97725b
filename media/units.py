"""The one currency between ingest, hub, fan-out, packaging and transcoder.

Whatever protocol brought it in, a coded frame is an `AccessUnit` of a `Track`, and its times are
ticks of 90 kHz. The payload has one shape for each codec, so that no output needs to know the
input:

H264, HEVC
    NAL units, each behind its length in 4 bytes, big-endian; no delimiters, no filler, no parameter
    sets. `Track.config` is the avcC or hvcC record (ISO/IEC 14496-15).
AV1
    OBUs with size fields, no temporal delimiter; the av1C record.
AAC
    One raw frame, no ADTS header; the AudioSpecificConfig (ISO/IEC 14496-3).
OPUS
    One packet; OpusHead without its magic, big-endian, as in the `dOps` box (RFC 7845).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType

CLOCK_RATE: Final = 90_000
"""Ticks of the stream clock in a second."""

TrackId = NewType("TrackId", str)


class Kind(StrEnum):
    VIDEO = "video"
    AUDIO = "audio"


class Codec(StrEnum):
    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    AAC = "aac"
    OPUS = "opus"

    @property
    def kind(self) -> Kind:
        return Kind.AUDIO if self in (Codec.AAC, Codec.OPUS) else Kind.VIDEO


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream and what a decoder must know before its first unit.

    A change of any field (new parameter sets, another picture size) is a new `Track` with the same
    id, announced before the first unit that needs it. `width`, `height` in pixels of the cropped
    picture, `frame_rate` in frames a second (0: unknown), `sample_rate` in Hz.
    """

    id: TrackId
    codec: Codec
    config: bytes
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0
    sample_rate: int = 0
    channels: int = 0

    @property
    def kind(self) -> Kind:
        return self.codec.kind


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded picture, or one coded frame of sound.

    `pts` and `dts` are ticks of 90 kHz: of the publisher's own clock before the hub, of the
    stream's clock after it. Every unit of an audio track is a keyframe.
    """

    track: TrackId
    pts: int
    dts: int
    keyframe: bool
    payload: bytes
