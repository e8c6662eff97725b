"""Waking those who wait for a part, all at once and without polling."""

import asyncio
from collections.abc import Callable


class Doorbell:
    """Rung after every change; `waiting` is how many listen."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.waiting = 0

    def ring(self) -> None:
        if self.waiting:
            self._event.set()
            self._event = asyncio.Event()

    async def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Whether `condition` came true, looked at now and at every ring, within the time."""
        if condition():
            return True
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await self._event.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True
