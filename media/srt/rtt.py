"""Round-trip time as the receiver measures it, from ACK to ACKACK (section 4.10)."""

from typing import Final

INITIAL_S: Final = 0.1
MAX_OUTSTANDING: Final = 512


class RoundTrip:
    """Smoothed round-trip time and its variance, in seconds."""

    def __init__(self) -> None:
        self.mean = INITIAL_S
        self.variance = INITIAL_S / 2
        self._measured = False
        self._outstanding: dict[int, float] = {}

    @property
    def span(self) -> float:
        """The time by which an answer is to be expected."""
        return self.mean + 4 * self.variance

    def sent(self, number: int, *, now: float) -> None:
        """The ACK of this number goes out."""
        if len(self._outstanding) >= MAX_OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]
        self._outstanding[number] = now

    def answered(self, number: int, *, now: float) -> float | None:
        """The ACKACK of this number came; the sample, or None when it answers nothing of ours."""
        sent = self._outstanding.pop(number, None)
        if sent is None:
            return None
        sample = now - sent
        self.sample(sample)
        return sample

    def sample(self, sample: float) -> None:
        if not self._measured:
            self._measured = True
            self.mean = sample
            self.variance = sample / 2
            return
        self.variance += (abs(self.mean - sample) - self.variance) / 4
        self.mean += (sample - self.mean) / 8
