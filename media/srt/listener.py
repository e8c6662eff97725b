"""The listening side of SRT without I/O: one UDP port, many callers.

`Admission` is how callers come in; an accepted one becomes a `Connection`. A datagram for a
connection has to come from the caller's address and carry our random socket id: any other is
ignored, whatever it says.
"""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

from configs.kernel.errors import PeerError
from media.srt.admission import (
    Address,
    Admission,
    Caller,
    CallerRefused,
    ConnectionRequested,
    Pending,
)
from media.srt.connection import Connection, ConnectionStats, PayloadDelivered, Terms
from media.srt.crypto import REFRESH_PACKETS, Entropy
from media.srt.handshake import (
    CONCLUSION,
    INDUCTION,
    LIVE,
    VERSION,
    Capabilities,
    ExtensionType,
    Handshake,
    Rejection,
    encode_ip,
    extension_flags,
)
from media.srt.packets import ControlPacket, ControlType, DataPacket, parse

CLOSED_FOR_S: Final = 5.0
CLOSED_ANSWER_S: Final = 0.1
MAX_CLOSED: Final = 1024
IDLE: Final = float("inf")


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """`latency_s` holds for both directions unless the peer asks for more; a key of ours encrypts
    `key_refresh_packets` before the next one."""

    latency_s: float = 0.12
    idle_timeout_s: float = 4.5
    half_open_s: float = 10.0
    max_half_open_per_address: int = 16
    max_half_open: int = 512
    max_connections: int = 1000
    key_refresh_packets: int = REFRESH_PACKETS


@dataclass(frozen=True, slots=True)
class ConnectionPayload:
    """Payloads that are due, joined; `dropped` packets before or within them were given up."""

    connection: int
    payload: bytes
    dropped: int


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """The last that is heard of a connection."""

    connection: int
    reason: str


ListenerEvent = ConnectionRequested | CallerRefused | ConnectionPayload | ConnectionClosed


@dataclass(slots=True)
class _Established:
    connection: Connection
    caller: Caller
    response: Handshake
    due: float = IDLE


@dataclass(slots=True)
class _Closed:
    """A connection that is over, whose caller may not have heard."""

    caller: Caller
    answered: float
    until: float


