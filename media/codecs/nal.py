"""NAL units between their framings: Annex B start codes, and lengths in front of them."""

from collections.abc import Iterable
from typing import Final

from media.errors import InvalidBitstream

START_CODE: Final = b"\x00\x00\x00\x01"
MAX_NALS: Final = 4096
"""More NAL units in one picture than any encoder makes; beyond it is an attack on our memory."""


def split_annexb(data: bytes) -> list[bytes]:
    """The NAL units between start codes; what stands before the first one is no NAL unit.

    A NAL unit never ends in a zero byte (Annex B.1), so zeros in front of a start code are padding.
    """
    pieces = data.split(b"\x00\x00\x01", MAX_NALS + 1)
    if len(pieces) > MAX_NALS + 1:
        raise InvalidBitstream("too many NAL units")
    return [nal for nal in (piece.rstrip(b"\x00") for piece in pieces[1:]) if nal]


def split_length_prefixed(data: bytes, length_size: int = 4) -> list[bytes]:
    """The NAL units of an ISO/IEC 14496-15 sample; raises InvalidBitstream if a length lies."""
    nals: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        start = position + length_size
        size = int.from_bytes(data[position:start], "big")
        position = start + size
        if position > end:
            raise InvalidBitstream("NAL unit longer than its sample")
        if size:
            nals.append(data[start:position])
            if len(nals) > MAX_NALS:
                raise InvalidBitstream("too many NAL units")
    return nals


def join_length_prefixed(nals: Iterable[bytes]) -> bytes:
    """A payload as `media.units` wants it: each NAL unit behind its length in 4 bytes."""
    return b"".join([part for nal in nals for part in (len(nal).to_bytes(4, "big"), nal)])


def join_annexb(nals: Iterable[bytes]) -> bytes:
    return b"".join([part for nal in nals for part in (START_CODE, nal)])


def rbsp(nal: bytes) -> bytes:
    """The NAL unit without its emulation prevention bytes (H.264 7.4.1, HEVC 7.4.2)."""
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")
