"""RTCP: reports (RFC 3550), feedback (RFC 4585, RFC 5104) and REMB, parsed strictly and bounded.

Reduced-size packets (RFC 5506) are taken as they come. Types that we have no use for (extended
reports, application packets, transport-wide feedback) are skipped, broken ones raise `RtcpError`.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from configs.kernel.errors import PeerError

MAX_PACKETS: Final = 64
"""In one compound; a sane peer sends a handful."""

SENDER_REPORT: Final = 200
RECEIVER_REPORT: Final = 201
SOURCE_DESCRIPTION: Final = 202
GOODBYE: Final = 203
TRANSPORT_FEEDBACK: Final = 205
PAYLOAD_FEEDBACK: Final = 206

_NACK: Final = 1
_PLI: Final = 1
_FIR: Final = 4
_APPLICATION: Final = 15
_CNAME: Final = 1

_BLOCK = struct.Struct("!IIIIII")


class RtcpError(PeerError):
    """Not a compound of well-formed RTCP packets."""

    code = "rtcp_error"


@dataclass(frozen=True, slots=True)
class ReportBlock:
    """What a receiver says of one source (RFC 3550 section 6.4.1).

    `fraction_lost` in 256ths since its last report, `lost` in all (signed), `highest` the extended
    sequence number, `jitter` in ticks of the RTP clock, `last_report` and `delay` in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    last_report: int
    delay: int

    def serialize(self) -> bytes:
        lost = max(-(1 << 23), min(self.lost, (1 << 23) - 1)) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost << 24 | lost,
            self.highest,
            self.jitter,
            self.last_report,
            self.delay,
        )

    @classmethod
    def parse(cls, data: bytes) -> "ReportBlock":
        """`data` has 24 bytes."""
        ssrc, loss, highest, jitter, last_report, delay = _BLOCK.unpack(data)
        lost = int.from_bytes(data[5:8], "big", signed=True)
        return cls(ssrc, loss >> 24, lost, highest, jitter, last_report, delay)


@dataclass(frozen=True, slots=True)
class SenderReport:
    """`ntp` is 32.32 fixed-point seconds since 1900 and names the same instant as `rtp_time`."""

    ssrc: int
    ntp: int
    rtp_time: int
    packets: int
    octets: int
    blocks: tuple[ReportBlock, ...] = ()

    def serialize(self) -> bytes:
        body = struct.pack(
            "!IQIII", self.ssrc, self.ntp, self.rtp_time, self.packets, self.octets
        ) + b"".join(block.serialize() for block in self.blocks)
        return _packet(SENDER_REPORT, len(self.blocks), body)


@dataclass(frozen=True, slots=True)
class ReceiverReport:
    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def serialize(self) -> bytes:
        body = struct.pack("!I", self.ssrc) + b"".join(b.serialize() for b in self.blocks)
        return _packet(RECEIVER_REPORT, len(self.blocks), body)


@dataclass(frozen=True, slots=True)
class SourceDescription:
    """Canonical names by source; other items are skipped."""

    names: tuple[tuple[int, bytes], ...]

    def serialize(self) -> bytes:
        body = b""
        for ssrc, name in self.names:
            chunk = struct.pack("!IBB", ssrc, _CNAME, len(name)) + name + b"\0"
            body += chunk + bytes(-len(chunk) % 4)
        return _packet(SOURCE_DESCRIPTION, len(self.names), body)


@dataclass(frozen=True, slots=True)
class Goodbye:
    ssrcs: tuple[int, ...]

    def serialize(self) -> bytes:
        body = struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs)
        return _packet(GOODBYE, len(self.ssrcs), body)


@dataclass(frozen=True, slots=True)
class Nack:
    """Sequence numbers that a receiver misses (RFC 4585 section 6.2.1)."""

    sender: int
    ssrc: int
    lost: tuple[int, ...]

    def serialize(self) -> bytes:
        body = struct.pack("!II", self.sender, self.ssrc)
        for first, mask in _nack_pairs(self.lost):
            body += struct.pack("!HH", first, mask)
        return _packet(TRANSPORT_FEEDBACK, _NACK, body)


@dataclass(frozen=True, slots=True)
class PictureLoss:
    """A receiver cannot decode (RFC 4585 section 6.3.1)."""

    sender: int
    ssrc: int

    def serialize(self) -> bytes:
        return _packet(PAYLOAD_FEEDBACK, _PLI, struct.pack("!II", self.sender, self.ssrc))


@dataclass(frozen=True, slots=True)
class FullIntraRequest:
    """A receiver wants a keyframe (RFC 5104 section 4.3.1): pairs of source and command number."""

    sender: int
    requests: tuple[tuple[int, int], ...]

    def serialize(self) -> bytes:
        body = struct.pack("!II", self.sender, 0)
        for ssrc, number in self.requests:
            body += struct.pack("!IBxxx", ssrc, number)
        return _packet(PAYLOAD_FEEDBACK, _FIR, body)


@dataclass(frozen=True, slots=True)
class Remb:
    """The bits a second that a receiver thinks it can take (draft-alvestrand-rmcat-remb-03)."""

    sender: int
    bitrate: int
    ssrcs: tuple[int, ...]

    def serialize(self) -> bytes:
        exponent = max(0, self.bitrate.bit_length() - 18)
        mantissa = self.bitrate >> exponent
        body = struct.pack(
            f"!II4sBBH{len(self.ssrcs)}I",
            self.sender,
            0,
            b"REMB",
            len(self.ssrcs),
            exponent << 2 | mantissa >> 16,
            mantissa & 0xFFFF,
            *self.ssrcs,
        )
        return _packet(PAYLOAD_FEEDBACK, _APPLICATION, body)


