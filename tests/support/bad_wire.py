"""Networks as they are: a seeded model of loss, delay and reordering, and a UDP relay that has it.

The model is used by tests in virtual time; the relay by tests with real programs.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

Address = tuple[str, int]

MAX_IN_FLIGHT: Final = 20_000
MAX_CLIENTS: Final = 64


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares between 0 and 1, times in seconds. `jitter` is added to `delay` without changing the
    order; `reordered` packets take `detour` longer and so are overtaken."""

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    duplicated: float = 0.0
    reordered: float = 0.0
    detour: float = 0.02


class BadWire:
    """One direction of a link: tells for each packet when it comes out, if it does."""

    def __init__(self, weather: Weather, *, seed: int) -> None:
        self._weather = weather
        self._random = random.Random(seed)
        self._last = 0.0
        self.carried = 0
        self.lost = 0

    def carry(self, now: float) -> list[float]:
        """The times of arrival: none for a lost packet, two for a duplicated one."""
        weather, rng = self._weather, self._random
        if rng.random() < weather.loss:
            self.lost += 1
            return []
        self.carried += 1
        arrival = now + weather.delay + rng.random() * weather.jitter
        if rng.random() < weather.reordered:
            arrival += weather.detour
        else:
            arrival = self._last = max(arrival, self._last)
        if rng.random() < weather.duplicated:
            return [arrival, arrival + rng.random() * weather.detour]
        return [arrival]


class _Side(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._received(data, addr)


@dataclass(slots=True)
class UdpRelay:
    """Stands between clients and a UDP server; each client has a socket of its own to the server.

    What would exceed `MAX_IN_FLIGHT` packets on the way is lost.
    """

    target: Address
    up: BadWire
    down: BadWire
    host: str = "127.0.0.1"
    in_flight: int = 0
    _front: asyncio.DatagramTransport | None = None
    _clients: dict[Address, asyncio.DatagramTransport] = field(default_factory=dict)
    _opening: dict[Address, list[bytes]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self, port: int = 0) -> int:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_client), local_addr=(self.host, port)
        )
        self._front = transport
        return int(transport.get_extra_info("sockname")[1])

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for client in self._clients.values():
            client.close()
        if self._front is not None:
            self._front.close()
        # Transports close at the loop's next turn.
        await asyncio.sleep(0)

    def _from_client(self, data: bytes, address: Address) -> None:
        client = self._clients.get(address)
        if client is not None:
            self._carry(self.up, client, data, None)
        elif address in self._opening:
            self._opening[address].append(data)
        elif len(self._clients) < MAX_CLIENTS:
            self._opening[address] = [data]
            task = asyncio.get_running_loop().create_task(self._open(address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self, address: Address) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Side(lambda data, _: self._to_client(data, address)), remote_addr=self.target
        )
        self._clients[address] = transport
        for data in self._opening.pop(address):
            self._carry(self.up, transport, data, None)

    def _to_client(self, data: bytes, address: Address) -> None:
        self._carry(self.down, cast("asyncio.DatagramTransport", self._front), data, address)

    def _carry(
        self,
        wire: BadWire,
        transport: asyncio.DatagramTransport,
        data: bytes,
        address: Address | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        for arrival in wire.carry(loop.time()):
            if self.in_flight < MAX_IN_FLIGHT:
                self.in_flight += 1
                loop.call_at(arrival, self._deliver, transport, data, address)

    def _deliver(
        self, transport: asyncio.DatagramTransport, data: bytes, address: Address | None
    ) -> None:
        self.in_flight -= 1
        if not transport.is_closing():
            transport.sendto(data, address)
