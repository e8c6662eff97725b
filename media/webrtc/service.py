"""WHEP playback as a service: the broadcasts of all streams, the viewers, the port they share."""

import asyncio
import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from configs.kernel.clock import Clock
from configs.kernel.errors import AppError
from media.stream import Stream
from media.webrtc.addresses import detect_hosts
from media.webrtc.answer import Candidate, Source, write_answer, write_fragment
from media.webrtc.broadcast import Broadcast
from media.webrtc.certificate import Certificate
from media.webrtc.dtls import server_context
from media.webrtc.endpoint import Endpoint, EndpointStats
from media.webrtc.half_open import HalfOpen
from media.webrtc.ice import Credentials, IceAgent
from media.webrtc.negotiation import Agreement, negotiate
from media.webrtc.peer import Peer
from media.webrtc.sdp import Offer
from media.webrtc.tcp import TcpServer
from media.webrtc.udp_port import UdpPort
from media.webrtc.viewer import Viewer, ViewerStats

log = structlog.get_logger(__name__)

WATCHABLE_WITHIN: Final = 2.0
"""Seconds that an offer waits for the first picture of a stream that has just begun."""

MAX_WAITING: Final = 256
MAX_ATTEMPTS: Final = 16


class NotLive(AppError):
    """The room has nothing to show right now."""

    code = "not_live"


class Overloaded(AppError):
    """As many viewers as this server takes, or it is about to stop."""

    code = "overloaded"


@dataclass(frozen=True, slots=True)
class WebRtcConfig:
    """`hosts` are announced as candidates; none: what is detected, with the address that the offer
    was posted to before them. `bind` empty: all addresses, IPv6 as well when one is announced.
    `half_open_per_host` bounds sessions of one address that are not connected yet."""

    data_dir: Path
    port: int = 8189
    hosts: tuple[str, ...] = ()
    bind: str = ""
    max_viewers: int = 2000
    half_open_per_host: int = 128


@dataclass(frozen=True, slots=True)
class Joined:
    """A new session: its unguessable name, the answer's text, and the ETag of its ICE session."""

    session: str
    answer: str
    etag: str


