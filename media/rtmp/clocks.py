"""Times of RTMP messages made fit for the stream's clock of 90 kHz."""

from typing import Final

from media.units import CLOCK_RATE

_WRAP: Final = 1 << 31
TICKS_PER_MS: Final = CLOCK_RATE // 1000
TOLERANCE_TICKS: Final = 2 * TICKS_PER_MS


class MillisecondClock:
    """Takes the wraps out of message timestamps.

    RTMP's wrap at 2**32 ms (49.7 days), but FLV-minded encoders such as OBS mask the highest bit
    away and wrap at 2**31. Counting modulo the smaller of the two is right for both.
    """

    def __init__(self) -> None:
        self._last: int | None = None

    def unwrap(self, timestamp: int) -> int:
        """Milliseconds that go on across wraps; steps back of up to twelve days stay steps back."""
        last = self._last if self._last is not None else timestamp
        step = (timestamp - last) % _WRAP
        if step >= _WRAP // 2:
            step -= _WRAP
        self._last = last + step
        return self._last


class SampleClock:
    """Gives frames of sound the times that they had before RTMP rounded them to milliseconds.

    A frame that comes within `TOLERANCE_TICKS` of where the one before it ends is put exactly
    there; one that does not (a gap, a frame length that is not what we think) starts anew.
    """

    def __init__(self) -> None:
        self._anchor = 0
        self._rate = 0
        self._samples = 0

    def place(self, ticks: int, *, samples: int, rate: int) -> int:
        """The time of a frame of `samples` at `rate` that was stamped with `ticks`."""
        expected = self._anchor
        if self._rate:
            expected += self._samples * CLOCK_RATE // self._rate
        if rate != self._rate or abs(ticks - expected) > TOLERANCE_TICKS:
            self._anchor = expected = ticks
            self._rate = rate
            self._samples = 0
        self._samples += samples
        return expected
