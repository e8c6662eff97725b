"""ICE over TCP (RFC 6544), the passive side: for viewers whose network lets no UDP through.

Each datagram travels behind its length in two bytes (RFC 4571). A connection is anybody's until an
authentic check came over it; without one it is closed after `IDENTIFY_TIMEOUT`. While the peer does
not read, what does not fit into `MAX_QUEUED` is lost, as it would be on a congested UDP path.
"""

import asyncio
import itertools
import struct
from collections import Counter
from collections.abc import Callable
from typing import Final, cast

import structlog

from configs.kernel.errors import PeerError
from media.rtp.udp import Address
from media.webrtc.endpoint import Endpoint
from media.webrtc.ice import Path
from media.webrtc.udp_port import MAX_DATAGRAM

log = structlog.get_logger(__name__)

IDENTIFY_TIMEOUT: Final = 10.0
MAX_QUEUED: Final = 1 << 20
MAX_PER_HOST: Final = 64
MAX_CONNECTIONS: Final = 4096

_length = struct.Struct("!H")


class Deframer:
    """Cuts a stream into the datagrams that it frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[bytes]:
        """Whole datagrams, in order. Raises `PeerError` for one that no peer would send."""
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        at = 0
        while len(buffer) - at >= _length.size:
            (size,) = _length.unpack_from(buffer, at)
            if size > MAX_DATAGRAM:
                raise PeerError("framed datagram is too long", code="tcp_frame_too_long")
            end = at + _length.size + size
            if len(buffer) < end:
                break
            if size:
                found.append(bytes(buffer[at + _length.size : end]))
            at = end
        del buffer[:at]
        return found


class TcpStream(asyncio.Protocol):
    """One connection: a `DatagramSink` for the peer behind it."""

    def __init__(self, server: "TcpServer") -> None:
        self._server = server
        self._deframer = Deframer()
        self._transport: asyncio.Transport | None = None
        self._path: Path | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.dropped = 0

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", base)  # uvloop's has the methods, not the base class
        peer = transport.get_extra_info("peername")
        self._transport = transport
        if not peer or not self._server.admit(peer[0], self):
            transport.abort()
            return
        self._path = Path(peer[0], peer[1], transport=self._server.new_name())
        transport.set_write_buffer_limits(high=MAX_QUEUED)
        self._server.endpoint.add_stream(self._path, self)
        self._timer = asyncio.get_running_loop().call_later(IDENTIFY_TIMEOUT, self._identify)

    def data_received(self, data: bytes) -> None:
        if self._path is None:
            return
        try:
            datagrams = self._deframer.receive(data)
        except PeerError as error:
            peer = f"{self._path.host}:{self._path.port}"
            log.info("webrtc.tcp_dropped", peer=peer, code=error.code)
            self.abort()
            return
        for datagram in datagrams:
            self._server.endpoint.receive(datagram, self._path)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._path is not None:
            self._server.release(self._path.host, self)
            self._server.endpoint.remove_stream(self._path)
            self._path = None

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def send(self, address: Address, data: bytes | memoryview) -> None:
        self._write(_length.pack(len(data)) + data)

    def send_segments(self, address: Address, data: memoryview, segment: int) -> None:
        self._write(
            b"".join(
                part
                for at in range(0, len(data), segment)
                for part in (
                    _length.pack(min(segment, len(data) - at)),
                    data[at : at + segment],
                )
            )
        )

    def _write(self, framed: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if transport.get_write_buffer_size() + len(framed) > MAX_QUEUED:
            self.dropped += 1
            return
        transport.write(framed)

    def _identify(self) -> None:
        self._timer = None
        if self._path is not None and not self._server.endpoint.owns(self._path):
            self.abort()


class TcpServer:
    """Listens beside the UDP socket; bounded in connections, in all and for each address."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._names = itertools.count(1)
        self._hosts: Counter[str] = Counter()
        self._streams: set[TcpStream] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str | None, port: int) -> None:
        loop = asyncio.get_running_loop()
        factory: Callable[[], TcpStream] = lambda: TcpStream(self)  # noqa: E731
        self._server = await loop.create_server(factory, host, port, backlog=256)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in tuple(self._streams):
            stream.abort()

    @property
    def connections(self) -> int:
        return len(self._streams)

    def new_name(self) -> str:
        return f"tcp-{next(self._names)}"

    def admit(self, host: str, stream: TcpStream) -> bool:
        if len(self._streams) >= MAX_CONNECTIONS or self._hosts[host] >= MAX_PER_HOST:
            return False
        self._streams.add(stream)
        self._hosts[host] += 1
        return True

    def release(self, host: str, stream: TcpStream) -> None:
        self._streams.discard(stream)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
