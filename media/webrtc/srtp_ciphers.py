"""The two ciphers of SRTP: AES-GCM (RFC 7714) and AES-CM with HMAC-SHA1 (RFC 3711).

Both are written on `cryptography` and `hashlib`. A packet of 1.2 kB costs 2.6 µs in AES-CM, header
included, and 1.0 µs in AES-GCM; `pylibsrtp` takes 2.8 and 2.0 µs, and what it returns would still
have to be copied into the send buffer.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from configs.kernel.errors import PeerError
from media.rtp.layout import Slot

GCM_TAG: Final = 16
SHA1_TAG: Final = 10
_ENCRYPTED: Final = 0x80000000
_RTCP_HEADER: Final = 8

_pack_header = struct.Struct("!HHII").pack_into
_pack_word = struct.Struct("!I").pack_into


class SrtpError(PeerError):
    """A packet that is malformed, was not made with the peer's keys, or came before."""

    code = "srtp_error"


class RtpProtector(Protocol):
    """Protects the packets of one outgoing source, from index and content alone."""

    @property
    def overhead(self) -> int:
        """Bytes that a packet grows by."""
        ...

    def seal(self, slots: Iterable[Slot], index: int, payload_type: int, timestamp: int) -> None:
        """Writes header and protected payload of consecutive packets into their slots.

        `index` is the first packet's 48-bit SRTP index, `timestamp` 32 bits wide.
        """
        ...

    def protect(self, header: bytes, payload: bytes, index: int) -> bytes:
        """One whole protected packet; `header` is complete and fits the index."""
        ...


