"""One viewer's transport, without I/O: ICE, then DTLS, then RTCP.

    checked ──► handshaking ──► connected ──► closed
       │             │
       └─────────────┴── ten seconds without success, or whatever the peer does wrong ──► closed

The DTLS connection is made when the first record comes from a path that passed a check, so that an
offer alone costs next to nothing. Answers to STUN and DTLS go back where the question came from;
everything else goes to the nominated path alone. A peer is *ready* when both are there: a nominated
path, and keys.

Once connected, nothing that arrives can end the session but the peer's own goodbye and its silence:
whoever can guess addresses could otherwise throw viewers out.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from OpenSSL import SSL

from configs.kernel.errors import PeerError
from media.rtp.packet import is_rtcp
from media.rtp.rtcp import RtcpPacket, parse_compound
from media.webrtc import stun
from media.webrtc.certificate import Fingerprint
from media.webrtc.dtls import ConnectionClosed, DtlsServer, HandshakeCompleted, is_dtls
from media.webrtc.ice import ConsentExpired, IceAgent, Path, PathSelected
from media.webrtc.srtp import SrtpProfile, SrtpSession

CONNECT_TIMEOUT: Final = 10.0
"""Seconds from the first authentic check to the end of the DTLS handshake."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Media may flow: keys are agreed upon and a path is nominated. Comes once."""

    session: SrtpSession


@dataclass(frozen=True, slots=True)
class PathChanged:
    """Where to send from now on; None while the last TCP connection is lost."""

    path: Path | None


@dataclass(frozen=True, slots=True)
class ControlReceived:
    """A compound of RTCP packets from the viewer."""

    packets: tuple[RtcpPacket, ...]


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The end, for a reason with a stable `code`. Comes last."""

    code: str
    reason: str


PeerEvent: TypeAlias = Ready | PathChanged | ControlReceived | PeerClosed


class Peer:
    """Times are seconds of any monotonic clock."""

    def __init__(
        self, ice: IceAgent, context: SSL.Context, fingerprints: Sequence[Fingerprint]
    ) -> None:
        self.ice = ice
        self._context = context
        self._fingerprints = tuple(fingerprints)
        self._dtls: DtlsServer | None = None
        self._dtls_path: Path | None = None
        self._connect_by: float | None = None
        self._session: SrtpSession | None = None
        self._ready = False
        self._closed = False
        self._outgoing: deque[tuple[Path, bytes]] = deque()
        self._events: deque[PeerEvent] = deque()
        self.discarded = 0
        """Datagrams that were malformed, forged, replayed, or made no sense."""

    @property
    def connected(self) -> bool:
        return self._session is not None

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def profile(self) -> SrtpProfile | None:
        return self._session.profile if self._session is not None else None

    def receive_check(self, message: stun.Message, path: Path, *, now: float) -> bool:
        """Takes a STUN message that names this peer; True when it was really from it."""
        if self._closed:
            return False
        authentic = self.ice.receive(message, path, now=now)
        self._outgoing.extend(self.ice.data_to_send())
        if authentic and self._connect_by is None:
            self._connect_by = now + CONNECT_TIMEOUT
        self._follow_ice()
        return authentic

    def receive_datagram(self, data: bytes, path: Path, *, now: float) -> None:
        """Takes a datagram that is no STUN message."""
        if self._closed or not self.ice.knows(path):
            self.discarded += 1
        elif is_dtls(data):
            self._receive_dtls(data, path, now)
        elif self._session is not None and is_rtcp(data):
            try:
                packets = parse_compound(self._session.unprotect_rtcp(data))
            except PeerError:
                self.discarded += 1
            else:
                self._events.append(ControlReceived(packets))
        else:
            self.discarded += 1

    def path_lost(self, path: Path) -> None:
        """A TCP connection closed."""
        was_selected = self.ice.selected == path
        self.ice.path_lost(path)
        if was_selected and not self._closed:
            self._events.append(PathChanged(None))

    def next_timer(self) -> float | None:
        if self._closed:
            return None
        deadlines = [self.ice.next_timer()]
        if self._session is None:
            deadlines.append(self._connect_by)
            if self._dtls is not None:
                deadlines.append(self._dtls.next_timer())
        return min((d for d in deadlines if d is not None), default=None)

    def handle_timer(self, *, now: float) -> None:
        if self._closed:
            return
        self.ice.handle_timer(now=now)
        self._follow_ice()
        if self._session is not None or self._closed:
            return
        if self._connect_by is not None and now >= self._connect_by:
            self._close("dtls_timeout", "DTLS handshake timed out")
        elif self._dtls is not None:
            try:
                self._dtls.handle_timer(now=now)
            except PeerError as error:
                self._close(error.code, str(error))
            self._flush_dtls()

    def close(self) -> None:
        """Ends it from our side; a DTLS goodbye may lie in `data_to_send`. No event follows."""
        if not self._closed:
            self._closed = True
            if self._dtls is not None:
                self._dtls.close()
                self._flush_dtls()

    def data_to_send(self) -> list[tuple[Path, bytes]]:
        """Datagrams, each with the path that it has to leave by."""
        outgoing = list(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def next_event(self) -> PeerEvent | None:
        return self._events.popleft() if self._events else None

    def _follow_ice(self) -> None:
        while (event := self.ice.next_event()) is not None:
            match event:
                case PathSelected(path):
                    self._events.append(PathChanged(path))
                    self._check_ready()
                case ConsentExpired(ever=True):
                    self._close("consent_expired", "the viewer fell silent")
                case ConsentExpired():
                    self._close("ice_timeout", "no connectivity check came")

    def _receive_dtls(self, data: bytes, path: Path, now: float) -> None:
        if self._dtls is None:
            self._dtls = DtlsServer(self._context, self._fingerprints, now=now)
        self._dtls_path = path
        try:
            self._dtls.receive_datagram(data, now=now)
        except PeerError as error:
            self._close(error.code, str(error))
        self._flush_dtls()
        while (event := self._dtls.next_event()) is not None:
            match event:
                case HandshakeCompleted(profile, local, remote):
                    self._session = SrtpSession(profile, local=local, remote=remote)
                    self._check_ready()
                case ConnectionClosed():
                    self._close("closed_by_viewer", "the viewer said goodbye")

    def _flush_dtls(self) -> None:
        if self._dtls is None:
            return
        path = self.ice.selected or self._dtls_path
        for datagram in self._dtls.data_to_send():
            if path is not None:
                self._outgoing.append((path, datagram))

    def _check_ready(self) -> None:
        if not self._ready and self._session is not None and self.ice.selected is not None:
            self._ready = True
            self._events.append(Ready(self._session))

    def _close(self, code: str, reason: str) -> None:
        self._closed = True
        self._events.append(PeerClosed(code, reason))
