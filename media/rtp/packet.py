"""RTP packets (RFC 3550 section 5.1) and their header extensions (RFC 8285).

For what arrives, for retransmissions and for tests. The forwarding path writes its headers in place
and never builds a packet object.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from configs.kernel.errors import PeerError

ONE_BYTE: Final = 0xBEDE
TWO_BYTE: Final = 0x1000

_FIXED = struct.Struct("!BBHII")


class RtpError(PeerError):
    """Not an RTP packet."""

    code = "rtp_error"


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """`timestamp` 32 bits, `sequence` 16 bits; `extensions` by their negotiated id."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrcs: tuple[int, ...] = ()
    extensions: Mapping[int, bytes] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> "RtpPacket":
        """Raises `RtpError`. Padding is taken off, extensions of unknown profiles are skipped."""
        if len(data) < _FIXED.size:
            raise RtpError("RTP packet is too short")
        first, second, sequence, timestamp, ssrc = _FIXED.unpack_from(data)
        if first >> 6 != 2:
            raise RtpError("not RTP version 2")
        at = _FIXED.size + 4 * (first & 0x0F)
        if len(data) < at:
            raise RtpError("contributing sources are cut off")
        csrcs = struct.unpack_from(f"!{first & 0x0F}I", data, _FIXED.size)
        extensions: Mapping[int, bytes] = {}
        if first & 0x10:
            if len(data) < at + 4:
                raise RtpError("header extension is cut off")
            profile, words = struct.unpack_from("!HH", data, at)
            at += 4
            if len(data) < at + 4 * words:
                raise RtpError("header extension is cut off")
            extensions = parse_extensions(profile, data[at : at + 4 * words])
            at += 4 * words
        end = len(data)
        if first & 0x20:
            padding = data[-1]
            if not 0 < padding <= end - at:
                raise RtpError("padding is longer than the packet")
            end -= padding
        return cls(
            second & 0x7F,
            sequence,
            timestamp,
            ssrc,
            data[at:end],
            bool(second & 0x80),
            csrcs,
            extensions,
        )

    def serialize(self) -> bytes:
        first = 0x80 | len(self.csrcs)
        tail = b""
        if self.extensions:
            first |= 0x10
            tail = serialize_extensions(self.extensions)
        fixed = _FIXED.pack(
            first,
            self.marker << 7 | self.payload_type,
            self.sequence,
            self.timestamp,
            self.ssrc,
        )
        return fixed + struct.pack(f"!{len(self.csrcs)}I", *self.csrcs) + tail + self.payload


def is_rtcp(datagram: bytes) -> bool:
    """Tells RTCP from RTP on one port by the packet type (RFC 5761 section 4)."""
    return len(datagram) >= 2 and 192 <= datagram[1] <= 223


def parse_extensions(profile: int, data: bytes) -> Mapping[int, bytes]:
    """Elements of a one-byte or two-byte header extension (RFC 8285 sections 4.2, 4.3).

    An element that runs past the end ends the list, as the RFC asks for; the packet stays good.
    """
    elements: dict[int, bytes] = {}
    wide = profile & 0xFFF0 == TWO_BYTE
    if not wide and profile != ONE_BYTE:
        return elements
    at = 0
    while at < len(data):
        if data[at] == 0:
            at += 1
            continue
        if wide:
            if at + 2 > len(data):
                break
            number, length = data[at], data[at + 1]
            at += 2
        else:
            number, length = data[at] >> 4, (data[at] & 0x0F) + 1
            if number == 15:
                break
            at += 1
        if at + length > len(data):
            break
        if number:
            elements[number] = data[at : at + length]
        at += length
    return elements


def serialize_extensions(elements: Mapping[int, bytes]) -> bytes:
    """The extension with its four-byte head; one-byte form where every element fits it."""
    narrow = all(0 < n < 15 and 0 < len(value) <= 16 for n, value in elements.items())
    body = bytearray()
    for number, value in elements.items():
        if narrow:
            body.append(number << 4 | len(value) - 1)
        else:
            body += bytes((number, len(value)))
        body += value
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", ONE_BYTE if narrow else TWO_BYTE, len(body) // 4) + bytes(body)


def nearest(index: int, sequence: int) -> int:
    """The number nearest to `index` whose low 16 bits are `sequence`; may be negative near zero."""
    return index + ((sequence - index + 0x8000) & 0xFFFF) - 0x8000
