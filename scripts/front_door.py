"""Who may stand in the HTTP door, and for how long before they say what they want.

aiohttp parses requests well but lets anybody wait: who connects and is silent, or sends a
request's head a byte at a time, is kept for the keep-alive time, an hour if nobody says otherwise,
and nothing counts connections. So a `_Visitor` stands between each socket and aiohttp's protocol:
it counts, and hangs up when the whole head of the first request is not there in time. From then on
the connection is aiohttp's guest: requests in progress (a blocked playlist, a WebSocket) are never
cut, and the keep-alive time bounds the wait for the next head. Bodies are timed by who reads them.
"""

import asyncio
import logging
import resource
from collections.abc import Iterable
from typing import Final, cast

import structlog
from aiohttp import web
from aiohttp.http import HttpProcessingError

from configs.kernel.metrics import Sample
from configs.kernel.problems import Handler
from media.rtmp.admission import Admission, counted_address

log = structlog.get_logger(__name__)

KEEPALIVE_S: Final = 75.0
"""How long an idle connection stays: longer than proxies keep theirs (60 s is usual), since of two
who hang up the proxy must be first, or it sends a request into a closing connection."""

FILES_FOR_OTHERS: Final = 256
"""File descriptors that HTTP leaves to publishers, the database, workers and files."""


class FrontDoor:
    """Give `middleware` to the application, then `open` the door to its server.

    `half_open_per_address` counts connections that have not sent a whole request head yet, by IPv4
    address or IPv6 /64; `max_connections` counts all.
    """

    def __init__(
        self, *, head_timeout_s: float, half_open_per_address: int, max_connections: int
    ) -> None:
        self.head_timeout_s = head_timeout_s
        self.admission = Admission(
            max_half_open_per_address=half_open_per_address, max_connections=max_connections
        )
        self.visitors: dict[web.RequestHandler, _Visitor] = {}
        self.timed_out = 0
        self.refused = 0
        self._listener: asyncio.Server | None = None
        quiet_aiohttp()

    async def open(self, server: web.Server, host: str, port: int) -> None:
        """Listens; raises `OSError`."""
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: _Visitor(self, server), host, port, backlog=1024
        )

    @property
    def port(self) -> int:
        """The port that was bound."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Takes no new connections."""
        if self._listener is not None:
            self._listener.close()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Runs once a head is whole."""
        visitor = self.visitors.get(request.protocol)
        if visitor is not None:
            visitor.head_arrived()
        return await handler(request)

    def samples(self) -> Iterable[Sample]:
        yield Sample("http_connections", "Open HTTP connections.", self.admission.connections)
        for reason, count in (("crowded", self.refused), ("timeout", self.timed_out)):
            yield Sample(
                "http_dropped",
                "HTTP connections closed before their first request.",
                count,
                "counter",
                {"reason": reason},
            )


class _Visitor(asyncio.Protocol):
    """One connection: counted, timed, and otherwise passed on to aiohttp's protocol."""

    def __init__(self, door: FrontDoor, server: web.Server) -> None:
        self._door = door
        self._server = server
        self._inner: web.RequestHandler | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._peer = ""
        self._address = ""
        self._has_spoken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        name = transport.get_extra_info("peername")
        if name is None:  # It is gone already.
            self._transport.abort()
            return
        self._peer, self._address = f"{name[0]}:{name[1]}", counted_address(name[0])
        if not self._door.admission.admit(self._address):
            self._door.refused += 1
            if self._door.admission.first_refusal(self._address):
                log.info("http.connection_refused", peer=self._peer, code="too_many")
            self._transport.abort()
            return
        self._inner = self._server()
        self._door.visitors[self._inner] = self
        self._timer = asyncio.get_running_loop().call_later(
            self._door.head_timeout_s, self._time_out
        )
        self._inner.connection_made(transport)

    def head_arrived(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._door.admission.promote(self._address)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._has_spoken = True
            self._inner.data_received(data)

    def eof_received(self) -> None:
        if self._inner is not None:
            self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is None:
            return
        if self._timer is None:
            self._door.admission.demote(self._address)
        else:
            self._timer.cancel()
        self._door.admission.leave(self._address)
        del self._door.visitors[self._inner]
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def _time_out(self) -> None:
        self._door.timed_out += 1
        # Browsers open connections ahead of need and leave some silent: not worth a line.
        if self._has_spoken:
            log.info("http.peer_dropped", peer=self._peer, code="timeout")
        assert self._transport is not None
        self._transport.abort()


class _PeersAtFault(logging.Filter):
    """aiohttp tells of requests that it cannot parse as it does of bugs, with a traceback and with
    what the peer wrote: of those only one line is left, without the words."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError | web.RequestPayloadError):
            return record.levelno >= logging.WARNING
        peer = record.args[0] if isinstance(record.args, tuple) and record.args else ""
        log.info("http.peer_dropped", peer=peer, code="bad_request", reason=type(error).__name__)
        return False


def quiet_aiohttp() -> None:
    """Sets up aiohttp's own log, once."""
    logger = logging.getLogger("aiohttp.server")
    logger.setLevel(logging.DEBUG)
    if not any(isinstance(found, _PeersAtFault) for found in logger.filters):
        logger.addFilter(_PeersAtFault())


def allow_many_files() -> int:
    """Raises the limit of open files to what the system lets us have, and gives it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("server.file_limit", files=hard, was=soft)
    return hard


def connections_for(files: int, wanted: int) -> int:
    """How many HTTP connections may be open where `files` may be: one file each."""
    if files == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, files - min(FILES_FOR_OTHERS, files // 2)))
