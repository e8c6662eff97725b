"""A codec worker: `python -m transcoder.worker FD`, with one end of a socket pair as FD.

A process for each stream, so that a decoder that crashes takes nothing with it. It does what it is
told over the socket (see `transcoder.wire`), and leaves when it is told to or when the other end
closes: a worker never outlives the main process.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Final

from media.units import AccessUnit, Track, TrackId
from transcoder.job import Item, Job
from transcoder.wire import (
    MAX_JOBS,
    Decoder,
    Finish,
    Heartbeat,
    Message,
    Remark,
    SourceGap,
    StartJob,
    StopJob,
    encode,
)

HEARTBEAT_INTERVAL: Final = 0.5
STUCK_AFTER: Final = 5.0
"""Seconds on a single unit after which a codec is taken for hung, and the process gives up."""
EXIT_STUCK: Final = 75
EXIT_BUG: Final = 70

_RECEIVE_SIZE: Final = 256 << 10
_PR_SET_PDEATHSIG: Final = 1
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Worker:
    """Reads orders and units on the main thread and gives them to its jobs."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._writing = threading.Lock()
        self._decoder = Decoder()
        self._tracks: dict[TrackId, Track] = {}
        self._jobs: dict[TrackId, Job] = {}
        self._finished = False

    def run(self) -> None:
        """Until told to finish, or until the other end is gone."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        next_heartbeat = time.monotonic()
        while not self._finished:
            now = time.monotonic()
            if now >= next_heartbeat:
                next_heartbeat = now + HEARTBEAT_INTERVAL
                self._beat(now)
            if not poll.poll(max(next_heartbeat - now, 0) * 1000):
                continue
            data = self._connection.recv(_RECEIVE_SIZE)
            if not data:
                return
            self._decoder.receive(data)
            while (message := self._decoder.next_event()) is not None:
                self._obey(message)

    def send(self, message: Message) -> None:
        """Safe from any thread; blocks while the main process does not read."""
        data = encode(message)
        with self._writing:
            self._connection.sendall(data)

    def _obey(self, message: Message) -> None:
        match message:
            case AccessUnit():
                self._offer(message, message.track)
            case Track():
                self._tracks[message.id] = message
                self._offer(message, message.id)
            case SourceGap():
                self._offer(message, None)
            case StartJob():
                self._start(message)
            case StopJob():
                self._stop(message.target)
            case Finish():
                self._finished = True
            case Heartbeat() | Remark():
                """These go the other way."""

    def _offer(self, item: Item, source: TrackId | None) -> None:
        for job in self._jobs.values():
            if source in (None, job.order.source):
                job.offer(item)

    def _stop(self, target: TrackId) -> None:
        job = self._jobs.pop(target, None)
        if job is not None:
            job.stop()

    def _start(self, order: StartJob) -> None:
        if order.target in self._jobs or len(self._jobs) >= MAX_JOBS:
            return
        job = Job(order, self.send)
        self._jobs[order.target] = job
        track = self._tracks.get(order.source)
        if track is not None:
            job.offer(track)
        job.start()

    def _beat(self, now: float) -> None:
        for job in self._jobs.values():
            if job.busy_for(now) > STUCK_AFTER:
                self.send(Remark("transcoder.codec_hung", job.order.target))
                os._exit(EXIT_STUCK)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.send(
            Heartbeat(
                cpu_seconds=usage.ru_utime + usage.ru_stime,
                resident_bytes=_resident_bytes(),
                jobs=tuple(job.stats() for job in self._jobs.values()),
            )
        )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def _give_up(failure: threading.ExceptHookArgs) -> None:
    """A job's thread fell over: the supervisor starts a new process, which is the only repair."""
    if not isinstance(failure.exc_value, OSError):
        traceback.print_exception(failure.exc_value)
        sys.stderr.flush()
    os._exit(EXIT_BUG)


def _close_all_but(connection: int) -> None:
    """What else was open where we come from is none of ours: uvloop hands on its own copies, and
    whatever the main process was given to inherit."""
    os.closerange(sys.stderr.fileno() + 1, connection)
    os.closerange(connection + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.excepthook = _give_up
    connection = socket.socket(fileno=int(sys.argv[1]))
    _close_all_but(connection.fileno())
    connection.setblocking(True)
    try:
        Worker(connection).run()
    except (BrokenPipeError, ConnectionResetError):
        """The main process is gone, so there is nobody to work for."""
    sys.stderr.flush()
    # Threads inside a codec cannot be asked to leave, and there is nothing to put in order.
    os._exit(0)


if __name__ == "__main__":
    main()
