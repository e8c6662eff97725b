"""When a received packet is due: timestamp-based delivery (draft-sharabayko-srt section 4.5, 4.7).

The packet leaves us `latency` after the moment at which it would have come without any trouble on
the way, so that the stream has the rhythm the sender gave it.
"""

from typing import Final

from media.srt.packets import unwrap_timestamp

MICROSECOND: Final = 1e-6
IMPLAUSIBLE_S: Final = 2.0
DRIFT_SAMPLES: Final = 1000
MAX_EARLY_S: Final = 1.0


class DeliveryClock:
    """Maps a peer's 32-bit microsecond timestamps, which wrap every 71 minutes, onto our clock.

    `arrived` is when the handshake packet with `timestamp` came, `latency` is in seconds.
    """

    def __init__(self, *, arrived: float, timestamp: int, latency: float) -> None:
        self.latency = latency
        self._base = arrived - timestamp * MICROSECOND
        self._last = timestamp
        self._started = False
        self._drift_sum = 0.0
        self._drift_count = 0
        self._first_rtt = 0.0

    def due(self, timestamp: int, *, now: float) -> float:
        """When the packet with this timestamp, which came at `now`, has to be delivered."""
        sent = unwrap_timestamp(timestamp, self._last)
        self._last = sent
        at = self._base + sent * MICROSECOND
        if not self._started:
            self._started = True
            if abs(at - now) > IMPLAUSIBLE_S:
                # Some encoders count handshake and data on different clocks.
                self._base += now - at
                at = now
        # A timestamp from the future must not hold back what comes after it.
        return min(at, now + MAX_EARLY_S) + self.latency

    def observe(self, timestamp: int, *, rtt: float, now: float) -> None:
        """A sample of the sender's clock from an ACKACK; a thousand of them move ours after it."""
        sent = unwrap_timestamp(timestamp, self._last)
        if not self._first_rtt:
            self._first_rtt = rtt
        delay_change = (rtt - self._first_rtt) / 2
        drift = now - (self._base + sent * MICROSECOND) - delay_change
        if abs(drift) > IMPLAUSIBLE_S:
            return
        self._drift_sum += drift
        self._drift_count += 1
        if self._drift_count == DRIFT_SAMPLES:
            self._base += self._drift_sum / DRIFT_SAMPLES
            self._drift_sum = 0.0
            self._drift_count = 0
