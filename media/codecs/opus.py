"""Opus (RFC 6716): how long a packet lasts, and its header as in `dOps` and in Ogg (RFC 7845)."""

import struct
from dataclasses import dataclass
from typing import Final

from media.errors import InvalidBitstream
from media.units import Codec, Track, TrackId

SAMPLE_RATE: Final = 48_000
"""Opus counts in 48 kHz, whatever the sound was sampled at."""

_MAGIC: Final = b"OpusHead"
_MAX_SAMPLES: Final = 5760
"""120 ms, the longest packet there can be (RFC 6716, 3.2.5)."""

_SILK: Final = (480, 960, 1920, 2880)
_HYBRID: Final = (480, 960)
_CELT: Final = (120, 240, 480, 960)


@dataclass(frozen=True, slots=True)
class OpusConfig:
    """The identification header (RFC 7845, 5.1). `pre_skip` is in samples of 48 kHz,
    `sample_rate` what the sound had before encoding, `gain` in 1/256 dB. `streams`, `coupled`
    and `mapping` (one byte a channel) are those of mapping families other than 0."""

    channels: int
    pre_skip: int = 312
    sample_rate: int = SAMPLE_RATE
    gain: int = 0
    mapping_family: int = 0
    streams: int = 1
    coupled: int = 0
    mapping: bytes = b""

    def __post_init__(self) -> None:
        if self.mapping_family == 0:
            if not 1 <= self.channels <= 2:
                raise InvalidBitstream(f"Opus with {self.channels} channels in family 0")
            return
        if not 1 <= self.channels <= (8 if self.mapping_family == 1 else 255):
            raise InvalidBitstream(f"Opus with {self.channels} channels")
        decoded = self.streams + self.coupled
        if not 1 <= self.streams <= 255 or self.coupled > self.streams or decoded > 255:
            raise InvalidBitstream("Opus with an impossible number of streams")
        if len(self.mapping) != self.channels:
            raise InvalidBitstream("Opus channel mapping of the wrong length")
        if any(index >= decoded and index != 255 for index in self.mapping):
            raise InvalidBitstream("Opus channel mapped to no stream")

    @classmethod
    def parse(cls, dops: bytes) -> "OpusConfig":
        """Reads a `Track.config`: the `dOps` box's content, big-endian, version 0."""
        return cls._read(dops, ">", versions=(0, 1))

    @classmethod
    def from_head(cls, head: bytes) -> "OpusConfig":
        """Reads an OpusHead, magic and little-endian numbers."""
        if not head.startswith(_MAGIC):
            raise InvalidBitstream("not an OpusHead")
        return cls._read(head[len(_MAGIC) :], "<", versions=range(16))

    @classmethod
    def _read(cls, data: bytes, order: str, versions: "tuple[int, ...] | range") -> "OpusConfig":
        if len(data) < 11:
            raise InvalidBitstream("Opus header too short")
        version, channels, pre_skip, rate, gain, family = struct.unpack_from(order + "BBHIhB", data)
        if version not in versions:
            raise InvalidBitstream(f"Opus header of version {version}")
        if family == 0:
            return cls(channels, pre_skip, rate, gain)
        if len(data) < 13 + channels:
            raise InvalidBitstream("Opus header too short")
        mapping = data[13 : 13 + channels]
        return cls(channels, pre_skip, rate, gain, family, data[11], data[12], mapping)

    def serialize(self) -> bytes:
        return self._write(">", version=0)

    def to_head(self) -> bytes:
        return _MAGIC + self._write("<", version=1)

    def _write(self, order: str, version: int) -> bytes:
        head = struct.pack(
            order + "BBHIhB",
            version,
            self.channels,
            self.pre_skip,
            self.sample_rate,
            self.gain,
            self.mapping_family,
        )
        if self.mapping_family == 0:
            return head
        return head + bytes((self.streams, self.coupled)) + self.mapping


def packet_samples(packet: bytes) -> int:
    """How long a packet lasts, in samples of 48 kHz (RFC 6716, 3.1); raises InvalidBitstream."""
    if not packet:
        raise InvalidBitstream("empty Opus packet")
    toc = packet[0]
    config = toc >> 3
    if config < 12:
        size = _SILK[config & 3]
    elif config < 16:
        size = _HYBRID[config & 1]
    else:
        size = _CELT[config & 3]
    code = toc & 3
    if code == 3:
        if len(packet) < 2:
            raise InvalidBitstream("Opus packet without its frame count")
        frames = packet[1] & 0x3F
    else:
        frames = 2 if code else 1
    if not frames or frames * size > _MAX_SAMPLES:
        raise InvalidBitstream(f"Opus packet of {frames} frames")
    return frames * size


def track(track_id: TrackId, dops: bytes) -> Track:
    """The track of a `dOps` content; `sample_rate` is 48 kHz always. Raises InvalidBitstream."""
    config = OpusConfig.parse(dops)
    return Track(
        id=track_id,
        codec=Codec.OPUS,
        config=config.serialize(),
        sample_rate=SAMPLE_RATE,
        channels=config.channels,
    )
