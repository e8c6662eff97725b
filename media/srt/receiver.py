"""The receiving half of a connection: order, losses and what is due (sections 4.6 and 4.8).

Sequence numbers are whole numbers in here, unwrapped from their 31 bits at the door, so that no
comparison has to think of wrapping. A packet is in one of these places:

    ... delivered │ buffered or lost ............................. │ not yet sent ...
                  └ `_next` (first not delivered)                  └ `_expected` (highest + 1)

The buffer never reaches further than `window` packets past `_next`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from media.srt.delivery import DeliveryClock
from media.srt.packets import SEQUENCE_MASK, DataPacket, unwrap_sequence

MAX_TOLERANCE: Final = 16
CALM_PACKETS: Final = 1000
NEVER: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A packet whose time has come; `dropped` packets before it were given up."""

    packet: DataPacket
    dropped: int


class Receiver:
    """Buffers packets until they are due; knows which are missing and to be asked for."""

    def __init__(self, *, initial_sequence: int, window: int, clock: DeliveryClock) -> None:
        self._next = initial_sequence
        self._expected = initial_sequence
        self._window = window
        self._clock = clock
        self._packets: dict[int, tuple[float, DataPacket]] = {}
        self._head: int | None = None
        self._lost: dict[int, float] = {}
        self._unreported: list[int] = []
        self._tolerance = 0
        self._calm = 0
        self.received = 0
        self.bytes_received = 0
        self.duplicates = 0
        self.lost = 0
        self.dropped = 0

    # What comes in

    def store(self, packet: DataPacket, *, now: float) -> None:
        """Duplicates, packets that come too late, and packets past the window are ignored."""
        sequence = unwrap_sequence(packet.sequence, self._expected)
        if sequence < self._next or sequence in self._packets:
            self.duplicates += 1
            return
        if sequence >= self._next + self._window:
            if self._packets:
                return
            self._jump(sequence)
        if sequence >= self._expected:
            self._notice_losses(sequence)
            self._expected = sequence + 1
        else:
            self._fill(sequence, packet)
        self.received += 1
        self.bytes_received += len(packet.payload)
        self._packets[sequence] = (self._clock.due(packet.timestamp, now=now), packet)
        if self._head is None or sequence < self._head:
            self._head = sequence

    def forget(self, first: int, last: int) -> None:
        """The sender will not send these again: stop asking (both ends included)."""
        start = max(unwrap_sequence(first, self._expected), self._next)
        end = min(unwrap_sequence(last, self._expected), self._next + self._window - 1)
        if end < start:
            return
        for sequence in [lost for lost in self._lost if start <= lost <= end]:
            del self._lost[sequence]
        self._unreported = [sequence for sequence in self._unreported if sequence in self._lost]
        self._expected = max(self._expected, end + 1) if start <= self._expected else self._expected

    # What goes out

    def next_due(self) -> float | None:
        return self._packets[self._head][0] if self._head is not None else None

    def take_due(self, *, now: float) -> Iterator[Delivery]:
        """Packets whose time has come, in order; a gap before one of them is given up."""
        while self._head is not None and self._packets[self._head][0] <= now:
            yield self._take(self._head)

    def take_all(self) -> Iterator[Delivery]:
        """What is left when the sender has gone."""
        while self._head is not None:
            yield self._take(self._head)

    # What the sender is told

    @property
    def acknowledged(self) -> int:
        """The first packet that is still awaited, as a 31-bit sequence number."""
        return self.position & SEQUENCE_MASK

    @property
    def position(self) -> int:
        return next(iter(self._lost), self._expected)

    @property
    def available(self) -> int:
        """Room in the buffer, in packets."""
        return max(self._window - (self._expected - self._next), 2)

    @property
    def missing(self) -> bool:
        return bool(self._lost)

    def fresh_losses(self, *, now: float) -> list[tuple[int, int]]:
        """Losses to report at once: those that mere reordering no longer explains."""
        if not self._unreported:
            return []
        limit = self._expected - 1 - self._tolerance
        if self._unreported[0] > limit:
            return []
        ripe = [sequence for sequence in self._unreported if sequence <= limit]
        self._unreported = self._unreported[len(ripe) :]
        return self._report([sequence for sequence in ripe if sequence in self._lost], now)

    def stale_losses(self, *, now: float, older_than: float) -> list[tuple[int, int]]:
        """All losses not reported within the last `older_than` seconds."""
        limit = now - older_than
        stale = [sequence for sequence, reported in self._lost.items() if reported <= limit]
        self._unreported = []
        return self._report(stale, now)

    def _report(self, sequences: list[int], now: float) -> list[tuple[int, int]]:
        ranges: list[tuple[int, int]] = []
        for sequence in sequences:
            self._lost[sequence] = now
            if ranges and sequence == ranges[-1][1] + 1:
                ranges[-1] = (ranges[-1][0], sequence)
            else:
                ranges.append((sequence, sequence))
        return ranges

    def _notice_losses(self, sequence: int) -> None:
        for missing in range(self._expected, sequence):
            self._lost[missing] = NEVER
            self._unreported.append(missing)
        self.lost += sequence - self._expected
        self._calm += 1
        if self._calm >= CALM_PACKETS:
            self._calm = 0
            self._tolerance = max(self._tolerance - 1, 0)

    def _fill(self, sequence: int, packet: DataPacket) -> None:
        known = self._lost.pop(sequence, None) is not None
        if known and not packet.retransmitted:
            # It was not lost but overtaken: from now on wait that much longer before asking.
            late = self._expected - 1 - sequence
            self._tolerance = max(self._tolerance, min(late, MAX_TOLERANCE))
            self._calm = 0

    def _take(self, sequence: int) -> Delivery:
        _, packet = self._packets.pop(sequence)
        gap = sequence - self._next
        for skipped in range(self._next, sequence):
            self._lost.pop(skipped, None)
        self.dropped += gap
        self._next = sequence + 1
        self._head = self._find_head()
        return Delivery(packet, gap)

    def _find_head(self) -> int | None:
        if not self._packets:
            return None
        sequence = self._next
        while sequence not in self._packets:
            sequence += 1
        return sequence

    def _jump(self, sequence: int) -> None:
        """The sender went on without us while nothing came through: nothing before can come."""
        self.dropped += sequence - self._next
        self.lost += sequence - self._expected
        self._lost.clear()
        self._unreported = []
        self._next = self._expected = sequence
