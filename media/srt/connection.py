"""One established SRT connection without I/O: packets and `now` in, packets and events out.

Theory of operation. After the handshake both sides are equal; each has a receiving half
(`Receiver`: order, losses, delivery times) and a sending half (`Sender`: pacing, retransmission).
This class joins the two with what belongs to neither:

- ACK every 10 ms while there is something to acknowledge, and a light one every 64 packets; the
  peer's ACKACK gives the round-trip time and stops the repeats;
- NAK at once when a gap shows, and again every (RTT + 4 variances) / 2, at least 20 ms, until it
  is filled or given up;
- keep-alive after a second without sending, end after `idle_timeout_s` without receiving;
- key material messages, both ways.

A datagram that makes no sense is ignored: it may come from somebody else.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from configs.kernel.errors import PeerError
from media.srt.acks import ACK_S, NEVER, Acknowledger
from media.srt.crypto import STATE_BAD_SECRET, KeyRing
from media.srt.delivery import DeliveryClock
from media.srt.handshake import FLOW_WINDOW, ExtensionType
from media.srt.packets import (
    MAX_PAYLOAD,
    TIMESTAMP_MASK,
    Acknowledgement,
    ControlPacket,
    ControlType,
    DataPacket,
    pack_losses,
    pack_range,
    parse_losses,
    parse_range,
)
from media.srt.receiver import Delivery, Receiver
from media.srt.rtt import RoundTrip
from media.srt.sender import Sender

MIN_NAK_S: Final = 0.02
KEEPALIVE_S: Final = 1.0
KEY_CHANGE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Terms:
    """What a handshake agreed on. `arrived` is when the peer's handshake packet with
    `peer_timestamp` came; latencies are seconds."""

    local_id: int
    peer_id: int
    initial_sequence: int
    peer_window: int
    receive_latency: float
    send_latency: float
    arrived: float
    peer_timestamp: int
    idle_timeout_s: float


@dataclass(frozen=True, slots=True)
class PayloadDelivered:
    """Payloads whose time has come, joined; `dropped` packets before or within were given up."""

    payload: bytes
    dropped: int


@dataclass(frozen=True, slots=True)
class ConnectionEnded:
    """The last event of a connection."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Packets unless said otherwise; `rtt` in seconds."""

    received: int
    bytes_received: int
    lost: int
    dropped: int
    undecryptable: int
    sent: int
    retransmitted: int
    rtt: float


