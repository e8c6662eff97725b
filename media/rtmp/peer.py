"""The asyncio shell around one `RtmpConnection`: socket, TLS, authorization, publication."""

import asyncio
import os
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Final, cast

import structlog

from configs.kernel.clock import Clock
from configs.kernel.errors import PeerError
from media.errors import PublishRefused
from media.hub import Hub, Publication, PublishGrant, StreamKeys
from media.rtmp.admission import Admission, counted_address
from media.rtmp.connection import RtmpConnection, RtmpLimits
from media.rtmp.events import EncoderNamed, Event, PublishEnded, PublishRequested
from media.stream import Notice, Publisher
from media.units import AccessUnit, Track

log = structlog.get_logger(__name__)

MAX_EARLY: Final = 1 << 18
"""Bytes kept between the end of the TLS handshake and the moment we hear of it."""

WRITE_LIMIT: Final = 1 << 16
"""Bytes that a peer may leave unread before we stop reading from it."""


@dataclass(frozen=True, slots=True)
class PeerContext:
    """What all connections of a server share. `all_gone` is set while there are none."""

    hub: Hub
    keys: StreamKeys
    limits: RtmpLimits
    clock: Clock
    admission: Admission
    peers: set["Peer"] = field(default_factory=set)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    all_gone: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.all_gone.set()

    def enter(self, peer: "Peer") -> None:
        self.peers.add(peer)
        self.all_gone.clear()

    def leave(self, peer: "Peer") -> None:
        self.peers.discard(peer)
        if not self.peers:
            self.all_gone.set()


