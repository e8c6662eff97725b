"""The sending half of a connection: pacing, retransmission and giving up (sections 4.6, 4.8, 5.1).

Live: a packet gets its timestamp and goes out as soon as the pacer lets it, and is kept until the
peer has it or until it would come too late anyway. Sequence numbers are whole numbers in here.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from media.srt.packets import SEQUENCE_MASK, DataPacket, unwrap_sequence

MAX_PENDING: Final = 8192
PACE_S: Final = 0.01
PACE_PACKETS: Final = 32
"""Packets that may leave at once and in every `PACE_S`: a burst must fit a socket's buffer."""

MAX_DROP_REQUESTS: Final = 8
KEEP_AT_LEAST_S: Final = 1.0
KEEP_LATENCIES: Final = 1.25

Encrypt = Callable[[int, bytes], tuple[int, bytes]]


@dataclass(slots=True)
class Flight:
    """A packet that was sent and is not yet acknowledged."""

    packet: DataPacket
    sent: float
    resent: float


class Sender:
    """Queues payloads of one packet each; the peer's window and the pacer bound what leaves."""

    def __init__(
        self,
        *,
        initial_sequence: int,
        window: int,
        latency: float,
        destination: int,
        encrypt: Encrypt | None,
        timestamp: Callable[[float], int],
    ) -> None:
        self._destination = destination
        self._window = window
        self._keep = max(latency * KEEP_LATENCIES, KEEP_AT_LEAST_S)
        self._encrypt = encrypt
        self._timestamp = timestamp
        self._next = initial_sequence
        self._first = initial_sequence
        self._message = 0
        self._pending: deque[bytes] = deque()
        self._flights: dict[int, Flight] = {}
        self._allowance = float(PACE_PACKETS)
        self._refilled = float("-inf")
        self.sent = 0
        self.retransmitted = 0
        self.dropped = 0

    def queue(self, payload: bytes) -> None:
        """When `MAX_PENDING` payloads wait, the oldest makes room."""
        if len(self._pending) >= MAX_PENDING:
            self._pending.popleft()
            self.dropped += 1
        self._pending.append(payload)

    def next_timer(self, *, probe_after: float) -> float | None:
        """When a queued payload may leave, a sent packet is given up, or the last one is sent
        again since the peer said nothing of it for `probe_after` seconds."""
        if self._pending:
            return self._refilled + PACE_S
        if self._flights:
            give_up = self._flights[self._first].sent + self._keep
            return min(give_up, self._flights[self._next - 1].resent + probe_after)
        return None

    def transmit(self, *, now: float, probe_after: float) -> list[DataPacket]:
        """The packets that leave now."""
        self._drop_late(now)
        if not self._pending:
            return self._probe(now, probe_after)
        if now >= self._refilled + PACE_S:
            self._refilled = now
            # A long queue may drain faster: at a fixed pace a high bitrate would never catch up.
            self._allowance = PACE_PACKETS + len(self._pending) // 20
        packets: list[DataPacket] = []
        while self._pending and self._allowance >= 1 and len(self._flights) < self._window:
            self._allowance -= 1
            packets.append(self._launch(self._pending.popleft(), now))
        return packets

    def acknowledge(self, sequence: int) -> None:
        """The peer has everything before this 31-bit sequence number."""
        position = unwrap_sequence(sequence, self._next)
        if position > self._next:
            return
        while self._first < position:
            self._flights.pop(self._first, None)
            self._first += 1

    def retransmit(
        self, losses: Iterable[tuple[int, int]], *, now: float, interval: float
    ) -> tuple[list[DataPacket], Sequence[tuple[int, int]]]:
        """The packets to send again, none twice within `interval` seconds, and the ranges that are
        no longer here, which the peer must be told to forget."""
        packets: list[DataPacket] = []
        gone: list[tuple[int, int]] = []
        budget = self._window
        for low, high in losses:
            first = unwrap_sequence(low, self._next)
            last = min(unwrap_sequence(high, self._next), self._next - 1)
            if first < self._first:
                if first >= self._first - self._window and len(gone) < MAX_DROP_REQUESTS:
                    gone.append((first, min(last, self._first - 1)))
                first = self._first
            # A list that names the same range again and again must not cost more than one of it.
            last = min(last, first + budget - 1)
            budget -= max(last + 1 - first, 0)
            for sequence in range(first, last + 1):
                flight = self._flights[sequence]
                if now - flight.resent < interval:
                    continue
                flight.resent = now
                packets.append(_again(flight.packet))
        self.retransmitted += len(packets)
        return packets, [(a & SEQUENCE_MASK, b & SEQUENCE_MASK) for a, b in gone if a <= b]

    def _probe(self, now: float, after: float) -> list[DataPacket]:
        """The peer notices a loss by what comes after; nothing comes after the last packet."""
        last = self._flights.get(self._next - 1)
        if last is None or now < last.resent + after:
            return []
        last.resent = now
        self.retransmitted += 1
        return [_again(last.packet)]

    def _launch(self, payload: bytes, now: float) -> DataPacket:
        sequence = self._next & SEQUENCE_MASK
        key = 0
        if self._encrypt is not None:
            key, payload = self._encrypt(sequence, payload)
        self._message = self._message % ((1 << 26) - 1) + 1
        packet = DataPacket(
            sequence, self._timestamp(now), self._destination, payload, key, self._message
        )
        self._flights[self._next] = Flight(packet, now, now)
        self._next += 1
        self.sent += 1
        return packet

    def _drop_late(self, now: float) -> None:
        while self._flights:
            flight = self._flights[self._first]
            if now < flight.sent + self._keep:
                return
            del self._flights[self._first]
            self._first += 1
            self.dropped += 1


def _again(packet: DataPacket) -> DataPacket:
    return DataPacket(
        packet.sequence,
        packet.timestamp,
        packet.destination,
        packet.payload,
        packet.key,
        packet.message,
        retransmitted=True,
    )
