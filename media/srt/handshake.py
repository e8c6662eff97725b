"""The SRT handshake, version 5, caller to listener (draft-sharabayko-srt sections 3.2.1 and 4.3).

A caller asks twice. The first time (induction) the listener keeps nothing and answers with a
cookie made of the caller's address; only who brings it back (conclusion) can cost us memory.
"""

import hashlib
import hmac
import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Final

from configs.kernel.errors import PeerError

INDUCTION: Final = 1
CONCLUSION: Final = 0xFFFF_FFFF
MAGIC: Final = 0x4A17
VERSION: Final = 0x01_05_03
"""The protocol's revision that we tell the peer: that of libsrt 1.5.3."""

OLDEST_PEER: Final = 0x01_03_00
"""The first revision that speaks handshake version 5."""

FLOW_WINDOW: Final = 8192
MTU: Final = 1500
MAX_STREAM_ID: Final = 512
COOKIE_LIFE_S: Final = 30.0

_FIXED: Final = struct.Struct(">IHHIIIIII16s")
_EXTENSION: Final = struct.Struct(">HH")
_FAILURE: Final = 1000


class Rejection(IntEnum):
    """Reasons as `srt_getrejectreason` gives them; on the wire each is 1000 higher."""

    UNKNOWN = 0
    PEER = 2
    RESOURCE = 3
    ROGUE = 4
    BACKLOG = 5
    CLOSE = 7
    VERSION = 8
    BADSECRET = 10
    UNSECURE = 11
    MESSAGEAPI = 12
    CONGESTION = 13
    FILTER = 14
    GROUP = 15
    TIMEOUT = 16
    CRYPTO = 17
    BAD_REQUEST = 1400
    UNAUTHORIZED = 1401
    OVERLOAD = 1402
    FORBIDDEN = 1403
    NOT_FOUND = 1404
    BAD_MODE = 1405
    CONFLICT = 1409
    INTERNAL = 1500


class ExtensionType(IntEnum):
    HSREQ = 1
    HSRSP = 2
    KMREQ = 3
    KMRSP = 4
    SID = 5
    CONGESTION = 6
    FILTER = 7
    GROUP = 8


class Feature(IntFlag):
    """Flags of the handshake extension message (section 3.2.1.1.1)."""

    TSBPDSND = 0x01
    TSBPDRCV = 0x02
    CRYPT = 0x04
    TLPKTDROP = 0x08
    PERIODICNAK = 0x10
    REXMITFLG = 0x20
    STREAM = 0x40
    PACKET_FILTER = 0x80


LIVE: Final = Feature(0x3F)
"""What we ask for and give: live mode, without packet filter."""

