"""Tells the datagrams of the one port apart, and hands them to the viewers they are for.

A datagram's first byte says what it is (RFC 7983). STUN names its peer by ufrag, and once a check
was authentic its source address is that peer's, so that DTLS and RTCP from there find it. Whatever
fits nobody is dropped and counted, never logged: anybody can send it, as fast as the line allows.
"""

from dataclasses import dataclass
from typing import Protocol

from configs.kernel.errors import PeerError
from media.rtp.udp import Address, DatagramSink
from media.webrtc import stun
from media.webrtc.half_open import HalfOpen
from media.webrtc.ice import MAX_PATHS, Path, ufrag_of
from media.webrtc.udp_port import UdpPort, UdpSocket


class Receiver(Protocol):
    """A viewer as the endpoint knows it."""

    @property
    def connected(self) -> bool: ...

    def receive_check(self, message: stun.Message, path: Path) -> bool: ...

    def receive_datagram(self, data: bytes, path: Path) -> None: ...

    def path_lost(self, path: Path) -> None: ...


@dataclass(slots=True)
class EndpointStats:
    """Datagrams since the start: received, for nobody, malformed STUN, and checks that were refused
    since their address has too many handshakes under way."""

    received: int = 0
    unknown: int = 0
    malformed: int = 0
    crowded: int = 0


class Endpoint:
    """Demultiplexes for UDP and for the TCP connections that its owner adds."""

    def __init__(self, half_open: HalfOpen) -> None:
        self.stats = EndpointStats()
        self._half_open = half_open
        self._by_ufrag: dict[str, Receiver] = {}
        self._by_path: dict[Path, Receiver] = {}
        self._ufrags: dict[Receiver, list[str]] = {}
        self._paths: dict[Receiver, dict[Path, None]] = {}
        self._streams: dict[str, DatagramSink] = {}
        self._udp: UdpPort | None = None

    def open(self, udp: UdpPort) -> None:
        """Takes the port that UDP paths are reached by."""
        self._udp = udp

    # Who is here

    def register(self, ufrag: str, receiver: Receiver) -> None:
        """From now on checks with this local fragment are for `receiver`, as are those with the one
        before: an ICE restart goes on with both for a while."""
        self._by_ufrag[ufrag] = receiver
        self._paths.setdefault(receiver, {})
        own = self._ufrags.setdefault(receiver, [])
        own.append(ufrag)
        if len(own) > 2:
            self._by_ufrag.pop(own.pop(0), None)

    def unregister(self, receiver: Receiver) -> None:
        """Forgets everything that led to it."""
        for ufrag in self._ufrags.pop(receiver, ()):
            self._by_ufrag.pop(ufrag, None)
        for path in self._paths.pop(receiver, {}):
            self._forget(path, receiver)

    @property
    def paths(self) -> int:
        """Addresses that are known to be somebody's."""
        return len(self._by_path)

    @property
    def registered(self) -> int:
        """Local fragments that checks may name."""
        return len(self._by_ufrag)

    def sink(self, path: Path) -> tuple[Address, DatagramSink] | None:
        """How to send to a path; None when it is a TCP connection that is gone."""
        if path.transport != "udp":
            stream = self._streams.get(path.transport)
            return ((path.host, path.port), stream) if stream is not None else None
        opened = self._udp_socket(path)
        return (path.address, opened.sender) if opened is not None else None

    # TCP

    def add_stream(self, path: Path, sink: DatagramSink) -> None:
        """A TCP connection that frames datagrams; its `path.transport` is its name."""
        self._streams[path.transport] = sink

    def remove_stream(self, path: Path) -> None:
        self._streams.pop(path.transport, None)
        receiver = self._by_path.get(path)
        if receiver is not None:
            self._forget(path, receiver)
            self._paths.get(receiver, {}).pop(path, None)
            receiver.path_lost(path)

    def owns(self, path: Path) -> bool:
        """Whether an authentic check came from there."""
        return path in self._by_path

    # What arrives

    def receive(self, data: bytes, path: Path) -> None:
        """One datagram from wherever."""
        self.stats.received += 1
        if stun.is_stun(data):
            self._check(data, path)
            return
        receiver = self._by_path.get(path)
        if receiver is None:
            self.stats.unknown += 1
        else:
            receiver.receive_datagram(data, path)

    def _check(self, data: bytes, path: Path) -> None:
        try:
            message = stun.parse(data)
        except PeerError:
            self.stats.malformed += 1
            return
        ufrag = ufrag_of(message)
        receiver = self._by_ufrag.get(ufrag) if ufrag is not None else None
        if receiver is None or ufrag is None:
            self.stats.unknown += 1
            return
        if not receiver.connected and not self._half_open.admits(path.host, receiver):
            self.stats.crowded += 1
            return
        if receiver.receive_check(message, path) and receiver in self._paths:
            if not receiver.connected:
                self._half_open.enter(path.host, receiver)
            if self._by_path.get(path) is not receiver:
                self._own(path, receiver)

    def _own(self, path: Path, receiver: Receiver) -> None:
        former = self._by_path.get(path)
        if former is not None:
            self._paths.get(former, {}).pop(path, None)
        own = self._paths[receiver]
        if len(own) >= 2 * MAX_PATHS:
            oldest = next(iter(own))
            del own[oldest]
            self._forget(oldest, receiver)
        own[path] = None
        self._by_path[path] = receiver
        opened = self._udp_socket(path)
        if opened is not None:
            opened.remember(path)

    def _forget(self, path: Path, receiver: Receiver) -> None:
        if self._by_path.get(path) is receiver:
            del self._by_path[path]
            opened = self._udp_socket(path)
            if opened is not None:
                opened.forget(path)

    def _udp_socket(self, path: Path) -> UdpSocket | None:
        if self._udp is None or path.transport != "udp":
            return None
        return self._udp.socket_of(path)
