"""When and what a receiver acknowledges (sections 3.2.4, 4.8.1): the ACK side of a connection.

A full ACK goes out every 10 ms while there is something new, and is repeated until its ACKACK has
come; a light one goes out every 64 packets in between, so that a fast sender's window moves on.
"""

from typing import Final

from media.srt.packets import TIMESTAMP_MASK, Acknowledgement
from media.srt.receiver import Receiver
from media.srt.rtt import RoundTrip

ACK_S: Final = 0.01
LIGHT_ACK_PACKETS: Final = 64
RATE_WINDOW_S: Final = 1.0
MAX_UNANSWERED: Final = 64
NEVER: Final = float("inf")


class Acknowledger:
    """`due` is when `full` wants to be asked."""

    def __init__(self, receiver: Receiver, rtt: RoundTrip, *, now: float) -> None:
        self._receiver = receiver
        self._rtt = rtt
        self.due = NEVER
        self._sent_at = now
        self._number = 0
        self._sent = receiver.position
        self._confirmed = receiver.position
        self._unanswered: dict[int, int] = {}
        self._since_ack = 0
        self._rate_since = now
        self._rate_packets = 0
        self._rate_bytes = 0
        self._packet_rate = 0
        self._byte_rate = 0

    def changed(self, *, now: float) -> None:
        """The position may have moved."""
        self.due = min(self.due, max(self._sent_at + ACK_S, now))

    def light(self) -> Acknowledgement | None:
        """To be called for every data packet."""
        self._since_ack += 1
        if self._since_ack < LIGHT_ACK_PACKETS:
            return None
        self._since_ack = 0
        return Acknowledgement(self._receiver.acknowledged, full=False)

    def full(self, *, now: float) -> tuple[int, Acknowledgement] | None:
        """Number and body of the ACK to send now, if any."""
        self.due = NEVER
        position = self._receiver.position
        if position <= self._confirmed and position <= self._sent:
            return None
        repeat_after = max(self._rtt.span, ACK_S)
        if position == self._sent and now < self._sent_at + repeat_after:
            self.due = self._sent_at + repeat_after
            return None
        self._measure_rate(now)
        self._sent = position
        self._sent_at = now
        self._since_ack = 0
        self._number = self._number % 0x7FFF_FFFF + 1
        self._unanswered[self._number] = position
        if len(self._unanswered) > MAX_UNANSWERED:
            del self._unanswered[next(iter(self._unanswered))]
        self._rtt.sent(self._number, now=now)
        # Comes again unless the ACKACK arrives; with new data it comes sooner.
        self.due = now + repeat_after
        return self._number, Acknowledgement(
            self._receiver.acknowledged,
            True,
            min(int(self._rtt.mean * 1e6), TIMESTAMP_MASK),
            min(int(self._rtt.variance * 1e6), TIMESTAMP_MASK),
            self._receiver.available,
            self._packet_rate,
            max(self._packet_rate, 1000),
            self._byte_rate,
        )

    def answered(self, number: int, *, now: float) -> float | None:
        """The ACKACK of this number came; the round trip, or None when it answers nothing."""
        sample = self._rtt.answered(number, now=now)
        position = self._unanswered.pop(number, None)
        if sample is None or position is None:
            return None
        self._confirmed = max(self._confirmed, position)
        if self._confirmed >= self._receiver.position:
            self.due = NEVER
        return sample

    def _measure_rate(self, now: float) -> None:
        elapsed = now - self._rate_since
        if elapsed < RATE_WINDOW_S:
            return
        receiver = self._receiver
        self._packet_rate = int((receiver.received - self._rate_packets) / elapsed)
        self._byte_rate = int((receiver.bytes_received - self._rate_bytes) / elapsed)
        self._rate_since = now
        self._rate_packets = receiver.received
        self._rate_bytes = receiver.bytes_received
