"""The browser's side of WHEP for tests: STUN checks, a DTLS client, offers; and a server for it."""

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, web
from OpenSSL import SSL

from configs.kernel.clock import SystemClock
from media.hub import Hub, PublishGrant
from media.webrtc import stun
from media.webrtc.alarm import Alarm
from media.webrtc.certificate import Certificate, Fingerprint
from media.webrtc.dtls import DtlsServer
from media.webrtc.http import WhepHttp
from media.webrtc.ice import Credentials
from media.webrtc.service import WebRtcConfig, WebRtcService
from media.webrtc.srtp import (
    SrtpKeys,
    SrtpProfile,
    keying_material_length,
    split_keying_material,
)
from media.webrtc.stun import Attribute, MessageClass

OPENSSL_PROFILES: Final = {
    SrtpProfile.AEAD_AES_128_GCM: b"SRTP_AEAD_AES_128_GCM",
    SrtpProfile.AEAD_AES_256_GCM: b"SRTP_AEAD_AES_256_GCM",
    SrtpProfile.AES128_CM_SHA1_80: b"SRTP_AES128_CM_SHA1_80",
}

_transactions = itertools.count(1)


def check(
    server: Credentials,
    client_ufrag: str,
    *,
    nominate: bool = False,
    priority: int = 0x6E7F1EFF,
    transaction_id: bytes | None = None,
    password: str | None = None,
    extra: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """A connectivity check as the controlling side sends it."""
    attributes: list[tuple[int, bytes]] = [
        (Attribute.USERNAME, f"{server.ufrag}:{client_ufrag}".encode()),
        (Attribute.PRIORITY, struct.pack("!I", priority)),
        (Attribute.ICE_CONTROLLING, bytes(8)),
        *extra,
    ]
    if nominate:
        attributes.append((Attribute.USE_CANDIDATE, b""))
    return stun.build(
        MessageClass.REQUEST,
        transaction_id or next(_transactions).to_bytes(12, "big"),
        attributes,
        password=(password or server.password).encode(),
    )


def new_certificate() -> Certificate:
    return Certificate.generate(now=datetime.now(UTC))


class DtlsClient:
    """An OpenSSL client behind memory buffers; `datagrams` cuts what it wrote at record borders."""

    def __init__(
        self,
        profiles: Sequence[bytes] = tuple(OPENSSL_PROFILES.values()),
        *,
        certificate: Certificate | None = None,
    ) -> None:
        self.certificate = certificate or new_certificate()
        context = SSL.Context(SSL.DTLS_CLIENT_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.use_privatekey(self.certificate.key)
        context.use_certificate(self.certificate.certificate)
        context.set_verify(SSL.VERIFY_PEER, lambda *_: True)
        if profiles:
            context.set_tlsext_use_srtp(b":".join(profiles))
        self.connection = SSL.Connection(context)
        self.connection.set_ciphertext_mtu(1200)
        self.connection.set_connect_state()
        self.connected = False
        self.closed = False

    @property
    def fingerprint(self) -> Fingerprint:
        return self.certificate.fingerprint

    def advance(self) -> None:
        try:
            if self.connected:
                self.connection.recv(4096)
            else:
                self.connection.do_handshake()
                self.connected = True
        except SSL.WantReadError:
            pass
        except SSL.Error:
            self.closed = True

    def receive(self, datagram: bytes) -> None:
        self.connection.bio_write(datagram)
        self.advance()

    def datagrams(self) -> list[bytes]:
        try:
            flight = self.connection.bio_read(1 << 16)
        except SSL.WantReadError:
            return []
        cut: list[bytes] = []
        while flight:
            size = 13 + int.from_bytes(flight[11:13], "big")
            cut.append(flight[:size])
            flight = flight[size:]
        return cut

    def keys(self, profile: SrtpProfile) -> tuple[SrtpKeys, SrtpKeys]:
        """The client's and the server's keys."""
        material = self.connection.export_keying_material(
            b"EXTRACTOR-dtls_srtp", keying_material_length(profile)
        )
        return split_keying_material(profile, material)


def shake_hands(client: DtlsClient, server: DtlsServer, *, now: float = 0.0) -> None:
    """Carries datagrams both ways over a perfect wire until both sides have nothing more to say."""
    client.advance()
    for _ in range(20):
        to_server = client.datagrams()
        for datagram in to_server:
            server.receive_datagram(datagram, now=now)
        to_client = server.data_to_send()
        for datagram in to_client:
            client.receive(datagram)
        if not to_server and not to_client:
            return
    raise AssertionError("the handshake does not come to an end")


class JumpingClock:
    """The system's clock, which can be moved ahead."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self.ahead = 0.0

    def monotonic(self) -> float:
        return self._system.monotonic() + self.ahead

    def wall(self) -> float:
        return self._system.wall() + self.ahead


class Rooms:
    """`StreamKeys` that know of some rooms by name and have no secrets."""

    def __init__(self, *rooms: str) -> None:
        self.rooms = set(rooms)

    async def grant(self, room: str, key: str) -> PublishGrant:
        return PublishGrant(room)

    async def room_exists(self, room: str) -> bool:
        return room in self.rooms

    async def srt_passphrase(self, room: str) -> str | None:
        return None


@dataclass
class Site:
    """A running WHEP server: `url` of its HTTP side."""

    hub: Hub
    service: WebRtcService
    url: str
    client: ClientSession
    clock: JumpingClock

    def whep(self, room: str = "demo") -> str:
        return f"{self.url}/whep/{room}"


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Polls until the condition holds; `TimeoutError` when it does not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def site(
    data_dir: Path,
    *,
    max_viewers: int = 2000,
    half_open_per_host: int = 128,
    body_timeout: float = 10.0,
) -> AsyncIterator[Site]:
    """Rooms `demo` and `idle` exist; nothing is live. On ports of its own."""
    clock = JumpingClock()
    hub = Hub(clock, grace_period_s=2.0)
    service = WebRtcService(
        WebRtcConfig(
            data_dir=data_dir,
            port=0,
            hosts=("127.0.0.1",),
            max_viewers=max_viewers,
            half_open_per_host=half_open_per_host,
        ),
        clock=clock,
    )
    alarm = Alarm(asyncio.get_running_loop(), clock, hub.handle_timer)
    hub.timer_changed = lambda: alarm.set(hub.next_timer())
    await service.open()
    hub.observe(service)
    app = web.Application()
    app.router.add_get("/", _blank)
    whep = WhepHttp(service, Rooms("demo", "idle"), body_timeout=body_timeout)
    app.add_routes(whep.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    port = runner.addresses[0][1]
    async with ClientSession() as client:
        try:
            yield Site(hub, service, f"http://127.0.0.1:{port}", client, clock)
        finally:
            alarm.cancel()
            await service.close()
            await runner.cleanup()


async def _blank(_: web.Request) -> web.Response:
    """A page for a browser to run scripts in."""
    return web.Response(text="<!doctype html><body></body>", content_type="text/html")
