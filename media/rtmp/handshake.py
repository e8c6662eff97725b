"""The opening of an RTMP connection (RTMP 1.0, section 5.2), and its variant signed with digests.

The plain handshake is an exchange of 1536 random bytes that each side sends back. Encoders built on
Adobe's player (ffmpeg among them) hide an HMAC-SHA256 in theirs and want a signed answer; a client
that put zeros where the specification wants them gets the plain one. The digest sits in one of two
places, which is all that the two schemas differ in.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from configs.kernel.errors import PeerError

VERSION: Final = 3
SIZE: Final = 1536
DIGEST_SIZE: Final = 32

_CONSTANT: Final = bytes.fromhex("f0eec24a8068bee82e00d0d1029e7e576eec5d2d29806fab93b8e636cfeb31ae")
CLIENT_KEY: Final = b"Genuine Adobe Flash Player 001"
SERVER_KEY: Final = b"Genuine Adobe Flash Media Server 001"
# These are printed in every implementation: they tell the sides apart and keep nothing secret.
CLIENT_ANSWER_KEY: Final = CLIENT_KEY + _CONSTANT
SERVER_ANSWER_KEY: Final = SERVER_KEY + _CONSTANT


class Schema(Enum):
    """Where the digest is: the value is the place of the four bytes whose sum says so."""

    KEY_FIRST = 772
    DIGEST_FIRST = 8

    def digest_at(self, packet: bytes) -> int:
        base = self.value
        return sum(packet[base : base + 4]) % 728 + base + 4


def sign(packet: bytes, schema: Schema, key: bytes) -> bytes:
    """The packet with its digest in place."""
    at = schema.digest_at(packet)
    rest = packet[:at] + packet[at + DIGEST_SIZE :]
    digest = hmac.digest(key, rest, hashlib.sha256)
    return packet[:at] + digest + packet[at + DIGEST_SIZE :]


def find_digest(packet: bytes, key: bytes) -> tuple[Schema, bytes] | None:
    """The schema that the packet was signed after and its digest; None when it is not signed."""
    for schema in Schema:
        at = schema.digest_at(packet)
        if sign(packet, schema, key) == packet:
            return schema, packet[at : at + DIGEST_SIZE]
    return None


def answer(digest: bytes, filling: bytes, key: bytes) -> bytes:
    """The second packet of a signed handshake: `filling` and the proof that `digest` was seen."""
    body = filling[: SIZE - DIGEST_SIZE]
    proof = hmac.digest(hmac.digest(key, digest, hashlib.sha256), body, hashlib.sha256)
    return body + proof


class _Step(Enum):
    AWAIT_FIRST = auto()
    AWAIT_SECOND = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class Rest:
    """The handshake is over; `data` came behind it and belongs to the chunk stream."""

    data: bytes


class ServerHandshake:
    """The server's side. `entropy(n)` gives n random bytes."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._step = _Step.AWAIT_FIRST
        self.schema: Schema | None = None

    def receive(self, data: bytes) -> Rest | None:
        """Raises `PeerError` when this is no RTMP of a version we speak."""
        self._buffer += data
        if self._buffer and self._step is _Step.AWAIT_FIRST and self._buffer[0] != VERSION:
            raise PeerError("not an RTMP handshake", code="handshake_version")
        if self._step is _Step.AWAIT_FIRST and len(self._buffer) > SIZE:
            self._answer(bytes(self._buffer[1 : 1 + SIZE]))
            del self._buffer[: 1 + SIZE]
            self._step = _Step.AWAIT_SECOND
        if self._step is _Step.AWAIT_SECOND and len(self._buffer) >= SIZE:
            # What it says is not checked: several encoders send back something of their own.
            self._step = _Step.DONE
            return Rest(bytes(self._buffer[SIZE:]))
        return None

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _answer(self, first: bytes) -> None:
        ours = bytes(8) + self._entropy(SIZE - 8)
        signed = find_digest(first, CLIENT_KEY) if first[4:8] != bytes(4) else None
        if signed is None:
            self._out += [bytes((VERSION,)), ours, first]
            return
        self.schema, digest = signed
        # The version field must not be zero, or the client takes the answer for a plain one.
        ours = bytes(4) + b"\x04\x05\x00\x01" + ours[8:]
        self._out += [
            bytes((VERSION,)),
            sign(ours, self.schema, SERVER_KEY),
            answer(digest, self._entropy(SIZE), SERVER_ANSWER_KEY),
        ]


class ClientHandshake:
    """The publisher's side, plain or (with `schema`) signed."""

    def __init__(self, entropy: Callable[[int], bytes], *, schema: Schema | None = None) -> None:
        first = bytes(8) + entropy(SIZE - 8)
        if schema is not None:
            first = sign(bytes(4) + b"\x80\x00\x07\x02" + first[8:], schema, CLIENT_KEY)
        self._first = first
        self._schema = schema
        self._entropy = entropy
        self._buffer = bytearray()
        self._out = [bytes((VERSION,)), first]

    def receive(self, data: bytes) -> Rest | None:
        """Raises `PeerError` for an answer that does not fit."""
        self._buffer += data
        if len(self._buffer) < 1 + 2 * SIZE:
            return None
        server_first = bytes(self._buffer[1 : 1 + SIZE])
        server_second = bytes(self._buffer[1 + SIZE : 1 + 2 * SIZE])
        if self._schema is None:
            self._out.append(server_first)
            accepted = server_second == self._first
        else:
            accepted = self._check_signed(self._schema, server_first, server_second)
        if self._buffer[0] != VERSION or not accepted:
            raise PeerError("the server's answer does not fit", code="handshake_answer")
        return Rest(bytes(self._buffer[1 + 2 * SIZE :]))

    def data_to_send(self) -> bytes:
        data = b"".join(self._out)
        self._out.clear()
        return data

    def _check_signed(self, schema: Schema, server_first: bytes, server_second: bytes) -> bool:
        at = schema.digest_at(self._first)
        expected = answer(
            self._first[at : at + DIGEST_SIZE], server_second[:-DIGEST_SIZE], SERVER_ANSWER_KEY
        )
        signed = find_digest(server_first, SERVER_KEY)
        if signed is None or signed[0] is not schema:
            return False
        self._out.append(answer(signed[1], self._entropy(SIZE), CLIENT_ANSWER_KEY))
        return server_second == expected
