"""Supervised tasks: every long-running coroutine has an owner, a name and a fate when it fails."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 10.0


class TaskSupervisor:
    """Owns tasks: logs a failure with its traceback, starts again what is meant to run for ever.

    The one place of the house that catches every exception, since a failure in one task must not
    take the streams of others with it.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures = 0

    def spawn(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs a coroutine once; its failure is logged and counted."""
        return self._own(name, self._once(name, coroutine))

    def keep_running(self, name: str, factory: Callable[[], Awaitable[None]]) -> None:
        """Runs a coroutine for ever: after a failure or an end it starts again, with backoff."""
        _task = self._own(name, self._for_ever(name, factory))

    def __len__(self) -> int:
        return len(self._tasks)

    async def close(self) -> None:
        """Cancels all and waits until they are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _own(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _once(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        try:
            await coroutine
        except Exception:
            self.failures += 1
            log.exception("task.failed", task=name)

    async def _for_ever(self, name: str, factory: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY_S
        while True:
            started = loop.time()
            try:
                await factory()
                log.warning("task.ended", task=name)
            except Exception:
                self.failures += 1
                log.exception("task.failed", task=name)
            if loop.time() - started > LONGEST_DELAY_S:
                delay = FIRST_DELAY_S
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY_S)
