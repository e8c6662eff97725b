"""SRT packets on the wire: data and control (draft-sharabayko-srt section 3 and appendix A)."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from configs.kernel.errors import PeerError

HEADER: Final = struct.Struct(">IIII")
HEADER_SIZE: Final = 16
MAX_DATAGRAM: Final = 1500
MAX_PAYLOAD: Final = 1456
"""Bytes of payload in one packet: an MTU of 1500 less the IPv4, UDP and SRT headers."""

CONTROL_FLAG: Final = 0x8000_0000
SEQUENCE_MASK: Final = 0x7FFF_FFFF
TIMESTAMP_MASK: Final = 0xFFFF_FFFF
MAX_LOSS_WORDS: Final = MAX_PAYLOAD // 4

_HALF_SEQUENCES: Final = 1 << 30
_HALF_TIMESTAMPS: Final = 1 << 31
_RETRANSMITTED: Final = 1 << 26
_WHOLE_MESSAGE: Final = 0b11 << 30
_MESSAGE_MASK: Final = (1 << 26) - 1


class ControlType(IntEnum):
    HANDSHAKE = 0
    KEEPALIVE = 1
    ACK = 2
    NAK = 3
    CONGESTION = 4
    SHUTDOWN = 5
    ACKACK = 6
    DROPREQ = 7
    PEERERROR = 8
    USER = 0x7FFF


_CONTROL_TYPES: Final = {int(kind): kind for kind in ControlType}


@dataclass(frozen=True, slots=True)
class DataPacket:
    """Section 3.1. `sequence` is 31 bits, `timestamp` microseconds of the sender's connection in
    32 bits, `key` the KK field (0 plain, 1 even key, 2 odd key)."""

    sequence: int
    timestamp: int
    destination: int
    payload: bytes
    key: int = 0
    message: int = 1
    retransmitted: bool = False

    def serialize(self) -> bytes:
        flags = _WHOLE_MESSAGE | self.key << 27 | (self.message & _MESSAGE_MASK)
        if self.retransmitted:
            flags |= _RETRANSMITTED
        return HEADER.pack(self.sequence, flags, self.timestamp, self.destination) + self.payload


@dataclass(frozen=True, slots=True)
class ControlPacket:
    """Section 3.2. `info` is the type-specific word, `body` the control information field."""

    kind: ControlType
    timestamp: int
    destination: int
    info: int = 0
    body: bytes = b""
    subtype: int = 0

    def serialize(self) -> bytes:
        first = CONTROL_FLAG | self.kind << 16 | self.subtype
        return HEADER.pack(first, self.info, self.timestamp, self.destination) + self.body


def parse(datagram: bytes) -> DataPacket | ControlPacket:
    """Raises PeerError for what is no SRT packet."""
    if not HEADER_SIZE <= len(datagram) <= MAX_DATAGRAM:
        raise PeerError(f"datagram of {len(datagram)} bytes")
    first, second, timestamp, destination = HEADER.unpack_from(datagram)
    if not first & CONTROL_FLAG:
        return DataPacket(
            first,
            timestamp,
            destination,
            datagram[HEADER_SIZE:],
            second >> 27 & 3,
            second & _MESSAGE_MASK,
            bool(second & _RETRANSMITTED),
        )
    kind = _CONTROL_TYPES.get(first >> 16 & 0x7FFF)
    if kind is None:
        raise PeerError("unknown control packet")
    body = datagram[HEADER_SIZE:]
    return ControlPacket(kind, timestamp, destination, second, body, first & 0xFFFF)


def unwrap_sequence(sequence: int, near: int) -> int:
    """The whole number that ends in these 31 bits and lies nearest to `near`."""
    return near + ((sequence - near + _HALF_SEQUENCES) & SEQUENCE_MASK) - _HALF_SEQUENCES


def unwrap_timestamp(timestamp: int, near: int) -> int:
    """The whole number of microseconds that ends in these 32 bits and lies nearest to `near`."""
    return near + ((timestamp - near + _HALF_TIMESTAMPS) & TIMESTAMP_MASK) - _HALF_TIMESTAMPS


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Body of an ACK (section 3.2.4); a light one has the sequence number only (`full` false).

    `sequence` is the first one not yet received; times are microseconds, the buffer packets, the
    rates packets, packets and bytes a second.
    """

    sequence: int
    full: bool = True
    rtt: int = 0
    rtt_variance: int = 0
    buffer_available: int = 0
    packet_rate: int = 0
    capacity: int = 0
    byte_rate: int = 0

    def serialize(self) -> bytes:
        if not self.full:
            return self.sequence.to_bytes(4, "big")
        return struct.pack(
            ">7I",
            self.sequence,
            self.rtt,
            self.rtt_variance,
            self.buffer_available,
            self.packet_rate,
            self.capacity,
            self.byte_rate,
        )

    @classmethod
    def parse(cls, body: bytes) -> "Acknowledgement":
        """Takes light, small (four fields) and full ones; raises PeerError when too short."""
        if len(body) < 4:
            raise PeerError("short ACK")
        words = struct.unpack_from(f">{min(len(body) // 4, 7)}I", body)
        sequence = words[0] & SEQUENCE_MASK
        if len(words) < 4:
            return cls(sequence, full=False)
        return cls(sequence, True, *words[1:])


def pack_losses(ranges: Iterable[tuple[int, int]]) -> bytes:
    """Ranges of lost sequence numbers, both ends included, in the coding of appendix A."""
    words: list[int] = []
    for first, last in ranges:
        if len(words) + 2 > MAX_LOSS_WORDS:
            break
        if first == last:
            words.append(first & SEQUENCE_MASK)
        else:
            words += (CONTROL_FLAG | (first & SEQUENCE_MASK), last & SEQUENCE_MASK)
    return struct.pack(f">{len(words)}I", *words)


def parse_losses(body: bytes) -> Sequence[tuple[int, int]]:
    """Raises PeerError for a range without an end, or one that runs backwards."""
    words = struct.unpack_from(f">{len(body) // 4}I", body)
    ranges: list[tuple[int, int]] = []
    pending: int | None = None
    for word in words:
        if pending is not None:
            if word & CONTROL_FLAG or (word - pending) & SEQUENCE_MASK >= _HALF_SEQUENCES:
                raise PeerError("loss list with a broken range")
            ranges.append((pending, word))
            pending = None
        elif word & CONTROL_FLAG:
            pending = word & SEQUENCE_MASK
        else:
            ranges.append((word, word))
    if pending is not None:
        raise PeerError("loss list with an open range")
    return ranges


def pack_range(first: int, last: int) -> bytes:
    """Body of a drop request (section 3.2.9)."""
    return struct.pack(">II", first & SEQUENCE_MASK, last & SEQUENCE_MASK)


def parse_range(body: bytes) -> tuple[int, int]:
    if len(body) < 8:
        raise PeerError("short drop request")
    first, last = struct.unpack_from(">II", body)
    first, last = first & SEQUENCE_MASK, last & SEQUENCE_MASK
    if (last - first) & SEQUENCE_MASK >= _HALF_SEQUENCES:
        raise PeerError("drop request that runs backwards")
    return first, last