_CONFIG_TYPES: Final = (
    ExtensionType.SID,
    ExtensionType.CONGESTION,
    ExtensionType.FILTER,
    ExtensionType.GROUP,
)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Body of HSREQ and HSRSP; delays are milliseconds, of the side that sends this."""

    version: int
    features: int
    receiver_delay: int
    sender_delay: int

    def serialize(self) -> bytes:
        return struct.pack(
            ">IIHH", self.version, self.features, self.receiver_delay, self.sender_delay
        )

    @classmethod
    def parse(cls, body: bytes) -> "Capabilities":
        if len(body) < 12:
            raise PeerError("short handshake extension")
        return cls(*struct.unpack_from(">IIHH", body))


@dataclass(frozen=True, slots=True)
class Handshake:
    """Body of a handshake packet. `kind` is INDUCTION, CONCLUSION or a rejection's wire value;
    `encryption` is the key's length in eighths of a byte count (2, 3, 4: AES-128, 192, 256)."""

    version: int
    kind: int
    socket_id: int
    cookie: int = 0
    initial_sequence: int = 0
    encryption: int = 0
    flags: int = 0
    mtu: int = MTU
    flow_window: int = FLOW_WINDOW
    peer_ip: bytes = bytes(16)
    extensions: Mapping[ExtensionType, bytes] = field(default_factory=dict)

    def serialize(self) -> bytes:
        fixed = _FIXED.pack(
            self.version,
            self.encryption,
            self.flags,
            self.initial_sequence,
            self.mtu,
            self.flow_window,
            self.kind,
            self.socket_id,
            self.cookie,
            self.peer_ip,
        )
        parts = [fixed]
        for kind, body in self.extensions.items():
            padded = body + bytes(-len(body) % 4)
            parts += (_EXTENSION.pack(kind, len(padded) // 4), padded)
        return b"".join(parts)

    @classmethod
    def parse(cls, body: bytes) -> "Handshake":
        """Unknown extensions are skipped; raises PeerError for one that is cut off."""
        if len(body) < _FIXED.size:
            raise PeerError("short handshake")
        version, encryption, flags, sequence, mtu, window, kind, socket_id, cookie, peer_ip = (
            _FIXED.unpack_from(body)
        )
        extensions: dict[ExtensionType, bytes] = {}
        if version >= 5 and kind == CONCLUSION:
            extensions = _parse_extensions(body[_FIXED.size :])
        return cls(
            version,
            kind,
            socket_id,
            cookie,
            sequence & 0x7FFF_FFFF,
            encryption,
            flags,
            mtu,
            window,
            peer_ip,
            extensions,
        )

    @property
    def rejection(self) -> int | None:
        """The reason, when this handshake is a refusal."""
        return self.kind - _FAILURE if _FAILURE <= self.kind < 0x8000_0000 else None

    @property
    def stream_id(self) -> str:
        return decode_text(self.extensions.get(ExtensionType.SID, b""))


def rejection_kind(code: int) -> int:
    return _FAILURE + code


def extension_flags(extensions: Mapping[ExtensionType, bytes]) -> int:
    """The flags field of a conclusion that carries these extensions."""
    flags = 0
    if ExtensionType.HSREQ in extensions or ExtensionType.HSRSP in extensions:
        flags |= 1
    if ExtensionType.KMREQ in extensions or ExtensionType.KMRSP in extensions:
        flags |= 2
    if any(kind in extensions for kind in _CONFIG_TYPES):
        flags |= 4
    return flags


def encode_text(text: str) -> bytes:
    """A string as 32-bit little-endian words: every four characters stand in reverse."""
    raw = text.encode()
    raw += bytes(-len(raw) % 4)
    return b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))


def decode_text(body: bytes) -> str:
    """Raises PeerError for what is no UTF-8."""
    raw = b"".join(body[at : at + 4][::-1] for at in range(0, len(body), 4))
    try:
        return raw.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        raise PeerError("stream id is not UTF-8") from None


def encode_ip(host: str) -> bytes:
    """The peer's address as libsrt writes it: each 32-bit word in reverse, IPv4 in the first."""
    packed = ipaddress.ip_address(host.partition("%")[0]).packed
    words = [packed[at : at + 4][::-1] for at in range(0, len(packed), 4)]
    return b"".join(words).ljust(16, b"\0")


class Cookies:
    """SYN cookies that need no memory: a keyed hash of the address and of half a minute."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def issue(self, address: tuple[str, int], *, now: float) -> int:
        return self._cookie(address, int(now // COOKIE_LIFE_S))

    def check(self, cookie: int, address: tuple[str, int], *, now: float) -> bool:
        """True for a cookie of this half minute or the one before."""
        period = int(now // COOKIE_LIFE_S)
        return cookie in (self._cookie(address, period), self._cookie(address, period - 1))

    def _cookie(self, address: tuple[str, int], period: int) -> int:
        text = f"{address[0]}|{address[1]}|{period}".encode()
        digest = hmac.digest(self._secret, text, hashlib.sha256)
        return int.from_bytes(digest[:4], "big") or 1


def _parse_extensions(body: bytes) -> dict[ExtensionType, bytes]:
    extensions: dict[ExtensionType, bytes] = {}
    at = 0
    while at + _EXTENSION.size <= len(body):
        kind, words = _EXTENSION.unpack_from(body, at)
        start = at + _EXTENSION.size
        at = start + words * 4
        if at > len(body):
            raise PeerError("handshake extension is cut off")
        if kind in _KNOWN_EXTENSIONS:
            extensions[ExtensionType(kind)] = body[start:at]
    return extensions


_KNOWN_EXTENSIONS: Final = frozenset(int(kind) for kind in ExtensionType)
