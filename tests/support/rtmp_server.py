"""A running RTMP server with a real hub, and callers that speak to it over TCP."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from configs.kernel.clock import SystemClock
from media.errors import PublishRefused
from media.hub import Hub, PublishGrant, Takeover
from media.rtmp.chunks import Message
from media.rtmp.server import RtmpConfig, RtmpServer
from media.stream import Stream
from tests.support.rtmp import KEY, Client
from tests.support.streams import Recorder


class Keys:
    """`StreamKeys` of one room, whose hash takes as long as the test likes (`gate`)."""

    def __init__(self, room: str = "demo", key: str = KEY) -> None:
        self.room = room
        self.key = key
        self.policy = Takeover.TAKEOVER
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def grant(self, room: str, key: str) -> PublishGrant:
        self.asked.set()
        await self.gate.wait()
        if room != self.room:
            raise PublishRefused(f"no room {room}", code="not_found")
        if key != self.key:
            raise PublishRefused(f"wrong key {key}", code="unauthorized")
        return PublishGrant(room, self.policy)

    async def room_exists(self, room: str) -> bool:
        return room == self.room

    async def srt_passphrase(self, room: str) -> str | None:
        return None


class Ingest:
    """The server, its hub, and a recorder for each stream that began."""

    def __init__(self, config: RtmpConfig | None = None) -> None:
        self.hub = Hub(SystemClock())
        self.keys = Keys()
        self.server = RtmpServer(self.hub, self.keys, config=config)
        self.recorders: list[Recorder] = []
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []
        self.hub.observe(self)

    async def open(
        self, port: int | None = None, *, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection with a small receive buffer, which ends with the server."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port or self.port))
        host = "127.0.0.1" if tls else None
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=host)
        self._writers.append(writer)
        return reader, writer

    async def call(
        self,
        client: Client | None = None,
        *,
        port: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> "Caller":
        return Caller(client or Client(), *await self.open(port, tls=tls))

    async def published(self, client: Client | None = None) -> "Caller":
        caller = await self.call(client)
        await caller.publish()
        return caller

    async def close(self) -> None:
        for writer in self._writers:
            if not writer.is_closing():  # Python 3.11.2 cannot abort TLS that was closed twice.
                writer.transport.abort()
            try:
                await writer.wait_closed()
            except OSError:
                continue
        await self.server.close()

    def stream_started(self, stream: Stream) -> None:
        self.recorders.append(Recorder(stream))

    def stream_ended(self, stream: Stream) -> None:
        """Nothing to do: the recorder has heard of it."""

    @property
    def stream(self) -> Stream:
        stream = self.hub.stream("demo")
        assert stream is not None
        return stream


@asynccontextmanager
async def ingest(
    config: RtmpConfig | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Ingest]:
    running = Ingest(config)
    running.port = await running.server.start("127.0.0.1", 0, tls=tls)
    try:
        yield running
    finally:
        await running.close()


class Caller:
    """A `Client` on a TCP connection."""

    def __init__(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.client = client
        self._reader = reader
        self._writer = writer
        self.closed = False

    async def flush(self) -> None:
        data = self.client.data_to_send()
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def talk(self, until: Callable[[], bool], *, timeout_s: float = 10) -> None:
        """Carries bytes both ways until the condition holds or the server closes."""
        async with asyncio.timeout(timeout_s):
            await self.flush()
            while not until() and not self.closed:
                data = await self._reader.read(65536)
                self.closed = not data
                if data:
                    self.client.receive(data)
                    await self.flush()

    async def publish(self) -> None:
        await self.talk(lambda: self.client.publishing)
        assert self.client.publishing

    async def until_closed(self, *, timeout_s: float = 10) -> None:
        """Reads on until the server has closed."""
        await self.talk(lambda: False, timeout_s=timeout_s)

    async def send(self, messages: Sequence[Message]) -> None:
        self.client.send_media(messages)
        await self.flush()

    async def flood(self, data: bytes, *, limit: int) -> int:
        """Sends without reading until nothing more is taken for a second, or the limit is reached;
        gives the bytes that were taken."""
        sent = 0
        try:
            while sent < limit:
                self._writer.write(data)
                sent += len(data)
                async with asyncio.timeout(1):
                    await self._writer.drain()
        except TimeoutError:
            return sent
        return sent

    def cut(self) -> None:
        """Goes without a goodbye."""
        self._writer.transport.abort()

    def close(self) -> None:
        self._writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What still came until the other side closed, gently or not."""
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionError:
        return b""


async def eventually(condition: Callable[[], bool], *, timeout_s: float = 10) -> None:
    """Waits until the condition holds; raises `TimeoutError` when it never does."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's TLS context with a self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


def trusting(folder: Path) -> ssl.SSLContext:
    """A client's context that trusts what `certificate` made."""
    return ssl.create_default_context(cafile=str(folder / "server.pem"))
