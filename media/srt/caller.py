"""The calling side of SRT without I/O: for the demo, benchmarks and tests (section 4.3.1)."""

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from configs.kernel.errors import PeerError
from media.srt.connection import Connection, ConnectionEnded, PayloadDelivered, Terms
from media.srt.crypto import REFRESH_PACKETS, Entropy, KeyRing
from media.srt.handshake import (
    CONCLUSION,
    INDUCTION,
    LIVE,
    MAGIC,
    VERSION,
    Capabilities,
    ExtensionType,
    Handshake,
    Rejection,
    encode_text,
    extension_flags,
)
from media.srt.packets import TIMESTAMP_MASK, ControlPacket, ControlType, DataPacket, parse

REPEAT_S: Final = 0.25
IDLE_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class CallerConfig:
    """`key_length` in bytes counts only with a passphrase; the key is renewed after
    `refresh_packets`."""

    stream_id: str = ""
    passphrase: str | None = None
    key_length: int = 16
    latency_s: float = 0.12
    connect_timeout_s: float = 3.0
    initial_sequence: int | None = None
    refresh_packets: int = REFRESH_PACKETS


@dataclass(frozen=True, slots=True)
class Connected:
    """The listener accepted."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The listener, or nobody in time; `code` is a `Rejection` or a number of the listener's."""

    code: int


CallerEvent = Connected | Refused | PayloadDelivered | ConnectionEnded


class CallerConnection:
    """Calls at once; after `Connected`, `send` takes payloads of one packet each."""

    def __init__(self, config: CallerConfig, *, now: float, entropy: Entropy = os.urandom) -> None:
        self._config = config
        self._started = now
        self._socket_id = int.from_bytes(entropy(4), "big") & 0x3FFF_FFFF | 1
        sequence = config.initial_sequence
        if sequence is None:
            sequence = int.from_bytes(entropy(4), "big") & 0x7FFF_FFFF
        self._sequence = sequence
        self._keys: KeyRing | None = None
        self._key_message = b""
        if config.passphrase is not None:
            self._keys = KeyRing(
                config.passphrase,
                refresh_packets=config.refresh_packets,
                entropy=entropy,
            )
            self._key_message = self._keys.generate(config.key_length)
        self._question = self._induction()
        self._repeat_at = now
        self._out: deque[bytes] = deque()
        self._events: deque[CallerEvent] = deque()
        self.connection: Connection | None = None
        self.refused = False
        self.handle_timer(now=now)

    def receive_datagram(self, data: bytes, *, now: float) -> None:
        try:
            packet = parse(data)
            if packet.destination != self._socket_id or self.refused:
                return
            if self.connection is not None:
                self.connection.receive(packet, now=now)
            else:
                self._receive_handshake(packet, now)
        except PeerError:
            return

    def next_timer(self) -> float | None:
        if self.connection is not None:
            return self.connection.next_timer()
        return None if self.refused else self._repeat_at

    def handle_timer(self, *, now: float) -> None:
        if self.connection is not None:
            self.connection.handle_timer(now=now)
        elif not self.refused and now >= self._started + self._config.connect_timeout_s:
            self._refuse(Rejection.TIMEOUT)
        elif not self.refused and now >= self._repeat_at:
            self._ask(now)

    def send(self, payload: bytes, *, now: float) -> None:
        """Raises RuntimeError before `Connected`."""
        if self.connection is None:
            raise RuntimeError("not connected")
        self.connection.send(payload, now=now)

    def close(self, *, now: float) -> None:
        if self.connection is not None:
            self.connection.close("closed", now=now)

    def data_to_send(self) -> Iterable[bytes]:
        while self._out:
            yield self._out.popleft()
        if self.connection is not None:
            yield from self.connection.data_to_send()

    def next_event(self) -> CallerEvent | None:
        if self._events:
            return self._events.popleft()
        return self.connection.next_event() if self.connection is not None else None

    def _ask(self, now: float) -> None:
        timestamp = int((now - self._started) * 1e6) & TIMESTAMP_MASK
        body = self._question.serialize()
        packet = ControlPacket(ControlType.HANDSHAKE, timestamp, 0, body=body)
        self._out.append(packet.serialize())
        self._repeat_at = now + REPEAT_S

    def _refuse(self, code: int) -> None:
        self.refused = True
        self._events.append(Refused(code))

    def _induction(self) -> Handshake:
        return Handshake(
            version=4,
            kind=INDUCTION,
            socket_id=self._socket_id,
            initial_sequence=self._sequence,
            flags=2,
        )

    def _conclusion(self, cookie: int) -> Handshake:
        delay = int(self._config.latency_s * 1000)
        extensions = {
            ExtensionType.HSREQ: Capabilities(VERSION, LIVE, delay, delay).serialize(),
        }
        if self._key_message:
            extensions[ExtensionType.KMREQ] = self._key_message
        if self._config.stream_id:
            extensions[ExtensionType.SID] = encode_text(self._config.stream_id)
        return Handshake(
            version=5,
            kind=CONCLUSION,
            socket_id=self._socket_id,
            cookie=cookie,
            initial_sequence=self._sequence,
            encryption=self._config.key_length // 8 if self._key_message else 0,
            flags=extension_flags(extensions),
            extensions=extensions,
        )

    def _receive_handshake(self, packet: DataPacket | ControlPacket, now: float) -> None:
        if not isinstance(packet, ControlPacket) or packet.kind is not ControlType.HANDSHAKE:
            return
        handshake = Handshake.parse(packet.body)
        if handshake.rejection is not None:
            self._refuse(handshake.rejection)
        elif handshake.kind == INDUCTION and self._question.kind == INDUCTION:
            if handshake.version < 5 or handshake.flags != MAGIC:
                self._refuse(Rejection.VERSION)
                return
            self._question = self._conclusion(handshake.cookie)
            self._ask(now)
        elif handshake.kind == CONCLUSION:
            self._connect(handshake, packet.timestamp, now)

    def _connect(self, handshake: Handshake, timestamp: int, now: float) -> None:
        granted = Capabilities.parse(handshake.extensions.get(ExtensionType.HSRSP, b""))
        if handshake.extensions.get(ExtensionType.KMRSP, b"") != self._key_message:
            self._refuse(Rejection.BADSECRET)
            return
        terms = Terms(
            local_id=self._socket_id,
            peer_id=handshake.socket_id,
            initial_sequence=self._sequence,
            peer_window=handshake.flow_window,
            receive_latency=max(self._config.latency_s, granted.sender_delay / 1000),
            send_latency=max(self._config.latency_s, granted.receiver_delay / 1000),
            arrived=now,
            peer_timestamp=timestamp,
            idle_timeout_s=IDLE_TIMEOUT_S,
        )
        self.connection = Connection(terms, keys=self._keys, started=self._started, now=now)
        self._events.append(Connected())