class Listener:
    """Demultiplexes one port; `entropy` gives socket ids and the cookies' secret."""

    def __init__(
        self, config: ListenerConfig | None = None, *, entropy: Entropy = os.urandom
    ) -> None:
        self._config = config or ListenerConfig()
        self._entropy = entropy
        self._connections: dict[int, _Established] = {}
        self._callers: dict[Caller, int] = {}
        self._closed: dict[int, _Closed] = {}
        self._left: dict[Caller, float] = {}
        self._timers: list[tuple[float, int]] = []
        self._out: deque[tuple[bytes, Address]] = deque()
        self._events: deque[ListenerEvent] = deque()
        self._admission = Admission(
            half_open_s=self._config.half_open_s,
            max_per_address=self._config.max_half_open_per_address,
            max_half_open=self._config.max_half_open,
            own_id=self._new_id(),
            key_refresh_packets=self._config.key_refresh_packets,
            entropy=entropy,
        )
        self.ignored = 0

    # The verbs

    def receive_datagram(self, data: bytes, address: Address, *, now: float) -> None:
        """Any datagram from anywhere; what makes no sense is counted in `ignored`."""
        try:
            packet = parse(data)
            if packet.destination == 0:
                self._receive_handshake(packet, address, now)
                return
        except PeerError:
            self.ignored += 1
            return
        established = self._connections.get(packet.destination)
        if established is None:
            self._receive_stray(packet.destination, address, now)
        elif established.caller[0] != address:
            self.ignored += 1
        else:
            established.connection.receive(packet, now=now)
            self._collect(packet.destination, established, now)

    def next_timer(self) -> float | None:
        deadline = self._admission.next_timer()
        if not self._timers:
            return deadline
        due = self._timers[0][0]
        return due if deadline is None else min(deadline, due)

    def handle_timer(self, *, now: float) -> None:
        self._events.extend(self._admission.handle_timer(now=now))
        while self._timers and self._timers[0][0] <= now:
            due, local_id = heappop(self._timers)
            established = self._connections.get(local_id)
            if established is None or established.due != due:
                continue
            established.due = IDLE
            established.connection.handle_timer(now=now)
            self._collect(local_id, established, now)
        while self._closed:
            local_id, closed = next(iter(self._closed.items()))
            if now < closed.until:
                break
            self._forget(local_id)

    def datagrams_to_send(self) -> Iterable[tuple[bytes, Address]]:
        yield from self._admission.datagrams_to_send()
        while self._out:
            yield self._out.popleft()

    def next_event(self) -> ListenerEvent | None:
        return self._events.popleft() if self._events else None

    # Commands of the shell

    def authorize(self, request: int, passphrase: str | None, *, now: float) -> bool:
        """Whether the caller has this passphrase (None: it must not encrypt). False when it has
        not, and then it is rejected with BADSECRET or UNSECURE, or when it no longer waits."""
        return self._admission.authorize(request, passphrase, now=now)

    def accept(self, request: int, *, now: float) -> int:
        """Establishes an authorized request and gives the connection's number; KeyError when the
        caller no longer waits."""
        pending = self._admission.admit(request)
        terms = self._terms(pending)
        connection = Connection(terms, keys=pending.keys, started=now, now=now)
        established = _Established(connection, pending.caller, _response(pending, terms))
        self._connections[terms.local_id] = established
        self._callers[pending.caller] = terms.local_id
        self._answer(established, now)
        self._schedule(terms.local_id, established)
        return terms.local_id

    def reject(self, request: int, code: Rejection, *, now: float) -> None:
        self._admission.refuse(request, code, now=now)

    def send(self, connection: int, payload: bytes, *, now: float) -> None:
        """Queues one packet's payload; does nothing for a connection that is over."""
        established = self._connections.get(connection)
        if established is not None:
            established.connection.send(payload, now=now)
            self._collect(connection, established, now)

    def close(self, connection: int, reason: str, *, now: float) -> None:
        """Shuts a connection down; `ConnectionClosed` follows."""
        established = self._connections.get(connection)
        if established is not None:
            established.connection.close(reason, now=now)
            self._collect(connection, established, now)

    def close_all(self, reason: str, *, now: float) -> None:
        self._admission.refuse_all(Rejection.CLOSE, now=now)
        for connection in tuple(self._connections):
            self.close(connection, reason, now=now)

    def stats(self, connection: int) -> ConnectionStats | None:
        established = self._connections.get(connection)
        return established.connection.stats if established is not None else None

    @property
    def half_open(self) -> int:
        return self._admission.half_open

    def is_waiting(self, request: int) -> bool:
        """Whether this request has been neither accepted nor refused."""
        return self._admission.is_pending(request)

    # Handshake

    def _receive_handshake(
        self, packet: DataPacket | ControlPacket, address: Address, now: float
    ) -> None:
        if not isinstance(packet, ControlPacket) or packet.kind is not ControlType.HANDSHAKE:
            raise PeerError("no handshake")
        handshake = Handshake.parse(packet.body)
        if handshake.kind == INDUCTION:
            self._admission.answer_induction(handshake, address, now=now)
            return
        if handshake.kind != CONCLUSION:
            raise PeerError("handshake of another kind")
        caller = (address, handshake.socket_id)
        local_id = self._callers.get(caller)
        if local_id is not None:
            self._answer(self._connections[local_id], now)
            return
        if now < self._left.get(caller, now):
            # A copy of the conclusion that was late, or is played back: its connection is over.
            self.ignored += 1
            return
        full = len(self._connections) + self.half_open >= self._config.max_connections
        event = self._admission.conclude(handshake, packet.timestamp, caller, full=full, now=now)
        if event is not None:
            self._events.append(event)

    def _terms(self, pending: Pending) -> Terms:
        asked = pending.capabilities
        return Terms(
            local_id=self._new_id(),
            peer_id=pending.handshake.socket_id,
            initial_sequence=pending.handshake.initial_sequence,
            peer_window=pending.handshake.flow_window,
            receive_latency=max(self._config.latency_s, asked.sender_delay / 1000),
            send_latency=max(self._config.latency_s, asked.receiver_delay / 1000),
            arrived=pending.arrived,
            peer_timestamp=pending.timestamp,
            idle_timeout_s=self._config.idle_timeout_s,
        )

    def _answer(self, established: _Established, now: float) -> None:
        address, peer_id = established.caller
        packet = ControlPacket(
            ControlType.HANDSHAKE,
            established.connection.timestamp(now),
            peer_id,
            body=established.response.serialize(),
        )
        self._out.append((packet.serialize(), address))

    # Bookkeeping

    def _receive_stray(self, local_id: int, address: Address, now: float) -> None:
        closed = self._closed.get(local_id)
        if closed is None or closed.caller[0] != address:
            self.ignored += 1
        elif now >= closed.answered + CLOSED_ANSWER_S:
            closed.answered = now
            packet = ControlPacket(ControlType.SHUTDOWN, 0, closed.caller[1])
            self._out.append((packet.serialize(), address))

    def _collect(self, local_id: int, established: _Established, now: float) -> None:
        connection, address = established.connection, established.caller[0]
        for datagram in connection.data_to_send():
            self._out.append((datagram, address))
        while (event := connection.next_event()) is not None:
            if isinstance(event, PayloadDelivered):
                self._events.append(ConnectionPayload(local_id, event.payload, event.dropped))
            else:
                self._events.append(ConnectionClosed(local_id, event.reason))
        if connection.closed:
            self._remove(local_id, established, now)
        else:
            self._schedule(local_id, established)

    def _schedule(self, local_id: int, established: _Established) -> None:
        # An entry that turns out too early costs one idle call; only an earlier one is needed anew.
        due = established.connection.next_timer()
        if due is not None and due < established.due:
            established.due = due
            heappush(self._timers, (due, local_id))

    def _remove(self, local_id: int, established: _Established, now: float) -> None:
        del self._connections[local_id]
        del self._callers[established.caller]
        if len(self._closed) >= MAX_CLOSED:
            self._forget(next(iter(self._closed)))
        self._closed[local_id] = _Closed(established.caller, now, now + CLOSED_FOR_S)
        self._left[established.caller] = now + CLOSED_FOR_S

    def _forget(self, closed: int) -> None:
        self._left.pop(self._closed.pop(closed).caller, None)

    def _new_id(self) -> int:
        while True:
            local_id = int.from_bytes(self._entropy(4), "big") & 0x3FFF_FFFF
            if local_id and local_id not in self._connections and local_id not in self._closed:
                return local_id


def _response(pending: Pending, terms: Terms) -> Handshake:
    """The conclusion that tells the caller that it is connected."""
    capabilities = Capabilities(
        VERSION,
        LIVE,
        min(int(terms.receive_latency * 1000), 0xFFFF),
        min(int(terms.send_latency * 1000), 0xFFFF),
    )
    extensions = {ExtensionType.HSRSP: capabilities.serialize()}
    if pending.keys is not None:
        extensions[ExtensionType.KMRSP] = pending.handshake.extensions[ExtensionType.KMREQ]
    return Handshake(
        version=5,
        kind=CONCLUSION,
        socket_id=terms.local_id,
        initial_sequence=terms.initial_sequence,
        encryption=pending.handshake.encryption,
        flags=extension_flags(extensions),
        peer_ip=encode_ip(pending.caller[0][0]),
        extensions=extensions,
    )