class SrtpCipher(Protocol):
    """One direction of a session."""

    @property
    def rtp_overhead(self) -> int: ...

    @property
    def rtcp_overhead(self) -> int: ...

    def sender(self, ssrc: int) -> RtpProtector: ...

    def protect_rtcp(self, packet: bytes, index: int) -> bytes: ...

    def unprotect_rtcp(self, packet: bytes) -> tuple[bytes, int]:
        """The plain packet and its 31-bit index; raises `SrtpError`."""
        ...

    def unprotect_rtp(self, packet: bytes, header: int, ssrc: int, index: int) -> bytes:
        """`header` is the length of the RTP header; raises `SrtpError`."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class DirectionKeys:
    """Session keys of RTP or of RTCP in one direction; `auth` is empty for GCM."""

    cipher: bytes
    auth: bytes
    salt: bytes


def derive_keys(
    master_key: bytes, master_salt: bytes, *, auth_length: int, salt_length: int
) -> tuple[DirectionKeys, DirectionKeys]:
    """Session keys for RTP and RTCP (RFC 3711 section 4.3, key derivation rate 0).

    A 96-bit salt is padded to the 112 bits of the function (RFC 7714 section 11).
    """
    salt = master_salt.ljust(14, b"\0")

    def directions(first_label: int) -> DirectionKeys:
        return DirectionKeys(
            derive_key(master_key, salt, first_label, len(master_key)),
            derive_key(master_key, salt, first_label + 1, auth_length),
            derive_key(master_key, salt, first_label + 2, salt_length),
        )

    return directions(0), directions(3)


def derive_key(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """AES-CM as a pseudo-random function (RFC 3711 section 4.3.3); `master_salt` has 14 bytes."""
    start = int.from_bytes(master_salt, "big") ^ label << 48
    counter = modes.CTR((start << 16).to_bytes(16, "big"))
    return Cipher(algorithms.AES(master_key), counter).encryptor().update(bytes(length))


class GcmCipher:
    """RFC 7714. The key of a direction serves all its sources; the nonce tells them apart."""

    rtp_overhead = GCM_TAG
    rtcp_overhead = GCM_TAG + 4

    def __init__(self, rtp: DirectionKeys, rtcp: DirectionKeys) -> None:
        self._rtp = AESGCM(rtp.cipher)
        self._rtp_salt = int.from_bytes(rtp.salt, "big")
        self._rtcp = AESGCM(rtcp.cipher)
        self._rtcp_salt = int.from_bytes(rtcp.salt, "big")

    def sender(self, ssrc: int) -> RtpProtector:
        return GcmProtector(self._rtp, self._rtp_salt, ssrc)

    def protect_rtcp(self, packet: bytes, index: int) -> bytes:
        word = (_ENCRYPTED | index).to_bytes(4, "big")
        nonce = self._rtcp_nonce(packet, index)
        header = packet[:_RTCP_HEADER]
        return header + self._rtcp.encrypt(nonce, packet[_RTCP_HEADER:], header + word) + word

    def unprotect_rtcp(self, packet: bytes) -> tuple[bytes, int]:
        word = packet[-4:]
        index = int.from_bytes(word, "big")
        if not index & _ENCRYPTED:
            raise SrtpError("SRTCP packet is not encrypted")
        index &= ~_ENCRYPTED
        header = packet[:_RTCP_HEADER]
        try:
            plain = self._rtcp.decrypt(
                self._rtcp_nonce(packet, index), packet[_RTCP_HEADER:-4], header + word
            )
        except InvalidTag:
            raise SrtpError("SRTCP packet is forged") from None
        return header + plain, index

    def unprotect_rtp(self, packet: bytes, header: int, ssrc: int, index: int) -> bytes:
        nonce = (self._rtp_salt ^ ssrc << 48 ^ index).to_bytes(12, "big")
        head = packet[:header]
        try:
            return head + self._rtp.decrypt(nonce, packet[header:], head)
        except InvalidTag:
            raise SrtpError("SRTP packet is forged") from None

    def _rtcp_nonce(self, packet: bytes, index: int) -> bytes:
        ssrc = int.from_bytes(packet[4:8], "big")
        return (self._rtcp_salt ^ ssrc << 48 ^ index).to_bytes(12, "big")


class GcmProtector:
    """The hot loop of the product: header, nonce, one call into OpenSSL."""

    __slots__ = ("_encrypt", "_encrypt_into", "_nonce", "_ssrc")

    overhead = GCM_TAG

    def __init__(self, cipher: AESGCM, salt: int, ssrc: int) -> None:
        self._encrypt_into = cipher.encrypt_into
        self._encrypt = cipher.encrypt
        self._nonce = salt ^ ssrc << 48
        self._ssrc = ssrc

    def seal(self, slots: Iterable[Slot], index: int, payload_type: int, timestamp: int) -> None:
        encrypt_into = self._encrypt_into
        pack_header = _pack_header
        nonce = self._nonce
        ssrc = self._ssrc
        for flags, payload, header, body, _, _ in slots:
            pack_header(header, 0, flags | payload_type, index & 0xFFFF, timestamp, ssrc)
            encrypt_into((nonce ^ index).to_bytes(12, "big"), payload, header, body)
            index += 1

    def protect(self, header: bytes, payload: bytes, index: int) -> bytes:
        return header + self._encrypt((self._nonce ^ index).to_bytes(12, "big"), payload, header)


class CmCipher:
    """AES-128 in counter mode with an HMAC-SHA1 cut to 80 bits (RFC 3711 sections 4.1.1, 4.2.1)."""

    rtp_overhead = SHA1_TAG
    rtcp_overhead = SHA1_TAG + 4

    def __init__(self, rtp: DirectionKeys, rtcp: DirectionKeys) -> None:
        self._rtp = _CounterMode(rtp)
        self._rtcp = _CounterMode(rtcp)

    def sender(self, ssrc: int) -> RtpProtector:
        return CmProtector(self._rtp, ssrc)

    def protect_rtcp(self, packet: bytes, index: int) -> bytes:
        body = self._rtcp.xor(packet[_RTCP_HEADER:], int.from_bytes(packet[4:8], "big"), index)
        signed = packet[:_RTCP_HEADER] + body + (_ENCRYPTED | index).to_bytes(4, "big")
        return signed + self._rtcp.tag(signed)

    def unprotect_rtcp(self, packet: bytes) -> tuple[bytes, int]:
        signed, tag = packet[:-SHA1_TAG], packet[-SHA1_TAG:]
        if not hmac.compare_digest(self._rtcp.tag(signed), tag):
            raise SrtpError("SRTCP packet is forged")
        index = int.from_bytes(signed[-4:], "big")
        if not index & _ENCRYPTED:
            raise SrtpError("SRTCP packet is not encrypted")
        index &= ~_ENCRYPTED
        ssrc = int.from_bytes(packet[4:8], "big")
        return packet[:_RTCP_HEADER] + self._rtcp.xor(signed[_RTCP_HEADER:-4], ssrc, index), index

    def unprotect_rtp(self, packet: bytes, header: int, ssrc: int, index: int) -> bytes:
        signed, tag = packet[:-SHA1_TAG], packet[-SHA1_TAG:]
        if not hmac.compare_digest(self._rtp.tag(signed + (index >> 16).to_bytes(4, "big")), tag):
            raise SrtpError("SRTP packet is forged")
        return signed[:header] + self._rtp.xor(signed[header:], ssrc, index)


class CmProtector:
    """AES-CM and HMAC in place. The roll-over counter is signed where the tag will be written."""

    __slots__ = ("_counter", "_encryptor", "_inner", "_nonce", "_outer", "_ssrc")

    overhead = SHA1_TAG

    def __init__(self, keys: "_CounterMode", ssrc: int) -> None:
        self._counter = keys
        self._encryptor = keys.encryptor
        self._inner = keys.inner
        self._outer = keys.outer
        self._nonce = keys.salt ^ ssrc << 64
        self._ssrc = ssrc

    def seal(self, slots: Iterable[Slot], index: int, payload_type: int, timestamp: int) -> None:
        reset_nonce = self._encryptor.reset_nonce
        update_into = self._encryptor.update_into
        copy_inner, copy_outer = self._inner.copy, self._outer.copy
        pack_header, pack_word = _pack_header, _pack_word
        nonce = self._nonce
        ssrc = self._ssrc
        for flags, payload, header, body, signed, tag in slots:
            pack_header(header, 0, flags | payload_type, index & 0xFFFF, timestamp, ssrc)
            reset_nonce((nonce ^ index << 16).to_bytes(16, "big"))
            update_into(payload, body)
            pack_word(tag, 0, index >> 16)
            inner = copy_inner()
            inner.update(signed)
            outer = copy_outer()
            outer.update(inner.digest())
            tag[:] = outer.digest()[:SHA1_TAG]
            index += 1

    def protect(self, header: bytes, payload: bytes, index: int) -> bytes:
        packet = header + self._counter.xor(payload, self._ssrc, index)
        return packet + self._counter.tag(packet + (index >> 16).to_bytes(4, "big"))


class _CounterMode:
    """One expanded AES key and one keyed HMAC, reused for every packet of the direction."""

    __slots__ = ("encryptor", "inner", "outer", "salt")

    def __init__(self, keys: DirectionKeys) -> None:
        self.encryptor = Cipher(algorithms.AES(keys.cipher), modes.CTR(bytes(16))).encryptor()
        self.salt = int.from_bytes(keys.salt, "big") << 16
        padded = keys.auth.ljust(64, b"\0")
        # HMAC's two hashes with the key's block already in them (RFC 2104), to be copied: half the
        # cost of `hmac.digest`, which starts from the key each time.
        self.inner = hashlib.sha1(bytes(b ^ 0x36 for b in padded), usedforsecurity=False)
        self.outer = hashlib.sha1(bytes(b ^ 0x5C for b in padded), usedforsecurity=False)

    def xor(self, data: bytes, ssrc: int, index: int) -> bytes:
        self.encryptor.reset_nonce((self.salt ^ ssrc << 64 ^ index << 16).to_bytes(16, "big"))
        return self.encryptor.update(data)

    def tag(self, signed: bytes) -> bytes:
        inner = self.inner.copy()
        inner.update(signed)
        outer = self.outer.copy()
        outer.update(inner.digest())
        return outer.digest()[:SHA1_TAG]
