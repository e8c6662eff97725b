"""A worker as the main process sees it: the child, the socket to it, and a bounded outlet."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, Protocol

import structlog

from configs.kernel.errors import PeerError
from media.units import AccessUnit, Kind, Track, TrackId
from transcoder.wire import MAX_MESSAGE, Decoder, Finish, Message, encode

log = structlog.get_logger(__name__)

MAX_UNSENT: Final = 20 << 20
"""Bytes that may wait for a worker that does not read; beyond, units are left out. Enough for the
largest group of pictures that a stream keeps, which a new worker is given at once."""
START_TIMEOUT: Final = 15.0
SILENCE_TIMEOUT: Final = 4.0
"""A worker says something every half second; after this long without a word it counts as hung."""
LEAVE_TIMEOUT: Final = 1.0
MAX_STDERR: Final = 8 << 10
"""Bytes of standard error that are logged for one process: enough for a traceback or two."""

_ROOT: Final = Path(__file__).resolve().parent.parent
_READ_SIZE: Final = 128 << 10


class Sender(Protocol):
    """The part of a transport that an `Outlet` uses."""

    def write(self, data: bytes) -> None: ...

    def get_write_buffer_size(self) -> int: ...

    def is_closing(self) -> bool: ...


class Outlet:
    """What goes to the worker. When more than `MAX_UNSENT` bytes wait, it loses units, not memory:
    sound until three quarters are gone, pictures from there to their next keyframe."""

    def __init__(self, sender: Sender, *, max_unsent: int = MAX_UNSENT) -> None:
        self._sender = sender
        self._max_unsent = max_unsent
        self._choked = False
        self._await_keyframe: set[TrackId] = set()
        self._pictures: set[TrackId] = set()
        self.dropped = 0

    def send(self, message: Message) -> None:
        """An order, or a track: always goes through, since it is small and rare."""
        if isinstance(message, Track) and message.kind is Kind.VIDEO:
            self._pictures.add(message.id)
        if not self._sender.is_closing():
            self._sender.write(encode(message))

    def send_unit(self, unit: AccessUnit) -> None:
        """A unit whose track was sent before."""
        if self._admits(unit):
            self._sender.write(encode(unit))
        else:
            self.dropped += 1

    def _admits(self, unit: AccessUnit) -> bool:
        if self._sender.is_closing() or len(unit.payload) > MAX_MESSAGE // 2:
            return False
        waiting = self._sender.get_write_buffer_size()
        self._choked = waiting > (self._max_unsent // 4 if self._choked else self._max_unsent)
        if self._choked:
            self._await_keyframe |= self._pictures
            return False
        if unit.track in self._await_keyframe:
            if not unit.keyframe:
                return False
            self._await_keyframe.discard(unit.track)
        return True


class WorkerProcess:
    """A running worker. Made by `running_worker`, which also sees to its end."""

    def __init__(
        self,
        room: str,
        child: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
    ) -> None:
        self._room = room
        self._child = child
        self._reader = reader

    @property
    def pid(self) -> int:
        return self._child.pid

    async def serve(self, receive: Callable[[Message], None]) -> str:
        """Hands over what the worker says until it is gone, or must be taken for lost; says why."""
        decoder = Decoder()
        timeout = START_TIMEOUT
        try:
            while True:
                async with asyncio.timeout(timeout):
                    data = await self._reader.read(_READ_SIZE)
                timeout = SILENCE_TIMEOUT
                if not data:
                    return "closed the connection"
                decoder.receive(data)
                while (message := decoder.next_event()) is not None:
                    receive(message)
        except TimeoutError:
            return "fell silent"
        except (PeerError, ConnectionError) as error:
            return str(error)

    async def log_errors(self) -> None:
        """Puts the worker's standard error into the log as it comes, up to `MAX_STDERR` bytes."""
        stderr = self._child.stderr
        assert stderr is not None
        left = MAX_STDERR
        while data := await stderr.read(MAX_STDERR):
            if left > 0:
                text = data[:left].decode(errors="replace").rstrip()
                log.warning("transcoder.worker_stderr", room=self._room, text=text)
            left -= len(data)

    async def reap(self) -> int:
        """Waits a moment for the process to leave, then kills it. Gives its exit code."""
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT):
                return await self._child.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        return await self._child.wait()


@contextlib.asynccontextmanager
async def running_worker(
    room: str, connected: Callable[[Outlet], None]
) -> AsyncIterator[WorkerProcess]:
    """Starts a worker; at the end there is none, and nothing of it is left.

    `connected` is called before the process runs, with what will reach it first: no unit is lost
    while it starts. Raises `OSError` when there can be no process.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        writer.transport.set_write_buffer_limits(high=MAX_UNSENT)
        outlet = Outlet(writer.transport)
        connected(outlet)
        try:
            child = await _spawn(theirs.fileno())
        except BaseException:
            writer.transport.abort()
            raise
    worker = WorkerProcess(room, child, reader)
    errors = asyncio.create_task(worker.log_errors())
    try:
        yield worker
        outlet.send(Finish())
        writer.close()
        await worker.reap()
    finally:
        writer.transport.abort()
        await worker.kill()
        await errors


async def _spawn(connection: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "transcoder.worker",
        str(connection),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=(connection,),
        # None of the main process's environment: it may hold secrets.
        env={"PYTHONPATH": str(_ROOT), "LC_ALL": "C.UTF-8"},
    )
