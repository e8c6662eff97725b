"""Noise at every door while a stream runs: the peer is dropped, the stream does not notice."""

import asyncio
import json
import random
import socket
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.support.ffmpeg import push_command, pushing
from tests.support.vitrine import Vitrine, serve

pytestmark = [pytest.mark.external, pytest.mark.timeout(120)]

CONNECTIONS = 100
DATAGRAMS = 3000
REFUSED_OFFERS = 4


async def test_noise_at_every_port_leaves_the_stream_alone(tmp_path: Path) -> None:
    noise = random.Random(5)
    environ = {"VITRINE_MEDIA__HANDSHAKE_TIMEOUT_S": "2"}
    async with (
        serve(tmp_path, environ=environ) as server,
        pushing(push_command(server.first_run["rtmp"])) as publisher,
    ):
        await server.wait_live()
        await shout(server, noise)
        await settled(server)
        memory, lines = server.resident_bytes(), len(server.log)

        for _ in range(3):
            await shout(server, noise)
        await settled(server)

        before = await ingested(server)
        async with asyncio.timeout(10):
            while await ingested(server) < before + 200_000:
                await asyncio.sleep(0.1)
        assert publisher.returncode is None
        assert server.resident_bytes() <= 1.1 * memory
        events = [json.loads(line) for line in list(server.log)[lines:] if line.startswith("{")]
        assert [event for event in events if event["level"] not in ("info", "debug")] == []
        assert not [line for line in server.log if "Traceback" in line]
        # One line a dropped connection, and none for a stray datagram.
        assert len(events) <= 3 * (2 * CONNECTIONS + REFUSED_OFFERS)


async def shout(server: Vitrine, noise: random.Random) -> None:
    """Random bytes at every port, some behind a beginning that is right."""
    async with asyncio.TaskGroup() as group:
        for index in range(CONNECTIONS):
            start = (b"", b"\x03", b"\x16\x03\x01", b"POST /whep/demo HTTP/1.1\r\n")[index % 4]
            body = start + noise.randbytes(noise.randrange(1, 4000))
            for port in ("rtmp", "webrtc", "http"):
                group.create_task(send_by_tcp(server.ports[port], body))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for index in range(DATAGRAMS):
            start = (
                b"",
                b"\x80\x00" + bytes(14),
                b"\x00\x01\x00\x08\x21\x12\xa4\x42",
                b"\x16\xfe\xfd" + bytes(8),
                b"\x80\xc8\x00\x06",
            )[index % 5]
            body = start + noise.randbytes(noise.randrange(0, 1400))
            for port in ("srt", "webrtc"):
                udp.sendto(body, ("127.0.0.1", server.ports[port]))
            if index % 50 == 0:
                await asyncio.sleep(0)
    await bad_requests(server)


async def send_by_tcp(port: int, body: bytes) -> None:
    """Sends, and waits until the server has hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(body)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(20):
            while await reader.read(65536):
                pass
    except OSError:
        return  # It hung up before it had heard all.
    finally:
        writer.close()


async def bad_requests(server: Vitrine) -> None:
    sdp = {"Content-Type": "application/sdp"}
    async with ClientSession() as session:
        for method, path, body, headers, allowed in (
            ("POST", "/whep/demo", b"v=0\r\n" * 50, sdp, {400}),
            ("POST", "/whep/demo", b"\xff" * 3000, sdp, {400}),
            ("POST", "/whep/demo", b"x" * 200_000, sdp, {413}),
            ("POST", "/whep/demo", b"{}", {"Content-Type": "application/json"}, {415}),
            ("POST", "/whep/none", b"v=0", sdp, {404}),
            ("PATCH", "/whep/demo/none", b"x", sdp, {404}),
            ("GET", "/hls/demo/../../etc/passwd", b"", {}, {404}),
            ("GET", "/hls/%00/index.m3u8", b"", {}, {404}),
            ("GET", "/hls/demo/none/video/1.m4s", b"", {}, {404}),
            ("POST", "/api/v1/auth/login", b"\x00\x01", {}, {400, 415}),
            ("POST", "/api/v1/rooms", b"[" * 10_000, {"Content-Type": "application/json"}, {401}),
        ):
            async with session.request(
                method, server.http + path, data=body or None, headers=headers
            ) as reply:
                assert reply.status in allowed, (method, path, reply.status)
                assert reply.content_type == "application/problem+json"


async def ingested(server: Vitrine) -> float:
    async with ClientSession() as session, session.get(f"{server.http}/metrics") as reply:
        text = await reply.text()
    (line,) = [line for line in text.splitlines() if line.startswith("vitrine_ingest_bytes_total")]
    return float(line.rsplit(" ", 1)[1])


async def settled(server: Vitrine) -> None:
    """Until only the publisher is left at the RTMP port, and nobody anywhere else."""
    alone = {"vitrine_rtmp_connections ": 1.0, "vitrine_srt_connections ": 0.0}
    async with asyncio.timeout(30):
        while True:
            held = await server.holdings()
            counts = {name: held[name.strip()] for name in alone}
            webrtc = [count for name, count in held.items() if "webrtc_held" in name]
            if counts == alone and not any(webrtc):
                return
            await asyncio.sleep(0.2)
