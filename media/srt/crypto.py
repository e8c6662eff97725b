"""Keys and payload encryption (draft-sharabayko-srt sections 3.2.2 and 6).

Short-lived stream keys (SEK), an even and an odd one, travel in key material messages, wrapped
with a key made from the passphrase. A payload is AES in counter mode over its packet's sequence
number. The sender renews its key from time to time: the new one is announced while the old one is
in use, and used only after the receiver confirmed it.
"""

import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from configs.kernel.errors import PeerError

EVEN: Final = 1
ODD: Final = 2
BOTH: Final = 3

KEY_LENGTHS: Final = (16, 24, 32)
ITERATIONS: Final = 2048
REFRESH_PACKETS: Final = 1 << 25
ANNOUNCE_PACKETS: Final = 4000
STATE_BAD_SECRET: Final = (4).to_bytes(4, "big")

_SALT_SIZE: Final = 16
_FIXED: Final = struct.Struct(">BHBIBBBBHBB")
_VERSION_AND_TYPE: Final = 0x12
_SIGNATURE: Final = 0x2029
_AES_CTR: Final = 2
_MPEGTS_SRT: Final = 2

Entropy = Callable[[int], bytes]


class BadSecret(PeerError):
    """The key material was wrapped with another passphrase."""

    code = "bad_secret"


class UnsupportedCipher(PeerError):
    """Key material for a cipher other than AES-CTR."""

    code = "unsupported_cipher"


@dataclass(frozen=True, slots=True)
class KeyMaterial:
    """A key material message; `keys` says which stream keys `wrapped` holds (EVEN, ODD, BOTH)."""

    keys: int
    salt: bytes
    key_length: int
    wrapped: bytes

    def serialize(self) -> bytes:
        return (
            _FIXED.pack(
                _VERSION_AND_TYPE,
                _SIGNATURE,
                self.keys,
                0,
                _AES_CTR,
                0,
                _MPEGTS_SRT,
                0,
                0,
                len(self.salt) // 4,
                self.key_length // 4,
            )
            + self.salt
            + self.wrapped
        )

    @classmethod
    def parse(cls, body: bytes) -> "KeyMaterial":
        """Raises PeerError when malformed, UnsupportedCipher for other than AES-CTR."""
        if len(body) < _FIXED.size:
            raise PeerError("short key material")
        kind, signature, keys, _, cipher, _, _, _, _, salt_words, key_words = _FIXED.unpack_from(
            body
        )
        if kind != _VERSION_AND_TYPE or signature != _SIGNATURE:
            raise PeerError("not a key material message")
        if cipher != _AES_CTR:
            raise UnsupportedCipher(f"cipher {cipher}")
        keys &= BOTH
        key_length = key_words * 4
        if not keys or salt_words * 4 != _SALT_SIZE or key_length not in KEY_LENGTHS:
            raise PeerError("key material with impossible sizes")
        start = _FIXED.size + _SALT_SIZE
        end = start + key_length * (2 if keys == BOTH else 1) + 8
        if len(body) < end:
            raise PeerError("key material is cut off")
        return cls(keys, body[_FIXED.size : start], key_length, body[start:end])


def derive_kek(passphrase: str, salt: bytes, key_length: int) -> bytes:
    """The key that wraps keys: PBKDF2 with HMAC-SHA1 over the salt's last 8 bytes."""
    return hashlib.pbkdf2_hmac("sha1", passphrase.encode(), salt[-8:], ITERATIONS, key_length)


