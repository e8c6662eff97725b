"""SRTP and SRTCP of one DTLS association (RFC 3711, RFC 7714, key placement of RFC 5764).

Sending media goes through `RtpProtector.seal`, which fills a prepared buffer and allocates nothing
that outlives a packet; everything else here handles a few packets a second and is written plainly.
The ciphers themselves are in `srtp_ciphers`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from media.webrtc.srtp_ciphers import (
    CmCipher,
    GcmCipher,
    RtpProtector,
    SrtpCipher,
    SrtpError,
    derive_keys,
)

__all__ = [
    "RtpProtector",
    "SrtpError",
    "SrtpKeys",
    "SrtpProfile",
    "SrtpSession",
    "keying_material_length",
    "split_keying_material",
]

MAX_SOURCES: Final = 64
"""How many synchronisation sources one peer may send from, RTP and RTCP counted apart."""

REPLAY_WINDOW: Final = 1024
"""Packets behind the newest that are still taken; retransmissions arrive late."""

_RTP_HEADER: Final = 12
_RTCP_HEADER: Final = 8


class SrtpProfile(IntEnum):
    """Protection profiles by their DTLS-SRTP number (RFC 5764 section 4.1.2, RFC 7714 section
    14.2)."""

    AES128_CM_SHA1_80 = 1
    AEAD_AES_128_GCM = 7
    AEAD_AES_256_GCM = 8

    @property
    def key_length(self) -> int:
        """Bytes of the master key."""
        return 32 if self is SrtpProfile.AEAD_AES_256_GCM else 16

    @property
    def salt_length(self) -> int:
        """Bytes of the master salt."""
        return 14 if self is SrtpProfile.AES128_CM_SHA1_80 else 12


@dataclass(frozen=True, slots=True, repr=False)
class SrtpKeys:
    """Master key and salt of one direction; has no `repr`, so that it cannot be logged by
    accident."""

    key: bytes
    salt: bytes


def keying_material_length(profile: SrtpProfile) -> int:
    """Bytes to export from DTLS with the label ``EXTRACTOR-dtls_srtp`` (RFC 5764 section 4.2)."""
    return 2 * (profile.key_length + profile.salt_length)


def split_keying_material(profile: SrtpProfile, material: bytes) -> tuple[SrtpKeys, SrtpKeys]:
    """The keys that the DTLS client writes with, and those of the server (RFC 5764 section 4.2).

    Raises `ValueError` when the material is not `keying_material_length(profile)` long.
    """
    if len(material) != keying_material_length(profile):
        raise ValueError("keying material has the wrong length")
    key, salt = profile.key_length, profile.salt_length
    salts = 2 * key
    return (
        SrtpKeys(material[:key], material[salts : salts + salt]),
        SrtpKeys(material[key:salts], material[salts + salt :]),
    )


class SrtpSession:
    """Both directions of one peer. `local` are the keys that we write with.

    Every `unprotect_*` raises `SrtpError` (a `PeerError`) for what is malformed, forged, replayed
    or too old; nothing of the session has changed then.
    """

    def __init__(self, profile: SrtpProfile, *, local: SrtpKeys, remote: SrtpKeys) -> None:
        self.profile = profile
        self._local = _cipher(profile, local)
        self._remote = _cipher(profile, remote)
        self._rtcp_index = 0
        self._rtp_sources: dict[int, _RtpSource] = {}
        self._rtcp_sources: dict[int, _ReplayWindow] = {}

    def sender(self, ssrc: int) -> RtpProtector:
        """What protects the packets of one outgoing synchronisation source.

        The caller gives each packet's 48-bit index (`roll-over counter << 16 | sequence number`),
        so there is no state to keep in step; it must never use an index twice for different
        packets.
        """
        return self._local.sender(ssrc)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """Encrypts and signs a compound RTCP packet of at least 8 bytes."""
        self._rtcp_index = (self._rtcp_index + 1) & 0x7FFFFFFF
        return self._local.protect_rtcp(packet, self._rtcp_index)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """The compound RTCP packet in a SRTCP packet."""
        if len(packet) < _RTCP_HEADER + self._remote.rtcp_overhead:
            raise SrtpError("SRTCP packet is too short")
        plain, index = self._remote.unprotect_rtcp(packet)
        ssrc = int.from_bytes(packet[4:8], "big")
        window = self._rtcp_sources.get(ssrc)
        if window is None:
            if len(self._rtcp_sources) >= MAX_SOURCES:
                raise SrtpError("too many RTCP sources")
            window = self._rtcp_sources[ssrc] = _ReplayWindow()
        window.check(index)
        window.note(index)
        return plain

    def unprotect_rtp(self, packet: bytes) -> bytes:
        """The RTP packet in a SRTP packet; follows each source's roll-over counter (RFC 3711
        3.3.1)."""
        header = rtp_header_length(packet)
        if len(packet) < header + self._remote.rtp_overhead:
            raise SrtpError("SRTP packet is too short")
        ssrc = int.from_bytes(packet[8:12], "big")
        sequence = int.from_bytes(packet[2:4], "big")
        source = self._rtp_sources.get(ssrc)
        if source is None:
            if len(self._rtp_sources) >= MAX_SOURCES:
                raise SrtpError("too many RTP sources")
            source = _RtpSource()
        index = source.index_of(sequence)
        source.window.check(index)
        plain = self._remote.unprotect_rtp(packet, header, ssrc, index)
        source.window.note(index)
        self._rtp_sources[ssrc] = source
        return plain


def rtp_header_length(packet: bytes) -> int:
    """Bytes before the payload: fixed header, contributing sources and extension (RFC 3550 5.1).

    Raises `SrtpError` when the packet ends before its header does.
    """
    if len(packet) < _RTP_HEADER or packet[0] >> 6 != 2:
        raise SrtpError("not an RTP packet")
    length = _RTP_HEADER + 4 * (packet[0] & 0x0F)
    if packet[0] & 0x10:
        length += 4
        if len(packet) < length:
            raise SrtpError("RTP header is cut off")
        length += 4 * int.from_bytes(packet[length - 2 : length], "big")
    if len(packet) < length:
        raise SrtpError("RTP header is cut off")
    return length


def _cipher(profile: SrtpProfile, keys: SrtpKeys) -> SrtpCipher:
    if len(keys.key) != profile.key_length or len(keys.salt) != profile.salt_length:
        raise ValueError("master key or salt has the wrong length")
    if profile is SrtpProfile.AES128_CM_SHA1_80:
        return CmCipher(*derive_keys(keys.key, keys.salt, auth_length=20, salt_length=14))
    return GcmCipher(*derive_keys(keys.key, keys.salt, auth_length=0, salt_length=12))


class _ReplayWindow:
    """The newest index seen, and which of those just before it were (RFC 3711 section 3.3.2)."""

    __slots__ = ("_seen", "newest")

    def __init__(self) -> None:
        self.newest = -1
        self._seen = 0

    def check(self, index: int) -> None:
        behind = self.newest - index
        if behind < 0:
            return
        if behind >= REPLAY_WINDOW:
            raise SrtpError("packet is too old")
        if self._seen >> behind & 1:
            raise SrtpError("packet was seen before")

    def note(self, index: int) -> None:
        ahead = index - self.newest
        if ahead > 0:
            # A jump past the window forgets all of it; shifting by its length would be just as
            # right, but the distance is the peer's to choose.
            kept = self._seen << ahead if ahead < REPLAY_WINDOW else 0
            self._seen = (kept & ((1 << REPLAY_WINDOW) - 1)) | 1
            self.newest = index
        else:
            self._seen |= 1 << -ahead


class _RtpSource:
    __slots__ = ("window",)

    def __init__(self) -> None:
        self.window = _ReplayWindow()

    def index_of(self, sequence: int) -> int:
        """The index nearest to the newest one that ends in this sequence number."""
        newest = self.window.newest
        if newest < 0:
            return sequence
        index = newest & ~0xFFFF | sequence
        if index - newest > 0x8000:
            # Before the first roll-over there is nothing older; it must be ahead.
            return index - 0x10000 if index >= 0x10000 else index
        if newest - index > 0x8000:
            return index + 0x10000
        return index
