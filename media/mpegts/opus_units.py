"""Opus in transport streams (the mapping of opus-codec.org, ETSI TS 103 491 Annex): descriptors,
and the control header in front of each packet."""

from typing import Final

from media.codecs.opus import OpusConfig
from media.errors import InvalidBitstream
from media.mpegts.tables import (
    DESCRIPTOR_EXTENSION,
    DESCRIPTOR_REGISTRATION,
    TYPE_PRIVATE,
    Descriptor,
    Entry,
)

REGISTRATION: Final = b"Opus"
_CHANNEL_CONFIG: Final = 0x80
_MAX_PACKETS: Final = 256

_VORBIS: Final = {
    1: (1, 0, b"\x00"),
    2: (1, 1, b"\x00\x01"),
    3: (2, 1, b"\x00\x02\x01"),
    4: (2, 2, b"\x00\x01\x02\x03"),
    5: (3, 2, b"\x00\x04\x01\x02\x03"),
    6: (4, 2, b"\x00\x04\x01\x02\x03\x05"),
    7: (4, 3, b"\x00\x04\x01\x02\x03\x05\x06"),
    8: (5, 3, b"\x00\x06\x01\x02\x03\x04\x05\x07"),
}
"""Streams, coupled streams and mapping for channel_config_code 1 to 8."""


def config_of(entry: Entry) -> OpusConfig | None:
    """The Opus header that a programme map entry amounts to; None if it is not Opus, or an
    arrangement of channels we do not know."""
    if entry.stream_type != TYPE_PRIVATE or entry.registration != REGISTRATION:
        return None
    for descriptor in entry.descriptors:
        data = descriptor.data
        if descriptor.tag == DESCRIPTOR_EXTENSION and data[:1] == bytes((_CHANNEL_CONFIG,)):
            return _config(data[1]) if len(data) > 1 else None
    return _config(2)


def _config(code: int) -> OpusConfig | None:
    if code == 0:
        return OpusConfig(2, 0, mapping_family=255, streams=2, coupled=0, mapping=b"\x00\x01")
    if code in (1, 2):
        return OpusConfig(code, 0)
    if code in _VORBIS:
        streams, coupled, mapping = _VORBIS[code]
        return OpusConfig(
            code, 0, mapping_family=1, streams=streams, coupled=coupled, mapping=mapping
        )
    channels = code - 0x80
    if 2 <= channels <= 8:
        mapping = bytes(range(channels))
        return OpusConfig(
            channels, 0, mapping_family=255, streams=channels, coupled=0, mapping=mapping
        )
    return None


def descriptors(config: OpusConfig) -> tuple[Descriptor, ...]:
    """What a programme map entry says of Opus; raises InvalidBitstream for an arrangement of
    channels that has no code."""
    for code in (*range(9), *range(0x82, 0x89)):
        known = _config(code)
        if known is not None and _layout(known) == _layout(config):
            extension = Descriptor(DESCRIPTOR_EXTENSION, bytes((_CHANNEL_CONFIG, code)))
            return (Descriptor(DESCRIPTOR_REGISTRATION, REGISTRATION), extension)
    raise InvalidBitstream(f"no code for Opus with {config.channels} channels so arranged")


def _layout(config: OpusConfig) -> tuple[int, int, int, bytes]:
    if config.mapping_family == 0:
        return config.channels, *_VORBIS[config.channels]
    return config.channels, config.streams, config.coupled, config.mapping


def split_opus(payload: bytes) -> list[bytes]:
    """The packets of a PES payload, each behind its control header; raises InvalidBitstream."""
    packets: list[bytes] = []
    position, end = 0, len(payload)
    while position < end:
        if end - position < 3 or payload[position] != 0x7F or payload[position + 1] & 0xE0 != 0xE0:
            raise InvalidBitstream("no Opus control header")
        flags = payload[position + 1]
        position += 2
        size = 0
        while position < end:
            size += payload[position]
            position += 1
            if payload[position - 1] != 0xFF:
                break
        position += 2 * bool(flags & 0x10) + 2 * bool(flags & 0x08)
        if flags & 0x04:
            position += 1 + (payload[position] if position < end else 0)
        if not size or position + size > end:
            raise InvalidBitstream("Opus packet longer than its PES packet")
        packets.append(payload[position : position + size])
        position += size
        if len(packets) > _MAX_PACKETS:
            raise InvalidBitstream("too many Opus packets")
    return packets


def control_header(size: int) -> bytes:
    """The header of a packet of `size` bytes, without trimming."""
    return b"\x7f\xe0" + b"\xff" * (size // 255) + bytes((size % 255,))