RtcpPacket: TypeAlias = (
    SenderReport
    | ReceiverReport
    | SourceDescription
    | Goodbye
    | Nack
    | PictureLoss
    | FullIntraRequest
    | Remb
)


def parse_compound(data: bytes) -> tuple[RtcpPacket, ...]:
    """The packets of one decrypted datagram in their order; raises `RtcpError`."""
    packets: list[RtcpPacket] = []
    at = 0
    for _ in range(MAX_PACKETS):
        if at == len(data):
            return tuple(packets)
        if len(data) - at < 4:
            raise RtcpError("RTCP packet is cut off")
        first, kind, words = struct.unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if first >> 6 != 2:
            raise RtcpError("not RTCP version 2")
        if end > len(data):
            raise RtcpError("RTCP packet is cut off")
        body = data[at + 4 : end]
        if first & 0x20:
            if not body or not 0 < body[-1] <= len(body) or body[-1] % 4:
                raise RtcpError("RTCP padding is longer than the packet")
            body = body[: -body[-1]]
        packet = _parse(kind, first & 0x1F, body)
        if packet is not None:
            packets.append(packet)
        at = end
    if at != len(data):
        raise RtcpError("too many RTCP packets in one datagram")
    return tuple(packets)


def _parse(kind: int, count: int, body: bytes) -> RtcpPacket | None:
    match kind:
        case 200:
            _need(body, 24 + 24 * count)
            ssrc, ntp, rtp_time, packets, octets = struct.unpack_from("!IQIII", body)
            return SenderReport(ssrc, ntp, rtp_time, packets, octets, _blocks(body[24:], count))
        case 201:
            _need(body, 4 + 24 * count)
            return ReceiverReport(int.from_bytes(body[:4], "big"), _blocks(body[4:], count))
        case 202:
            return _source_description(count, body)
        case 203:
            _need(body, 4 * count)
            return Goodbye(struct.unpack_from(f"!{count}I", body))
        case 205 if count == _NACK:
            return _nack(body)
        case 206:
            return _payload_feedback(count, body)
        case _:
            return None


def _payload_feedback(kind: int, body: bytes) -> RtcpPacket | None:
    _need(body, 8)
    sender, ssrc = struct.unpack_from("!II", body)
    match kind:
        case 1:
            return PictureLoss(sender, ssrc)
        case 4:
            if len(body) % 8:
                raise RtcpError("FIR has half a request")
            requests = struct.iter_unpack("!IBxxx", body[8:])
            return FullIntraRequest(sender, tuple((int(s), int(n)) for s, n in requests))
        case 15 if body[8:12] == b"REMB":
            _need(body, 16)
            count = body[12]
            _need(body, 16 + 4 * count)
            mantissa = int.from_bytes(body[13:16], "big") & 0x3FFFF
            bitrate = mantissa << (body[13] >> 2)
            return Remb(sender, bitrate, struct.unpack_from(f"!{count}I", body, 16))
        case _:
            return None


def _nack(body: bytes) -> Nack:
    _need(body, 12)
    sender, ssrc = struct.unpack_from("!II", body)
    lost: list[int] = []
    for first, mask in struct.iter_unpack("!HH", body[8:]):
        lost.append(first)
        lost.extend((first + 1 + bit) & 0xFFFF for bit in range(16) if mask >> bit & 1)
    return Nack(sender, ssrc, tuple(lost))


def _source_description(count: int, body: bytes) -> SourceDescription:
    names: list[tuple[int, bytes]] = []
    at = 0
    for _ in range(count):
        _need(body, at + 5)
        ssrc = int.from_bytes(body[at : at + 4], "big")
        at += 4
        while at < len(body) and body[at]:
            _need(body, at + 2)
            kind, length = body[at], body[at + 1]
            at += 2
            _need(body, at + length)
            if kind == _CNAME:
                names.append((ssrc, body[at : at + length]))
            at += length
        # One zero ends the chunk, more fill it up to a word.
        at += 4 - at % 4
    if at > len(body):
        raise RtcpError("RTCP packet is cut off")
    return SourceDescription(tuple(names))


def _blocks(data: bytes, count: int) -> tuple[ReportBlock, ...]:
    return tuple(ReportBlock.parse(data[24 * n : 24 * n + 24]) for n in range(count))


def _need(body: bytes, length: int) -> None:
    if len(body) < length:
        raise RtcpError("RTCP packet is too short for its contents")


def _packet(kind: int, count: int, body: bytes) -> bytes:
    return struct.pack("!BBH", 0x80 | count, kind, len(body) // 4) + body


def _nack_pairs(lost: Iterable[int]) -> Iterable[tuple[int, int]]:
    """A first number and a mask of the 16 after it, for numbers in rising (wrapping) order."""
    first: int | None = None
    mask = 0
    for sequence in lost:
        if first is not None:
            ahead = (sequence - first) & 0xFFFF
            if ahead == 0:
                continue
            if ahead <= 16:
                mask |= 1 << ahead - 1
                continue
            yield first, mask
        first, mask = sequence, 0
    if first is not None:
        yield first, mask
