"""One timer of the event loop for everything that an object waits for."""

import asyncio
from collections.abc import Callable

from configs.kernel.clock import Clock


class Alarm:
    """Calls back once at the earliest deadline that it was set to.

    A later deadline does not move the timer: it rings early, finds nothing due, and is set again.
    That saves a timer for each of the many checks that only push a deadline out.
    """

    __slots__ = ("_at", "_callback", "_clock", "_handle", "_loop")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Clock, callback: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._callback: Callable[[], None] | None = callback
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, deadline: float | None) -> None:
        """`deadline` on the clock's monotonic time; None leaves the alarm as it is."""
        if deadline is None or self._callback is None:
            return
        if self._handle is not None and self._at <= deadline:
            return
        if self._handle is not None:
            self._handle.cancel()
        self._at = deadline
        delay = max(0.0, deadline - self._clock.monotonic())
        self._handle = self._loop.call_later(delay, self._ring)

    def cancel(self) -> None:
        """Never rings again, and lets go of its callback. Whoever owns an alarm is in a circle with
        it; unbroken, the viewer's OpenSSL objects would wait for the cycle collector, which cannot
        see how large they are."""
        self._callback = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _ring(self) -> None:
        self._handle = None
        if self._callback is not None:
            self._callback()