class Connection:
    """Both halves of a connection; `started` is the moment its timestamps count from."""

    def __init__(self, terms: Terms, *, keys: KeyRing | None, started: float, now: float) -> None:
        self._terms = terms
        self._keys = keys
        self._started = started
        self._clock = DeliveryClock(
            arrived=terms.arrived, timestamp=terms.peer_timestamp, latency=terms.receive_latency
        )
        self._receiver = Receiver(
            initial_sequence=terms.initial_sequence, window=FLOW_WINDOW, clock=self._clock
        )
        self._sender = Sender(
            initial_sequence=terms.initial_sequence,
            window=min(max(terms.peer_window, 32), FLOW_WINDOW),
            latency=terms.send_latency,
            destination=terms.peer_id,
            encrypt=keys.encrypt if keys is not None else None,
            timestamp=self.timestamp,
        )
        self._rtt = RoundTrip()
        self._acks = Acknowledger(self._receiver, self._rtt, now=now)
        self._out: deque[bytes] = deque()
        self._events: deque[PayloadDelivered | ConnectionEnded] = deque()
        self._last_received = now
        self._last_sent = now
        self._nak_at = NEVER
        self._key_at = NEVER
        self._key_changed = now - KEY_CHANGE_S
        self.undecryptable = 0
        self.closed = False

    def timestamp(self, now: float) -> int:
        return int((now - self._started) * 1e6) & TIMESTAMP_MASK

    @property
    def stats(self) -> ConnectionStats:
        receiver, sender = self._receiver, self._sender
        return ConnectionStats(
            receiver.received,
            receiver.bytes_received,
            receiver.lost,
            receiver.dropped,
            self.undecryptable,
            sender.sent,
            sender.retransmitted,
            self._rtt.mean,
        )

    # The verbs

    def receive(self, packet: DataPacket | ControlPacket, *, now: float) -> None:
        """A packet from the peer's address, addressed to our socket id."""
        if self.closed:
            return
        self._last_received = now
        if isinstance(packet, DataPacket):
            self._receive_data(packet, now)
            return
        handler = _HANDLERS.get(packet.kind)
        if handler is None:
            return
        try:
            handler(self, packet, now)
        except PeerError:
            return

    def next_timer(self) -> float | None:
        if self.closed:
            return None
        deadline = min(
            self._last_received + self._terms.idle_timeout_s,
            self._last_sent + KEEPALIVE_S,
            self._acks.due,
            self._nak_at,
            self._key_at,
        )
        due = self._receiver.next_due()
        if due is not None and due < deadline:
            deadline = due
        sending = self._sender.next_timer(probe_after=self._probe_after)
        return deadline if sending is None else min(deadline, sending)

    def handle_timer(self, *, now: float) -> None:
        if self.closed:
            return
        if now >= self._last_received + self._terms.idle_timeout_s:
            self._end("peer went silent")
            return
        self._deliver(self._receiver.take_due(now=now))
        if now >= self._acks.due:
            self._send_ack(now)
        if now >= self._nak_at:
            self._send_periodic_nak(now)
        self._send_due(now)
        if now >= self._key_at:
            self._announce_key(now)
        if now >= self._last_sent + KEEPALIVE_S:
            self._control(ControlType.KEEPALIVE, now)

    def send(self, payload: bytes, *, now: float) -> None:
        """Queues a payload of at most `MAX_PAYLOAD` bytes as one packet."""
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"payload of {len(payload)} bytes")
        if not self.closed:
            self._sender.queue(payload)
            self._send_due(now)

    def close(self, reason: str, *, now: float) -> None:
        """Tells the peer; what it had sent and was not yet due is delivered first."""
        if not self.closed:
            self._control(ControlType.SHUTDOWN, now)
            self._end(reason)

    def data_to_send(self) -> Iterable[bytes]:
        while self._out:
            yield self._out.popleft()

    def next_event(self) -> PayloadDelivered | ConnectionEnded | None:
        return self._events.popleft() if self._events else None

    # Receiving

    def _receive_data(self, packet: DataPacket, now: float) -> None:
        receiver = self._receiver
        receiver.store(packet, now=now)
        self._acks.changed(now=now)
        losses = receiver.fresh_losses(now=now)
        if losses:
            self._control(ControlType.NAK, now, body=pack_losses(losses))
        if self._nak_at == NEVER and receiver.missing:
            self._nak_at = now + self._nak_interval
        light = self._acks.light()
        if light is not None:
            self._control(ControlType.ACK, now, body=light.serialize())

    def _deliver(self, deliveries: Iterable[Delivery]) -> None:
        payloads: list[bytes] = []
        dropped = 0
        for delivery in deliveries:
            dropped += delivery.dropped
            payload = self._plain(delivery.packet)
            if payload is None:
                self.undecryptable += 1
                dropped += 1
            else:
                payloads.append(payload)
        if payloads or dropped:
            self._events.append(PayloadDelivered(b"".join(payloads), dropped))

    def _plain(self, packet: DataPacket) -> bytes | None:
        """Decrypted only now, so that a late key still serves what waited for it."""
        if self._keys is None:
            return packet.payload if not packet.key else None
        if not packet.key:
            return None
        return self._keys.decrypt(packet.key, packet.sequence, packet.payload)

    def _send_ack(self, now: float) -> None:
        acknowledgement = self._acks.full(now=now)
        if acknowledgement is not None:
            number, body = acknowledgement
            self._control(ControlType.ACK, now, info=number, body=body.serialize())

    @property
    def _nak_interval(self) -> float:
        # The standard's interval, except that an unsteady round trip must not make us ask so
        # seldom that the latency is over before the answer had a fair number of chances.
        latest = max(self._rtt.mean / 2, self._terms.receive_latency / 8, MIN_NAK_S)
        return min(max(self._rtt.span / 2, MIN_NAK_S), latest)

    def _send_periodic_nak(self, now: float) -> None:
        if not self._receiver.missing:
            self._nak_at = NEVER
            return
        interval = self._nak_interval
        losses = self._receiver.stale_losses(now=now, older_than=interval * 0.9)
        if losses:
            self._control(ControlType.NAK, now, body=pack_losses(losses))
        self._nak_at = now + interval

    # Control packets from the peer

    def _on_ack(self, packet: ControlPacket, now: float) -> None:
        acknowledgement = Acknowledgement.parse(packet.body)
        self._sender.acknowledge(acknowledgement.sequence)
        if packet.info and acknowledgement.full:
            self._control(ControlType.ACKACK, now, info=packet.info)
            if self._sender.sent:
                self._rtt.sample(min(acknowledgement.rtt * 1e-6, 10.0))
        self._send_due(now)

    def _on_ackack(self, packet: ControlPacket, now: float) -> None:
        sample = self._acks.answered(packet.info, now=now)
        if sample is not None:
            self._clock.observe(packet.timestamp, rtt=sample, now=now)

    def _on_nak(self, packet: ControlPacket, now: float) -> None:
        losses = parse_losses(packet.body)
        interval = max(self._rtt.mean / 2, ACK_S)
        packets, gone = self._sender.retransmit(losses, now=now, interval=interval)
        self._transmit(packets, now)
        for first, last in gone:
            self._control(ControlType.DROPREQ, now, body=pack_range(first, last))

    def _on_drop_request(self, packet: ControlPacket, now: float) -> None:
        self._receiver.forget(*parse_range(packet.body))
        self._acks.changed(now=now)

    def _on_shutdown(self, packet: ControlPacket, now: float) -> None:
        self._end("peer closed the connection")

    def _on_key_material(self, packet: ControlPacket, now: float) -> None:
        if self._keys is None:
            return
        if packet.subtype == ExtensionType.KMRSP:
            self._keys.confirm(packet.body)
            self._key_at = NEVER if self._keys.announcement is None else self._key_at
        elif packet.subtype == ExtensionType.KMREQ and now >= self._key_changed + KEY_CHANGE_S:
            # At most so often: deriving a key is the one dear thing that a peer can ask for.
            self._key_changed = now
            answer = packet.body
            try:
                self._keys.load(packet.body)
            except PeerError:
                answer = STATE_BAD_SECRET
            self._control(ControlType.USER, now, body=answer, subtype=ExtensionType.KMRSP)

    # Sending

    def _send_due(self, now: float) -> None:
        packets = self._sender.transmit(now=now, probe_after=self._probe_after)
        self._transmit(packets, now)
        if self._key_at == NEVER and self._keys is not None and self._keys.announcement:
            self._announce_key(now)

    @property
    def _probe_after(self) -> float:
        return self._rtt.span + 2 * ACK_S

    def _announce_key(self, now: float) -> None:
        announcement = self._keys.announcement if self._keys is not None else None
        if announcement is None:
            self._key_at = NEVER
            return
        self._control(ControlType.USER, now, body=announcement, subtype=ExtensionType.KMREQ)
        self._key_at = now + max(self._rtt.span * 1.5, KEY_CHANGE_S * 2)

    def _transmit(self, packets: Iterable[DataPacket], now: float) -> None:
        for packet in packets:
            self._out.append(packet.serialize())
            self._last_sent = now

    def _control(
        self,
        kind: ControlType,
        now: float,
        *,
        info: int = 0,
        body: bytes = b"",
        subtype: int = 0,
    ) -> None:
        packet = ControlPacket(kind, self.timestamp(now), self._terms.peer_id, info, body, subtype)
        self._out.append(packet.serialize())
        self._last_sent = now

    def _end(self, reason: str) -> None:
        self._deliver(self._receiver.take_all())
        self.closed = True
        self._events.append(ConnectionEnded(reason))


_Handler = Callable[[Connection, ControlPacket, float], None]
_HANDLERS: Final[dict[ControlType, _Handler]] = {
    ControlType.ACK: Connection._on_ack,
    ControlType.NAK: Connection._on_nak,
    ControlType.ACKACK: Connection._on_ackack,
    ControlType.DROPREQ: Connection._on_drop_request,
    ControlType.SHUTDOWN: Connection._on_shutdown,
    ControlType.USER: Connection._on_key_material,
}