class PacketCipher:
    """One stream key with its salt; encrypting and decrypting are the same in counter mode."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        self.key = key
        self._algorithm = AES(key)
        self._high = salt[:10]
        self._low = int.from_bytes(salt[10:14], "big")

    def apply(self, sequence: int, payload: bytes) -> bytes:
        counter = self._high + (self._low ^ sequence).to_bytes(4, "big") + b"\0\0"
        return Cipher(self._algorithm, CTR(counter)).encryptor().update(payload)


class KeyRing:
    """The stream keys of one connection, both directions; made from a passphrase.

    Our own key is renewed after `refresh_packets`, and announced that much before: the standard's
    4000 packets, or a third of `refresh_packets` where that is less.
    """

    def __init__(
        self,
        passphrase: str,
        *,
        refresh_packets: int = REFRESH_PACKETS,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._passphrase = passphrase
        self._refresh = refresh_packets
        self._announce = min(ANNOUNCE_PACKETS, refresh_packets // 3)
        self._entropy = entropy
        self._receive: dict[int, PacketCipher] = {}
        self._send: dict[int, PacketCipher] = {}
        self._peer_kek: tuple[bytes, int, bytes] = (b"", 0, b"")
        self._salt = b""
        self._kek = b""
        self._key_length = 0
        self._active = 0
        self._sent = 0
        self._announced: bytes | None = None
        self._next: int | None = None

    # Receiving

    def load(self, message: bytes) -> None:
        """Takes the stream keys of the peer's key material message; the first such message also
        gives our own direction its key, as the caller decides for both.

        Raises BadSecret, UnsupportedCipher or PeerError, and then keeps what it had.
        """
        material = KeyMaterial.parse(message)
        kek = self._kek_for(material)
        try:
            plain = aes_key_unwrap(kek, material.wrapped)
        except InvalidUnwrap:
            raise BadSecret("wrong passphrase") from None
        self._peer_kek = (material.salt, material.key_length, kek)
        ciphers: dict[int, PacketCipher] = {}
        slots = (EVEN, ODD) if material.keys == BOTH else (material.keys,)
        for position, slot in enumerate(slots):
            key = plain[position * material.key_length : (position + 1) * material.key_length]
            ciphers[slot] = PacketCipher(key, material.salt)
        self._receive.update(ciphers)
        if not self._send:
            self._send = dict(ciphers)
            self._active = slots[0]
            self._salt, self._kek, self._key_length = material.salt, kek, material.key_length

    def decrypt(self, slot: int, sequence: int, payload: bytes) -> bytes | None:
        """None when the packet's key is not known (yet)."""
        cipher = self._receive.get(slot)
        return cipher.apply(sequence, payload) if cipher is not None else None

    # Sending

    def generate(self, key_length: int) -> bytes:
        """Makes the first stream key (the caller's part); the key material message to send."""
        if key_length not in KEY_LENGTHS:
            raise ValueError(f"a key of {key_length} bytes")
        self._salt = self._entropy(_SALT_SIZE)
        self._key_length = key_length
        self._kek = derive_kek(self._passphrase, self._salt, key_length)
        cipher = PacketCipher(self._entropy(key_length), self._salt)
        self._active = EVEN
        self._send = {EVEN: cipher}
        self._receive = {EVEN: cipher}
        return self._message(EVEN, cipher.key)

    def encrypt(self, sequence: int, payload: bytes) -> tuple[int, bytes]:
        """The key's slot (for the KK field) and the encrypted payload."""
        self._sent += 1
        if self._next is None and self._sent >= self._refresh - self._announce:
            self._prepare()
        elif self._sent > self._refresh and self._next is not None and self._announced is None:
            self._active, self._next = self._next, None
            self._sent = 1
        return self._active, self._send[self._active].apply(sequence, payload)

    @property
    def announcement(self) -> bytes | None:
        """The key material message that the peer has yet to confirm."""
        return self._announced

    def confirm(self, message: bytes) -> None:
        """The peer's answer to an announcement; an echo of it means that it has the key."""
        if message == self._announced:
            self._announced = None

    def _prepare(self) -> None:
        upcoming = EVEN if self._active == ODD else ODD
        self._send[upcoming] = PacketCipher(self._entropy(self._key_length), self._salt)
        self._next = upcoming
        self._announced = self._message(BOTH, self._send[EVEN].key + self._send[ODD].key)

    def _message(self, keys: int, plain: bytes) -> bytes:
        wrapped = aes_key_wrap(self._kek, plain)
        return KeyMaterial(keys, self._salt, self._key_length, wrapped).serialize()

    def _kek_for(self, material: KeyMaterial) -> bytes:
        # Deriving takes a millisecond of CPU: a renewal with the same salt must not pay for it.
        salt, key_length, kek = self._peer_kek
        if (material.salt, material.key_length) == (salt, key_length):
            return kek
        return derive_kek(self._passphrase, material.salt, material.key_length)
