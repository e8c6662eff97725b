"""SRT ingest and playback: listens on UDP ports, each with or without a room of its own."""

import asyncio
import socket

from configs.kernel.clock import Clock, SystemClock
from media.hub import Hub, PublishGrant, StreamKeys
from media.srt.gate import Gate
from media.srt.listener import ListenerConfig
from media.srt.port import SOCKET_BUFFER, PublisherFigures, SrtPort


class SrtServer:
    """Takes publishers into the hub and gives streams back, on as many ports as `start` is called
    for."""

    def __init__(
        self,
        hub: Hub,
        keys: StreamKeys,
        *,
        config: ListenerConfig | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._hub = hub
        self._gate = Gate(hub, keys)
        self._config = config or ListenerConfig()
        self._clock = clock or SystemClock()
        self._ports: list[SrtPort] = []

    async def start(
        self, host: str, port: int, *, default_grant: PublishGrant | None = None
    ) -> int:
        """Listens on UDP and gives the port that was bound. With a `default_grant`, whoever calls
        this port without a stream id publishes by it, no key asked (the room's passphrase is).

        Raises OSError when the port is taken.
        """
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = infos[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        opened = SrtPort(
            sock,
            hub=self._hub,
            gate=self._gate,
            clock=self._clock,
            config=self._config,
            default_grant=default_grant,
        )
        self._ports.append(opened)
        return opened.number

    @property
    def connections(self) -> int:
        return sum(port.connections for port in self._ports)

    def publishers(self) -> dict[str, PublisherFigures]:
        """Figures of all connections that publish, by room."""
        return {room: stats for port in self._ports for room, stats in port.publishers().items()}

    async def close(self) -> None:
        """Tells everybody that it is over and closes the ports."""
        for port in self._ports:
            await port.close()
        self._ports.clear()
