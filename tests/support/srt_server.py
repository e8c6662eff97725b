"""A running SRT server with a real hub, callers of ours over UDP, and something to send."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import cast

from configs.kernel.clock import SystemClock
from media.errors import PublishRefused
from media.hub import Hub, PublishGrant, Takeover
from media.mpegts.muxer import TsMuxer
from media.srt.caller import CallerConfig, CallerConnection, CallerEvent, Connected, Refused
from media.srt.connection import ConnectionEnded, PayloadDelivered
from media.srt.listener import ListenerConfig
from media.srt.server import SrtServer
from media.stream import AUDIO, VIDEO, Stream
from media.units import AccessUnit
from tests.support.bitstreams import aac_track, avc_slice, avc_track, payload
from tests.support.streams import Recorder

ROOM = "demo"
KEY = "a-secret-stream-key"
PUBLISH = f"#!::m=publish,r={ROOM},s={KEY}"
READ = f"#!::m=request,r={ROOM}"
SRT_PAYLOAD = 7 * 188


class Keys:
    """`StreamKeys` of one room; `refuse` is a code that overrides, `gate` holds answers back."""

    def __init__(self) -> None:
        self.policy = Takeover.TAKEOVER
        self.passphrase: str | None = None
        self.refuse = ""
        self.broken = False
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def grant(self, room: str, key: str) -> PublishGrant:
        self.asked += 1
        await self.gate.wait()
        if self.broken:
            raise RuntimeError("the database is gone")
        if self.refuse:
            raise PublishRefused("refused", code=self.refuse)
        if room != ROOM:
            raise PublishRefused("no such room", code="not_found")
        if key != KEY:
            raise PublishRefused("wrong key", code="unauthorized")
        return PublishGrant(room, self.policy)

    async def room_exists(self, room: str) -> bool:
        return room == ROOM

    async def srt_passphrase(self, room: str) -> str | None:
        return self.passphrase


class UdpCaller(asyncio.DatagramProtocol):
    """Our caller on a socket of its own."""

    def __init__(self, config: CallerConfig) -> None:
        self._config = config
        self._transport: asyncio.DatagramTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._machine: CallerConnection | None = None
        self.events: list[CallerEvent] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own does not inherit from it.
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._machine = CallerConnection(self._config, now=time.monotonic())
        self._settle()

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        if self._machine is not None:
            self._machine.receive_datagram(data, now=time.monotonic())
            self._settle()

    def send(self, data: bytes) -> None:
        assert self._machine is not None
        for at in range(0, len(data), SRT_PAYLOAD):
            self._machine.send(data[at : at + SRT_PAYLOAD], now=time.monotonic())
        self._settle()

    def hang_up(self) -> None:
        assert self._machine is not None
        self._machine.close(now=time.monotonic())
        self._settle()

    def vanish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._machine = None
        assert self._transport is not None
        self._transport.close()

    async def answer(self) -> CallerEvent:
        """The first thing that the server let us know."""
        await self._until(lambda: bool(self.events))
        return self.events[0]

    async def ended(self) -> None:
        await self._until(lambda: any(isinstance(e, ConnectionEnded) for e in self.events))

    async def received(self, size: int) -> bytes:
        """What was read so far, once it is at least so many bytes."""
        await self._until(lambda: len(self.read) >= size)
        return self.read

    @property
    def read(self) -> bytes:
        return b"".join(e.payload for e in self.events if isinstance(e, PayloadDelivered))

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def _settle(self) -> None:
        machine, transport = self._machine, self._transport
        if machine is None or transport is None or transport.is_closing():
            return
        while (event := machine.next_event()) is not None:
            self.events.append(event)
            self.changed.set()
        for data in machine.data_to_send():
            transport.sendto(data)
        if self._timer is not None:
            self._timer.cancel()
        deadline = machine.next_timer()
        if deadline is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(deadline - time.monotonic(), 0), self._on_timer)

    def _on_timer(self) -> None:
        if self._machine is not None:
            self._machine.handle_timer(now=time.monotonic())
            self._settle()


class SrtHouse:
    """The server, its hub, and a recorder for each stream that began."""

    def __init__(self, config: ListenerConfig) -> None:
        self.hub = Hub(SystemClock())
        self.keys = Keys()
        self.server = SrtServer(self.hub, self.keys, config=config)
        self.recorders: list[Recorder] = []
        self.port = 0
        self._callers: list[UdpCaller] = []
        self.hub.observe(self)

    async def call(
        self,
        stream_id: str = PUBLISH,
        *,
        port: int | None = None,
        passphrase: str | None = None,
        key_length: int = 16,
    ) -> UdpCaller:
        config = CallerConfig(
            stream_id=stream_id,
            passphrase=passphrase,
            key_length=key_length,
            latency_s=0.02,
            connect_timeout_s=8,
        )
        _, caller = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: UdpCaller(config), remote_addr=("127.0.0.1", port or self.port)
        )
        self._callers.append(caller)
        return caller

    async def connected(self, stream_id: str = PUBLISH, **options: str | int | None) -> UdpCaller:
        caller = await self.call(stream_id, **options)  # type: ignore[arg-type]
        assert await caller.answer() == Connected()
        return caller

    async def refused(self, stream_id: str, **options: str | int | None) -> int:
        """The code with which a caller is turned away."""
        caller = await self.call(stream_id, **options)  # type: ignore[arg-type]
        answer = await caller.answer()
        assert isinstance(answer, Refused)
        return answer.code

    def stream_started(self, stream: Stream) -> None:
        self.recorders.append(Recorder(stream))

    def stream_ended(self, stream: Stream) -> None:
        """Nothing to do: the recorder has heard of it."""

    @property
    def stream(self) -> Stream:
        stream = self.hub.stream(ROOM)
        assert stream is not None
        return stream

    @property
    def units(self) -> list[AccessUnit]:
        return [unit for recorder in self.recorders for unit in recorder.units]

    async def close(self) -> None:
        for caller in self._callers:
            caller.vanish()
        await self.server.close()


@asynccontextmanager
async def srt_house(config: ListenerConfig | None = None) -> AsyncIterator[SrtHouse]:
    house = SrtHouse(config or ListenerConfig(latency_s=0.02))
    house.port = await house.server.start("127.0.0.1", 0)
    try:
        yield house
    finally:
        await house.close()


def units(seconds: int, *, start: int = 0) -> Iterator[AccessUnit]:
    """H.264 at 25 pictures a second, a keyframe each second, and AAC at 40 frames a second."""
    for index in range(seconds * 200):
        at = start + index * 450
        if index % 8 == 0:
            picture = index // 8
            idr = picture % 25 == 0
            body = payload(avc_slice(idr=idr, seed=picture))
            yield AccessUnit(VIDEO, at, at, idr, body)
        if index % 5 == 0:
            yield AccessUnit(AUDIO, at, at, True, bytes((0x21, index & 0xFF)) * 40)


def transport_stream(seconds: int) -> bytes:
    """The same as MPEG-TS."""
    muxer = TsMuxer()
    muxer.set_track(avc_track())
    muxer.set_track(aac_track())
    return b"".join(muxer.mux(unit) for unit in units(seconds))
