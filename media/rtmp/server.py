"""RTMP and RTMPS ingest: listens, lets in, drains."""

import asyncio
import ssl
from dataclasses import dataclass, field

from configs.kernel.clock import Clock, SystemClock
from media.hub import Hub, StreamKeys
from media.rtmp.admission import Admission
from media.rtmp.connection import RtmpLimits
from media.rtmp.peer import Peer, PeerContext


@dataclass(frozen=True, slots=True)
class RtmpConfig:
    """`max_half_open_per_address` counts connections that do not publish (yet), by IPv4 address or
    IPv6 /64; `max_connections` counts all."""

    limits: RtmpLimits = field(default_factory=RtmpLimits)
    max_half_open_per_address: int = 16
    max_connections: int = 1000


class RtmpServer:
    """Takes publishers into the hub, on as many ports as `start` is called for."""

    def __init__(
        self,
        hub: Hub,
        keys: StreamKeys,
        *,
        config: RtmpConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        config = config or RtmpConfig()
        self._servers: list[asyncio.Server] = []
        self._context = PeerContext(
            hub=hub,
            keys=keys,
            limits=config.limits,
            clock=clock or SystemClock(),
            admission=Admission(
                max_half_open_per_address=config.max_half_open_per_address,
                max_connections=config.max_connections,
            ),
        )

    async def start(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> int:
        """Listens, for RTMPS when `tls` is given; gives the port that was bound."""
        server = await asyncio.get_running_loop().create_server(
            lambda: Peer(self._context, tls), host, port, backlog=256
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._context.peers)

    def drain(self, tc_url: str = "") -> int:
        """Takes no new connections, and asks the publishers that can (Enhanced RTMP v2) to connect
        anew, to `tc_url` if given; serves them on meanwhile. Gives how many could be asked."""
        self._stop_listening()
        return sum(peer.request_reconnect(tc_url) for peer in tuple(self._context.peers))

    async def wait_gone(self, timeout_s: float) -> bool:
        """True once nobody is connected any more; False when that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._context.all_gone.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Tells everybody, and waits for them to go: a second, then they are cut off."""
        self._stop_listening()
        for peer in tuple(self._context.peers):
            peer.kick("The server is shutting down.")
        if not await self.wait_gone(1.0):
            for peer in tuple(self._context.peers):
                peer.abort()
        tasks = tuple(self._context.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop_listening(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
