"""STUN messages (RFC 8489): parsing, building, and the two checks that ICE asks for.

Everything here is bounded and total: a datagram is either a message or a `PeerError`, and nothing
that a peer writes decides how much is allocated.
"""

import binascii
import hmac
import ipaddress
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from configs.kernel.errors import PeerError

MAGIC_COOKIE: Final = 0x2112A442
HEADER_SIZE: Final = 20
MAX_SIZE: Final = 1500
MAX_ATTRIBUTES: Final = 32
BINDING: Final = 0x001

INTEGRITY_SIZE: Final = 24
FINGERPRINT_SIZE: Final = 8
_FINGERPRINT_XOR: Final = 0x5354554E
_COMPREHENSION_OPTIONAL: Final = 0x8000

_header = struct.Struct("!HHI12s")
_attribute_head = struct.Struct("!HH")


class MessageClass(IntEnum):
    REQUEST = 0b00
    INDICATION = 0b01
    SUCCESS = 0b10
    ERROR = 0b11


class Attribute(IntEnum):
    """The attributes that an ICE agent has to do with (RFC 8489 §18.3, RFC 8445 §16.1)."""

    USERNAME = 0x0006
    MESSAGE_INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    ICE_CONTROLLED = 0x8029
    ICE_CONTROLLING = 0x802A


_KNOWN: Final = frozenset(int(attribute) for attribute in Attribute)


@dataclass(frozen=True, slots=True)
class Message:
    """A parsed message. `attributes` end at MESSAGE-INTEGRITY, as what follows it is not protected;
    `integrity_at` is that attribute's offset in `raw`, None when it is missing."""

    message_class: MessageClass
    method: int
    transaction_id: bytes
    attributes: tuple[tuple[int, bytes], ...]
    raw: bytes
    integrity_at: int | None
    fingerprinted: bool

    def get(self, attribute: Attribute) -> bytes | None:
        """The value of the first such attribute."""
        for kind, value in self.attributes:
            if kind == attribute:
                return value
        return None

    @property
    def unknown(self) -> tuple[int, ...]:
        """Attributes that must be understood, and are not (RFC 8489 §6.3.1)."""
        return tuple(
            kind
            for kind, _ in self.attributes
            if kind < _COMPREHENSION_OPTIONAL and kind not in _KNOWN
        )

    def is_authentic(self, password: bytes) -> bool:
        """Whether MESSAGE-INTEGRITY is there and made with this password (RFC 8489 §14.5)."""
        if self.integrity_at is None:
            return False
        end = self.integrity_at + INTEGRITY_SIZE
        # The digest covers a header whose length ends with the attribute itself.
        covered = bytearray(self.raw[: self.integrity_at])
        struct.pack_into("!H", covered, 2, end - HEADER_SIZE)
        digest = hmac.digest(password, bytes(covered), "sha1")
        return hmac.compare_digest(digest, self.raw[self.integrity_at + 4 : end])


def is_stun(datagram: bytes) -> bool:
    """Whether the first byte says STUN (RFC 7983 §7)."""
    return bool(datagram) and datagram[0] < 4


def parse(datagram: bytes) -> Message:
    """Parses one datagram; raises `PeerError` for whatever is not a well-formed message, or has a
    FINGERPRINT that does not fit."""
    size = len(datagram)
    if size < HEADER_SIZE or size > MAX_SIZE:
        raise PeerError("STUN message of an impossible size", code="stun_malformed")
    kind, length, cookie, transaction_id = _header.unpack_from(datagram)
    if kind & 0xC000 or cookie != MAGIC_COOKIE:
        raise PeerError("not a STUN message", code="stun_malformed")
    if length % 4 or length != size - HEADER_SIZE:
        raise PeerError("STUN length does not fit the datagram", code="stun_malformed")

    attributes: list[tuple[int, bytes]] = []
    integrity_at: int | None = None
    fingerprinted = False
    offset = HEADER_SIZE
    for _ in range(MAX_ATTRIBUTES):
        if offset == size:
            break
        # A length that is a multiple of four leaves room for the head of an attribute.
        attribute, value_size = _attribute_head.unpack_from(datagram, offset)
        end = offset + 4 + value_size
        if end > size:
            raise PeerError("STUN attribute runs past the message", code="stun_malformed")
        value = datagram[offset + 4 : end]
        if attribute == Attribute.FINGERPRINT:
            _check_fingerprint(datagram, offset, value)
            fingerprinted = True
            offset = size
            break
        if integrity_at is None:
            if attribute == Attribute.MESSAGE_INTEGRITY:
                if value_size != INTEGRITY_SIZE - 4:
                    raise PeerError("STUN integrity of a wrong size", code="stun_malformed")
                integrity_at = offset
            else:
                attributes.append((attribute, value))
        offset = end + (-value_size % 4)
    if offset != size:
        raise PeerError("STUN attributes do not end with the message", code="stun_malformed")
    return Message(
        MessageClass((kind >> 7 & 0b10) | (kind >> 4 & 0b01)),
        (kind & 0x000F) | (kind >> 1 & 0x0070) | (kind >> 2 & 0x0F80),
        transaction_id,
        tuple(attributes),
        datagram,
        integrity_at,
        fingerprinted,
    )


def build(
    message_class: MessageClass,
    transaction_id: bytes,
    attributes: Sequence[tuple[int, bytes]] = (),
    *,
    password: bytes | None = None,
    method: int = BINDING,
) -> bytes:
    """A message closed by MESSAGE-INTEGRITY, when there is a password, and FINGERPRINT."""
    body = b"".join(
        _attribute_head.pack(kind, len(value)) + value + bytes(-len(value) % 4)
        for kind, value in attributes
    )
    kind = (
        (method & 0x000F)
        | (method & 0x0070) << 1
        | (method & 0x0F80) << 2
        | (message_class & 0b10) << 7
        | (message_class & 0b01) << 4
    )

    def closed(extra: int) -> bytes:
        return _header.pack(kind, len(body) + extra, MAGIC_COOKIE, transaction_id) + body

    if password is not None:
        digest = hmac.digest(password, closed(INTEGRITY_SIZE), "sha1")
        body += _attribute_head.pack(Attribute.MESSAGE_INTEGRITY, len(digest)) + digest
    message = closed(FINGERPRINT_SIZE)
    checksum = binascii.crc32(message) ^ _FINGERPRINT_XOR
    return message + struct.pack("!HHI", Attribute.FINGERPRINT, 4, checksum)


def xor_mapped_address(host: str, port: int, transaction_id: bytes) -> bytes:
    """The value of XOR-MAPPED-ADDRESS (RFC 8489 §14.2). An IPv4 address that reached us through an
    IPv6 socket is told as IPv4."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    mask = struct.pack("!I", MAGIC_COOKIE) + transaction_id
    family = 1 if address.version == 4 else 2
    masked = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    return struct.pack("!BBH", 0, family, port ^ (MAGIC_COOKIE >> 16)) + masked


def error_code(code: int, reason: str) -> bytes:
    """The value of ERROR-CODE (RFC 8489 §14.8)."""
    return struct.pack("!HBB", 0, code // 100, code % 100) + reason.encode()


def _check_fingerprint(datagram: bytes, offset: int, value: bytes) -> None:
    if len(value) != 4 or offset + FINGERPRINT_SIZE != len(datagram):
        raise PeerError("STUN fingerprint is not the last attribute", code="stun_malformed")
    if int.from_bytes(value, "big") != binascii.crc32(datagram[:offset]) ^ _FINGERPRINT_XOR:
        raise PeerError("STUN fingerprint does not fit", code="stun_malformed")
