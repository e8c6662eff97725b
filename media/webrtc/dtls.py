"""The server's side of a DTLS handshake for SRTP keys (RFC 5764, RFC 8827 §6.5), without I/O.

OpenSSL does the protocol through memory buffers. It keeps the time of retransmissions itself: its
timer starts when a flight is written, and `next_timer` only repeats what it says; so virtual time
can drive the limit of the handshake, but not a retransmission.

States: handshaking, connected, closed. The peer's certificate must fit one of the fingerprints of
its offer, otherwise no key is ever handed out. After the handshake the connection is kept for the
peer's closing alert, for our own, and for the case that our last flight was lost.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from OpenSSL import SSL

from configs.kernel.errors import PeerError
from media.webrtc.certificate import Certificate, Fingerprint
from media.webrtc.srtp import (
    SrtpKeys,
    SrtpProfile,
    keying_material_length,
    split_keying_material,
)

HANDSHAKE_TIMEOUT: Final = 10.0
MTU: Final = 1200
MAX_HANDSHAKE_BYTES: Final = 128 << 10
"""What a peer may send before it is connected; a handshake takes about 2 kB each time."""

_READ_SIZE: Final = 1 << 14
_RECORD_HEADER: Final = 13
_EXPORTER_LABEL: Final = b"EXTRACTOR-dtls_srtp"
_CIPHERS: Final = b":".join(
    (
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
        b"ECDHE-ECDSA-AES128-SHA",
        b"ECDHE-ECDSA-AES256-SHA",
    )
)


_PROFILES: Final = {
    b"SRTP_AEAD_AES_128_GCM": SrtpProfile.AEAD_AES_128_GCM,
    b"SRTP_AEAD_AES_256_GCM": SrtpProfile.AEAD_AES_256_GCM,
    b"SRTP_AES128_CM_SHA1_80": SrtpProfile.AES128_CM_SHA1_80,
}
"""OpenSSL's names of the profiles we take, best first (RFC 5764 §4.1.2, RFC 7714 §14.2)."""


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """The peer is who its offer said. `local` protects what we send, `remote` what it sends."""

    profile: SrtpProfile
    local: SrtpKeys
    remote: SrtpKeys


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The peer said goodbye."""


DtlsEvent: TypeAlias = HandshakeCompleted | ConnectionClosed


class DtlsState(Enum):
    HANDSHAKING = auto()
    CONNECTED = auto()
    CLOSED = auto()


def is_dtls(datagram: bytes) -> bool:
    """Whether the first byte says DTLS (RFC 7983 §7)."""
    return bool(datagram) and 20 <= datagram[0] <= 63


def server_context(certificate: Certificate) -> SSL.Context:
    """What all connections of a server share: its certificate and what it agrees to."""
    context = SSL.Context(SSL.DTLS_SERVER_METHOD)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.use_privatekey(certificate.key)
    context.use_certificate(certificate.certificate)
    context.set_cipher_list(_CIPHERS)
    context.set_tlsext_use_srtp(b":".join(_PROFILES))
    # Browsers sign their own certificates: which one it must be, the offer's fingerprint says.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept_any)
    return context


class DtlsServer:
    """One peer's handshake. Times are seconds of any monotonic clock."""

    def __init__(
        self, context: SSL.Context, fingerprints: Sequence[Fingerprint], *, now: float
    ) -> None:
        self._connection = SSL.Connection(context)
        self._connection.set_accept_state()
        self._connection.set_ciphertext_mtu(MTU)
        self._fingerprints = tuple(fingerprints)
        self._deadline = now + HANDSHAKE_TIMEOUT
        self._retransmit_at: float | None = None
        self._received = 0
        self._outgoing: deque[bytes] = deque()
        self._events: deque[DtlsEvent] = deque()
        self.state = DtlsState.HANDSHAKING

    def receive_datagram(self, data: bytes, *, now: float) -> None:
        """Takes a datagram. Raises `PeerError` when the handshake cannot come to a good end; an
        alert for the peer may then still lie in `data_to_send`."""
        if self.state is DtlsState.CLOSED or not data:
            return
        self._connection.bio_write(data)
        if self.state is DtlsState.HANDSHAKING:
            self._received += len(data)
            if self._received > MAX_HANDSHAKE_BYTES:
                self.state = DtlsState.CLOSED
                raise PeerError("DTLS handshake of too many bytes", code="dtls_failed")
            self._advance(now)
        else:
            self._read()
        self._collect()

    def next_timer(self) -> float | None:
        if self.state is not DtlsState.HANDSHAKING:
            return None
        if self._retransmit_at is None:
            return self._deadline
        return min(self._deadline, self._retransmit_at)

    def handle_timer(self, *, now: float) -> None:
        """Raises `PeerError` when the handshake takes too long."""
        if self.state is not DtlsState.HANDSHAKING:
            return
        if now >= self._deadline:
            self.state = DtlsState.CLOSED
            raise PeerError("DTLS handshake timed out", code="dtls_timeout")
        if self._retransmit_at is not None and now >= self._retransmit_at:
            try:
                self._connection.DTLSv1_handle_timeout()
            except SSL.Error as error:
                self._fail(error)
            self._schedule(now)
            self._collect()

    def close(self) -> None:
        """Leaves a closing alert in `data_to_send`, when there is anybody to tell."""
        if self.state is DtlsState.CONNECTED:
            self._say_goodbye()
        self.state = DtlsState.CLOSED

    def data_to_send(self) -> list[bytes]:
        """Datagrams of whole records, at most `MTU` bytes each."""
        datagrams = list(self._outgoing)
        self._outgoing.clear()
        return datagrams

    def next_event(self) -> DtlsEvent | None:
        return self._events.popleft() if self._events else None

    def _advance(self, now: float) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._schedule(now)
            return
        except SSL.Error as error:
            self._fail(error)
        self._complete()

    def _complete(self) -> None:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None or not any(f.matches(certificate) for f in self._fingerprints):
            self._say_goodbye()
            self.state = DtlsState.CLOSED
            raise PeerError("certificate does not fit the offer", code="dtls_fingerprint")
        profile = _PROFILES.get(self._connection.get_selected_srtp_profile())
        if profile is None:
            self._say_goodbye()
            self.state = DtlsState.CLOSED
            raise PeerError("no SRTP profile in common", code="dtls_no_profile")
        client, server = split_keying_material(
            profile,
            self._connection.export_keying_material(
                _EXPORTER_LABEL, keying_material_length(profile)
            ),
        )
        self.state = DtlsState.CONNECTED
        self._retransmit_at = None
        self._events.append(HandshakeCompleted(profile, local=server, remote=client))

    def _read(self) -> None:
        """Application data means nothing here; alerts and repeated flights do."""
        try:
            while True:
                self._connection.recv(_READ_SIZE)
        except SSL.WantReadError:
            return
        except SSL.Error:
            self.state = DtlsState.CLOSED
            self._events.append(ConnectionClosed())

    def _say_goodbye(self) -> None:
        with suppress(SSL.Error):  # Perhaps there is nobody left who would understand it.
            self._connection.shutdown()
        self._collect()

    def _fail(self, error: SSL.Error) -> None:
        self.state = DtlsState.CLOSED
        self._collect()
        raise PeerError(f"DTLS handshake failed: {_reason(error)}", code="dtls_failed") from error

    def _schedule(self, now: float) -> None:
        left = self._connection.DTLSv1_get_timeout()
        self._retransmit_at = None if left is None else now + left

    def _collect(self) -> None:
        """Cuts what OpenSSL wrote into datagrams, at the borders of records."""
        flight = b""
        try:
            while True:
                flight += self._connection.bio_read(_READ_SIZE)
        except SSL.WantReadError:
            pass
        start = end = 0
        while end < len(flight):
            size = _RECORD_HEADER + int.from_bytes(flight[end + 11 : end + 13], "big")
            if end > start and end + size - start > MTU:
                self._outgoing.append(flight[start:end])
                start = end
            end += size
        if start < end:
            self._outgoing.append(flight[start:end])


def _accept_any(*_: object) -> bool:
    return True


def _reason(error: SSL.Error) -> str:
    """OpenSSL's own words for the first thing that went wrong."""
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][0][-1])
    return type(error).__name__
