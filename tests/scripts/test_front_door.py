"""Half-open HTTP connections, with raw sockets: in the house as it is served, and by themselves."""

import asyncio
import contextlib
import json
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest
import structlog
from aiohttp import ClientSession, web

from scripts.front_door import FrontDoor, connections_for
from tests.support.vitrine import Vitrine, serve

GET = b"GET /healthz HTTP/1.1\r\nHost: vitrine\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connect(Protocol):
    async def __call__(self, port: int, sent: bytes = b"") -> Connection: ...


class Slow:
    """A handler whose answer waits until the test says so."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    async def handle(self, _request: web.Request) -> web.Response:
        self.asked.set()
        await self.answer.wait()
        return web.Response(text="at last")


@asynccontextmanager
async def open_door(
    *, head_timeout_s: float = 60.0, half_open: int = 3, connections: int = 100
) -> AsyncIterator[tuple[FrontDoor, Slow]]:
    slow = Slow()
    door = FrontDoor(
        head_timeout_s=head_timeout_s,
        half_open_per_address=half_open,
        max_connections=connections,
    )
    application = web.Application(middlewares=[door.middleware])
    application.add_routes([web.get("/slow", slow.handle), web.get("/healthz", healthz)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    assert runner.server is not None
    await door.open(runner.server, "127.0.0.1", 0)
    try:
        yield door, slow
    finally:
        door.close()
        await runner.cleanup()


async def healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections and sends on each; closes them at the end of the test."""
    opened: list[asyncio.StreamWriter] = []

    async def connect(port: int, sent: bytes = b"") -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        writer.write(sent)
        return reader, writer

    yield connect
    for writer in opened:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def rest(connection: Connection) -> bytes:
    """All that comes until the server hangs up."""
    reader, _ = connection
    async with asyncio.timeout(20):
        found = b""
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                found += chunk
    return found


async def status(connection: Connection) -> bytes:
    """The status line of the next answer, and skips what it carries."""
    reader, _ = connection
    async with asyncio.timeout(20):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    return head.split(b"\r\n")[0]


async def until(door: FrontDoor, connections: int) -> None:
    async with asyncio.timeout(20):
        while door.admission.connections != connections:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"", b"G", GET[:-1], b"POST /slow HTTP/1.1\r\nX: y\r\n"])
async def test_who_does_not_finish_a_head_is_hung_up_on(sent: bytes, connect: Connect) -> None:
    async with open_door(head_timeout_s=0.2) as (door, _):
        assert await rest(await connect(door.port, sent)) == b""
        await until(door, 0)
        assert door.timed_out == 1
        assert not door.visitors


async def test_a_head_that_trickles_is_not_waited_for(connect: Connect) -> None:
    async with open_door(head_timeout_s=0.3) as (door, _):
        connection = await connect(door.port, b"GET / HTTP/1.1\r\nX-")
        with contextlib.suppress(ConnectionError):
            while not connection[0].at_eof() and not connection[1].is_closing():
                connection[1].write(b"X")
                await connection[1].drain()
                await asyncio.sleep(0.02)
        assert await rest(connection) == b""
        assert door.timed_out == 1


async def test_a_request_in_progress_is_never_cut(connect: Connect) -> None:
    async with open_door(head_timeout_s=0.1) as (door, slow):
        connection = await connect(door.port, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await slow.asked.wait()
        assert await rest(await connect(door.port)) == b""  # Meanwhile another's time is over.
        slow.answer.set()

        assert await status(connection) == b"HTTP/1.1 200 OK"
        connection[1].write(GET)
        assert await status(connection) == b"HTTP/1.1 200 OK"
        connection[1].close()
        await until(door, 0)


async def test_half_open_connections_of_one_address_are_capped(connect: Connect) -> None:
    async with open_door() as (door, _):
        waiting = [await connect(door.port, b"GET") for _ in range(3)]
        await until(door, 3)
        assert await rest(await connect(door.port, GET)) == b""
        assert door.refused == 1

        waiting[0][1].write(GET[3:])
        assert await status(waiting[0]) == b"HTTP/1.1 200 OK"
        fourth = await connect(door.port, GET)
        assert await status(fourth) == b"HTTP/1.1 200 OK"
        for _, writer in [*waiting, fourth]:
            writer.close()
        await until(door, 0)
        assert door.admission.half_open("127.0.0.1") == 0


async def test_connections_are_capped_whatever_they_do(connect: Connect) -> None:
    async with open_door(connections=2) as (door, _):
        held = [await connect(door.port, GET) for _ in range(2)]
        for connection in held:
            assert await status(connection) == b"HTTP/1.1 200 OK"
        assert await rest(await connect(door.port, GET)) == b""

        held[0][1].close()
        await until(door, 1)
        assert await status(await connect(door.port, GET)) == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\nA b: SECRET\r\n\r\n"]
)
async def test_what_is_not_http_costs_one_line_at_info_without_its_words(
    sent: bytes, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with open_door() as (door, _):
            assert (await rest(await connect(door.port, sent))).startswith(b"HTTP/1.0 400")

    assert [(line["event"], line["log_level"], line["peer"]) for line in lines] == [
        ("http.peer_dropped", "info", "127.0.0.1")
    ]
    assert "SECRET" not in str(lines)
    assert caplog.records == []


def test_files_are_left_for_others() -> None:
    assert connections_for(20_000, 10_000) == 10_000
    assert connections_for(1024, 10_000) == 768
    assert connections_for(100, 10_000) == 50
    assert connections_for(resource.RLIM_INFINITY, 10_000) == 10_000


async def test_the_house_hangs_up_on_the_slow_and_serves_the_others(
    tmp_path: Path, connect: Connect
) -> None:
    environ = {
        "VITRINE_MEDIA__HANDSHAKE_TIMEOUT_S": "1",
        "VITRINE_SERVER__HALF_OPEN_PER_ADDRESS": "5",
    }
    async with serve(tmp_path, environ=environ) as server:
        port = server.ports["http"]
        silent = [await connect(port) for _ in range(3)]
        trickling = [await connect(port, GET[:9]) for _ in range(2)]
        refused = await rest(await connect(port, GET))
        assert refused == b""
        assert [await rest(connection) for connection in silent + trickling] == [b""] * 5

        assert await status(await connect(port, GET)) == b"HTTP/1.1 200 OK"
        await wait_for_lines(server, "http.peer_dropped", 2)
        lines = [json.loads(line) for line in server.log if '"http.' in line]

    assert [(line["event"], line["code"]) for line in lines] == [
        ("http.connection_refused", "too_many"),
        ("http.peer_dropped", "timeout"),
        ("http.peer_dropped", "timeout"),
    ]


async def wait_for_lines(server: Vitrine, event: str, count: int) -> None:
    async with asyncio.timeout(10):
        while sum(event in line for line in server.log) < count:
            await asyncio.sleep(0.02)


async def test_the_house_takes_what_connections_its_files_allow(tmp_path: Path) -> None:
    environ = {"VITRINE_SERVER__MAX_CONNECTIONS": "4"}
    async with serve(tmp_path, environ=environ) as server, ClientSession() as session:
        crowd = [socket.create_connection(("127.0.0.1", server.ports["http"])) for _ in range(8)]
        await wait_for_lines(server, "http.connection_refused", 1)
        for visitor in crowd:
            visitor.close()
        await server.wait_ready()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    async with session.get(f"{server.http}/healthz") as reply:
                        assert reply.status == 200
                        break

    assert [line for line in server.log if "server.file_limit" in line]
    assert not [line for line in server.log if "Traceback" in line]
