"""Runs the demo publisher beside the server, and again when it dies."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

import structlog

from configs.kernel.tasks import TaskSupervisor

log = structlog.get_logger(__name__)

LEAVE_TIMEOUT_S: Final = 5.0
ROOT: Final = Path(__file__).resolve().parents[1]


class DemoProcess:
    """`async with DemoProcess(url)`: pushes for as long as the block lasts."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tasks = TaskSupervisor()

    async def __aenter__(self) -> "DemoProcess":
        self._tasks.keep_running("demo", self._push)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._tasks.close()

    async def _push(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "scripts.demo", stdin=PIPE, cwd=ROOT, start_new_session=True
        )
        try:
            # By standard input, since arguments and their keys can be read by everybody.
            await process.communicate(self._url.encode() + b"\n")
            log.warning("demo.ended", status=process.returncode)
        finally:
            await _end(process)


async def _end(process: Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), LEAVE_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