class Peer(asyncio.Protocol):
    """One connection, from accept to close."""

    def __init__(self, context: PeerContext, tls: ssl.SSLContext | None) -> None:
        self._context = context
        self._tls = tls
        self._now = context.clock.monotonic
        self._connection = RtmpConnection(
            now=self._now(), entropy=os.urandom, limits=context.limits
        )
        self._transport: asyncio.Transport | None = None
        self._publication: Publication | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._task: asyncio.Task[None] | None = None
        self._address = ""
        self._remote = ""
        self._admitted = False
        self._promoted = False
        self._writable = True
        self._lingering = False
        self._securing = tls is not None
        self._early = bytearray()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # A peer that is gone again already has no name any more.
        host, port = (self._transport.get_extra_info("peername") or ("0.0.0.0", 0))[:2]
        self._remote = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._address = counted_address(host)
        admission = self._context.admission
        self._admitted = admission.admit(self._address)
        if not self._admitted:
            if admission.first_refusal(self._address):
                log.info("rtmp.connection_refused", peer=self._remote, code="too_many")
            self._transport.abort()
            return
        self._context.enter(self)
        self._arm()
        if self._tls is None:
            self._transport.set_write_buffer_limits(high=WRITE_LIMIT)
        else:
            self._transport.pause_reading()
            self._run(self._start_tls(self._transport, self._tls))

    def data_received(self, data: bytes) -> None:
        if self._securing:
            # TLS is up and the peer speaks, but `start_tls` has not come back to us yet.
            self._early += data
            if len(self._early) > MAX_EARLY:
                self._drop(PeerError("did not wait for the handshake", code="too_eager"))
            return
        try:
            self._connection.receive(data, now=self._now())
        except PeerError as error:
            self._drop(error)
        else:
            self._settle()

    def pause_writing(self) -> None:
        self._writable = False
        self._choose_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._choose_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave("connection lost" if exc else "disconnected")

    # What the connection wants

    def _settle(self) -> None:
        while (event := self._connection.next_event()) is not None:
            self._handle(event)
        self._flush()
        self._arm()

    def _handle(self, event: Event) -> None:
        if isinstance(event, PublishRequested):
            self._run(self._authorize(event))
            self._choose_reading()
            return
        publication = self._publication
        if publication is None:
            return
        match event:
            case AccessUnit():
                publication.write(event)
            case Track():
                publication.set_track(event)
            case Notice():
                publication.notify(event)
            case EncoderNamed():
                publication.publisher = replace(publication.publisher, encoder=event.encoder)
                publication.stream.publisher = publication.publisher
            case PublishEnded():
                self._stop_publishing("stopped by the encoder")

    def _flush(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        data = self._connection.data_to_send()
        if data:
            transport.write(data)
        if self._connection.closing and not self._lingering:
            self._lingering = True
            # A close with media unread would reset the connection, and the peer might lose the
            # last words. So it is given a moment to read them and to close by itself.
            if transport.can_write_eof():
                try:
                    transport.write_eof()
                except OSError:  # it is gone already
                    transport.abort()
            else:
                transport.close()

    def _arm(self) -> None:
        if not self._admitted:
            return
        due = self._connection.next_timer()
        if self._timer is not None:
            if due >= self._armed_for:
                return
            self._timer.cancel()
        self._armed_for = due
        delay = max(0.0, due - self._now())
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self._connection.handle_timer(now=self._now())
        except PeerError as error:
            self._drop(error)
        else:
            self._arm()

    def _choose_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._writable and not self._connection.awaits_decision:
            transport.resume_reading()
        else:
            transport.pause_reading()

    # TLS and authorization

    def _run(self, work: Coroutine[None, None, None]) -> None:
        tasks = self._context.tasks
        self._task = asyncio.get_running_loop().create_task(work)
        tasks.add(self._task)
        self._task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._context.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("rtmp.connection_failed", peer=self._remote, exc_info=error)
            self.abort()

    async def _start_tls(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        # Not create_server(ssl=…): it would tell us of a peer only once TLS is up, and half-open
        # handshakes would escape the cap.
        timeout = self._context.limits.setup_timeout_s
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=timeout
            )
        except (OSError, EOFError) as error:
            log.info(
                "rtmp.peer_dropped", peer=self._remote, code="tls", reason=type(error).__name__
            )
            self.abort()
            return
        if secured is None or not self._admitted:
            self.abort()
            return
        self._transport = secured
        self._securing = False
        secured.set_write_buffer_limits(high=WRITE_LIMIT)
        if self._early:
            early = bytes(self._early)
            self._early.clear()
            self.data_received(early)

    async def _authorize(self, request: PublishRequested) -> None:
        try:
            grant = await self._grant(request)
            if not self._admitted or not self._connection.awaits_decision:
                return
            publisher = Publisher("rtmp", self._remote, request.encoder)
            self._publication = self._context.hub.publish(grant, publisher, self.kick)
        except PublishRefused as refused:
            # The room is not named: what a stranger wrote there may well be the key.
            log.info("rtmp.publish_refused", peer=self._remote, code=refused.code)
            self._connection.refuse_publish(refused.code, now=self._now())
        else:
            self._promoted = True
            self._context.admission.promote(self._address)
            try:
                self._connection.accept_publish(now=self._now())
            except PeerError as error:
                self._drop(error)
                return
        self._choose_reading()
        self._settle()

    async def _grant(self, request: PublishRequested) -> PublishGrant:
        if not request.room:
            raise PublishRefused(code="not_found")
        if not request.key:
            raise PublishRefused(code="unauthorized")
        return await self._context.keys.grant(request.room, request.key)

    # The end

    def kick(self, reason: str) -> None:
        """The right to publish is gone, or the server goes: says why and closes."""
        if self._securing:
            self.abort()
            return
        self._stop_publishing(reason)
        self._connection.kick(reason, now=self._now())
        self._choose_reading()
        self._settle()

    def request_reconnect(self, tc_url: str) -> bool:
        asked = self._connection.request_reconnect(tc_url)
        self._flush()
        return asked

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self._leave("aborted")

    def _drop(self, error: PeerError) -> None:
        if not self._lingering:
            log.info("rtmp.peer_dropped", peer=self._remote, code=error.code, reason=str(error))
        self._leave(error.code)
        self.abort()

    def _stop_publishing(self, reason: str) -> None:
        publication, self._publication = self._publication, None
        if publication is not None:
            publication.close(reason)
        if self._promoted:
            self._promoted = False
            self._context.admission.demote(self._address)

    def _leave(self, reason: str) -> None:
        if not self._admitted:
            return
        self._admitted = False
        self._stop_publishing(reason)
        self._context.admission.leave(self._address)
        self._context.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