class WebRtcService:
    """A `HubObserver`. `open` before the first offer, `close` once at the end."""

    def __init__(self, config: WebRtcConfig, *, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._half_open = HalfOpen(config.half_open_per_host)
        self._offers = HalfOpen(config.half_open_per_host)
        self._endpoint = Endpoint(self._half_open)
        self._tcp = TcpServer(self._endpoint)
        self._broadcasts: dict[str, Broadcast] = {}
        self._viewers: dict[str, Viewer] = {}
        self._etags: dict[str, str] = {}
        self._hosts: tuple[str, ...] = config.hosts
        self._waiting = 0
        self._draining = False
        self._udp: UdpPort | None = None
        self._dual_stack = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._certificate: Certificate | None = None

    # Its own life

    async def open(self) -> None:
        """Reads or makes the certificate and binds UDP and TCP to the port. Raises `OSError`."""
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._certificate = await asyncio.to_thread(
            Certificate.load_or_generate, self._config.data_dir
        )
        self._context = server_context(self._certificate)
        self._hosts = self._config.hosts or detect_hosts()
        bind = self._config.bind or ("::" if any(map(_is_ipv6, self._hosts)) else "0.0.0.0")
        self._dual_stack = _is_ipv6(bind)
        udp = self._udp = await self._bind(loop, bind)
        self._endpoint.open(udp)
        if not self._bound_to_one:
            for host in self._hosts:
                udp.also_at(host)
        log.info("webrtc.listening", port=udp.number, hosts=list(self._hosts))

    async def close(self) -> None:
        """Says goodbye to all viewers and frees the port."""
        self.drain()
        for viewer in tuple(self._viewers.values()):
            viewer.close("server_stopping")
        await asyncio.sleep(0)  # TCP writes its goodbyes.
        self._tcp.close()
        if self._udp is not None:
            self._udp.close()

    def drain(self) -> None:
        """Takes no more viewers; those who are here stay."""
        self._draining = True

    @property
    def port(self) -> int:
        """The bound port, UDP and TCP."""
        return self._udp.number if self._udp is not None else self._config.port

    # What the hub calls

    def stream_started(self, stream: Stream) -> None:
        assert self._loop is not None, "open the service before the first stream"
        broadcast = Broadcast(stream, clock=self._clock, loop=self._loop)
        self._broadcasts[stream.room] = broadcast
        stream.attach(broadcast, replay=True)

    def stream_ended(self, stream: Stream) -> None:
        broadcast = self._broadcasts.get(stream.room)
        if broadcast is not None and broadcast.stream is stream:
            del self._broadcasts[stream.room]

    # What the HTTP side calls

    async def join(
        self, room: str, offer: Offer, *, reached_at: str | None = None, remote: str | None = None
    ) -> Joined:
        """Makes a session of an offer; `reached_at` is our address that it was posted to, `remote`
        the one that it came from.

        Raises `NotLive`, `Overloaded`, or `PeerError` (see `negotiate`).
        """
        self._check_room_for_more(remote)
        broadcast = self._broadcasts.get(room)
        if broadcast is None:
            raise NotLive(f"room {room} is not live")
        if not broadcast.watchable:
            await self._wait(broadcast)
            self._check_room_for_more(remote)
        agreement = negotiate(offer, broadcast.video_tracks())
        local = Credentials.generate()
        session = secrets.token_urlsafe(24)
        sources = _sources(agreement)
        viewer = self._viewer(session, broadcast, agreement, local, sources)
        self._viewers[session] = viewer
        if remote is not None:
            self._offers.enter(remote, viewer)
        self._etags[session] = _new_etag()
        self._endpoint.register(local.ufrag, viewer)
        assert self._certificate is not None
        answer = write_answer(
            offer,
            agreement,
            local=local,
            fingerprint=self._certificate.fingerprint,
            candidates=self._candidates(reached_at),
            sources=sources,
            session_id=secrets.randbits(62),
        )
        return Joined(session, answer, self._etags[session])

    def etag(self, room: str, session: str) -> str | None:
        """Of the session's ICE session; None when there is no such session in this room."""
        return self._etags.get(session) if self._find(room, session) is not None else None

    def restart_ice(self, room: str, session: str, remote: Credentials) -> tuple[str, str] | None:
        """New credentials for both sides: the fragment to answer with, and the new ETag."""
        viewer = self._find(room, session)
        if viewer is None:
            return None
        local = Credentials.generate()
        viewer.peer.ice.restart(local, remote.ufrag)
        self._endpoint.register(local.ufrag, viewer)
        self._etags[session] = _new_etag()
        fragment = write_fragment(local, self._candidates(None), viewer.agreement.mid)
        return fragment, self._etags[session]

    def remote_ufrag(self, room: str, session: str) -> str | None:
        """The viewer's present fragment."""
        viewer = self._find(room, session)
        return viewer.peer.ice.remote_ufrag if viewer is not None else None

    def leave(self, room: str, session: str) -> bool:
        """Ends a session; False when there is none."""
        viewer = self._find(room, session)
        if viewer is None:
            return False
        viewer.close("left")
        return True

    # Figures

    def viewers(self, room: str) -> int:
        """Viewers of a room whose handshake is done."""
        broadcast = self._broadcasts.get(room)
        return broadcast.connected if broadcast is not None else 0

    @property
    def total_viewers(self) -> int:
        """Sessions of all rooms, those that are connecting included."""
        return len(self._viewers)

    def viewer_stats(self, room: str | None = None) -> Sequence[ViewerStats]:
        return [v.stats() for v in self._viewers.values() if room is None or v.room == room]

    @property
    def endpoint_stats(self) -> EndpointStats:
        return self._endpoint.stats

    @property
    def holdings(self) -> dict[str, int]:
        """How much is held for viewers, by kind; all nought when nobody is here."""
        return {
            "sessions": len(self._viewers),
            "etags": len(self._etags),
            "ufrags": self._endpoint.registered,
            "paths": self._endpoint.paths,
            "half_open": len(self._half_open) + len(self._offers),
            "tcp_connections": self._tcp.connections,
            "audience": sum(b.audience for b in self._broadcasts.values()),
            "downlinks": sum(b.downlinks for b in self._broadcasts.values()),
        }

    # Inside

    @property
    def _bound_to_one(self) -> bool:
        """Whether only one address of this machine is wanted."""
        return self._config.bind not in ("", "0.0.0.0", "::")

    async def _bind(self, loop: asyncio.AbstractEventLoop, host: str) -> UdpPort:
        """UDP and TCP on one number; when any will do, one that is free in both."""
        attempts = MAX_ATTEMPTS if self._config.port == 0 else 1
        while True:
            attempts -= 1
            udp = UdpPort(loop, self._endpoint.receive)
            udp.open(host, self._config.port)
            try:
                await self._tcp.open(None if host == "::" else host, udp.number)
            except OSError:
                udp.close()
                if not attempts:
                    raise
            else:
                return udp

    def _check_room_for_more(self, remote: str | None) -> None:
        if self._draining or len(self._viewers) >= self._config.max_viewers:
            raise Overloaded("no room for another viewer")
        if remote is None or _is_loopback(remote):
            return  # A proxy on this machine speaks for everybody.
        if not self._offers.admits(remote, None):
            raise Overloaded("too many sessions of this address are not connected yet")

    async def _wait(self, broadcast: Broadcast) -> None:
        if self._waiting >= MAX_WAITING:
            raise Overloaded("too many are waiting for the first picture")
        self._waiting += 1
        try:
            watchable = await broadcast.wait_watchable(WATCHABLE_WITHIN)
        finally:
            self._waiting -= 1
        if not watchable:
            raise NotLive(f"room {broadcast.stream.room} has no picture yet")

    def _viewer(
        self,
        session: str,
        broadcast: Broadcast,
        agreement: Agreement,
        local: Credentials,
        sources: Sequence[Source],
    ) -> Viewer:
        assert self._loop is not None
        ice = IceAgent(local, agreement.remote.ufrag, now=self._clock.monotonic())
        return Viewer(
            session,
            peer=Peer(ice, self._context, agreement.fingerprints),
            agreement=agreement,
            sources=sources,
            broadcast=broadcast,
            transport=self._endpoint,
            clock=self._clock,
            loop=self._loop,
            on_connected=self._settle,
            on_closed=self._forget,
        )

    def _settle(self, viewer: Viewer) -> None:
        self._half_open.leave(viewer)
        self._offers.leave(viewer)

    def _forget(self, viewer: Viewer) -> None:
        self._endpoint.unregister(viewer)
        self._settle(viewer)
        self._viewers.pop(viewer.session, None)
        self._etags.pop(viewer.session, None)

    def _find(self, room: str, session: str) -> Viewer | None:
        viewer = self._viewers.get(session)
        return viewer if viewer is not None and viewer.room == room else None

    def _candidates(self, reached_at: str | None) -> list[Candidate]:
        hosts = list(self._hosts)
        if reached_at is not None and not self._config.hosts:
            reached_at = reached_at.removeprefix("::ffff:")
            if (
                reached_at not in hosts
                and (self._dual_stack or not _is_ipv6(reached_at))
                and (
                    self._bound_to_one or (self._udp is not None and self._udp.also_at(reached_at))
                )
            ):
                hosts.insert(0, reached_at)
        return [Candidate(host, self.port) for host in hosts]


def _sources(agreement: Agreement) -> list[Source]:
    """Random sources, all different, under one name."""
    cname = secrets.token_urlsafe(12)
    ssrcs: set[int] = set()
    while len(ssrcs) < 2 * len(agreement.legs):
        ssrcs.add(secrets.randbelow(0xFFFFFFFF) + 1)
    drawn = iter(ssrcs)
    return [Source(next(drawn), next(drawn), cname, "vitrine") for _ in agreement.legs]


def _new_etag() -> str:
    return f'"{secrets.token_hex(8)}"'


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False
