"""The asyncio shell around one `Listener`: a UDP socket, one timer, sessions and their ends."""

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Final

import structlog

from configs.kernel.clock import Clock
from configs.kernel.errors import PeerError
from configs.kernel.tasks import TaskSupervisor
from media.errors import PublishRefused
from media.hub import Hub, PublishGrant
from media.srt.admission import Address, CallerRefused, ConnectionRequested
from media.srt.connection import ConnectionStats
from media.srt.errors import SrtRefused
from media.srt.gate import Gate, PlayAllowed, PublishAllowed, rejection_of
from media.srt.handshake import Rejection
from media.srt.listener import (
    ConnectionClosed,
    ConnectionPayload,
    Listener,
    ListenerConfig,
    ListenerEvent,
)
from media.srt.sessions import IngestSession, PlaySession
from media.stream import Publisher

log = structlog.get_logger(__name__)

READ_BATCH: Final = 64
MAX_DATAGRAM: Final = 2048
SOCKET_BUFFER: Final = 4 << 20
TICK_S: Final = 0.002
"""The timer is not set finer than this: what falls due together is done together."""


@dataclass(frozen=True, slots=True)
class PublisherFigures:
    """How a publisher's connection and its MPEG-TS fare."""

    connection: ConnectionStats
    continuity_errors: int


class SrtPort:
    """One bound port and everybody who called it."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        hub: Hub,
        gate: Gate,
        clock: Clock,
        config: ListenerConfig,
        default_grant: PublishGrant | None,
    ) -> None:
        self._socket = sock
        self._hub = hub
        self._gate = gate
        self._now = clock.monotonic
        self._default_grant = default_grant
        self._listener = Listener(config, entropy=os.urandom)
        self._sessions: dict[int, IngestSession | PlaySession] = {}
        self._remotes: dict[int, str] = {}
        self._tasks = TaskSupervisor()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._loop.add_reader(sock.fileno(), self._read)

    @property
    def number(self) -> int:
        return int(self._socket.getsockname()[1])

    @property
    def connections(self) -> int:
        return len(self._sessions)

    def publishers(self) -> dict[str, PublisherFigures]:
        """Figures of the connections that publish, by room."""
        found: dict[str, PublisherFigures] = {}
        for connection, session in self._sessions.items():
            stats = self._listener.stats(connection)
            if isinstance(session, IngestSession) and session.publication and stats:
                figures = PublisherFigures(stats, session.continuity_errors)
                found[session.publication.stream.room] = figures
        return found

    async def close(self) -> None:
        self._listener.close_all("server is shutting down", now=self._now())
        self._settle()
        self._loop.remove_reader(self._socket.fileno())
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()
        self._socket.close()

    # The loop

    def _read(self) -> None:
        now = self._now()
        for _ in range(READ_BATCH):
            try:
                data, address = self._socket.recvfrom(MAX_DATAGRAM)
            except OSError:
                # Nothing left, or an ICMP error about somebody who is gone.
                break
            self._listener.receive_datagram(data, address, now=now)
        self._settle()

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = float("inf")
        self._listener.handle_timer(now=self._now())
        self._settle()

    def _settle(self) -> None:
        while (event := self._listener.next_event()) is not None:
            self._handle(event)
        for datagram, address in self._listener.datagrams_to_send():
            self._transmit(datagram, address)
        self._arm()

    def _transmit(self, datagram: bytes, address: Address) -> None:
        try:
            self._socket.sendto(datagram, address)
        except OSError as error:
            # A full buffer or no route: to SRT it is loss, and it asks again.
            log.debug("srt.send_failed", error=str(error))

    def _arm(self) -> None:
        deadline = self._listener.next_timer()
        if deadline is None or deadline >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        now = self._now()
        self._timer_at = max(deadline, now + TICK_S)
        self._timer = self._loop.call_later(self._timer_at - now, self._on_timer)

    # What the listener tells

    def _handle(self, event: ListenerEvent) -> None:
        match event:
            case ConnectionPayload(connection, payload):
                self._feed(connection, payload)
            case ConnectionRequested():
                _ = self._tasks.spawn("srt.admission", self._admit(event))
            case ConnectionClosed(connection, reason):
                self._end(connection, reason)
            case CallerRefused(address, rejection):
                code, why = int(rejection), rejection.name.lower()
                log.info("srt.refused", peer=_display(address), code=code, reason=why)

    def _feed(self, connection: int, payload: bytes) -> None:
        session = self._sessions.get(connection)
        if not isinstance(session, IngestSession):
            return
        try:
            session.feed(payload)
        except PeerError as error:
            self._kick(connection, f"not a stream: {error}")

    def _end(self, connection: int, reason: str) -> None:
        session = self._sessions.pop(connection, None)
        remote = self._remotes.pop(connection, "")
        if isinstance(session, IngestSession):
            session.ended(reason)
        elif session is not None:
            session.close()
        room = session.room if session is not None else ""
        log.info("srt.closed", room=room, peer=remote, reason=reason)

    def _kick(self, connection: int | None, reason: str) -> None:
        if connection is not None:
            self._listener.close(connection, reason, now=self._now())
            self._loop.call_soon(self._settle_open)

    def _settle_open(self) -> None:
        if self._socket.fileno() >= 0:
            self._settle()

    # Admission

    async def _admit(self, event: ConnectionRequested) -> None:
        remote = _display(event.address)
        try:
            allowed = await self._gate.decide(event.stream_id, self._default_grant)
            self._let_in(event, allowed, remote)
        except SrtRefused as error:
            self._listener.reject(event.request, error.rejection, now=self._now())
            log.info("srt.refused", peer=remote, code=int(error.rejection), reason=str(error))
        finally:
            # Whatever went wrong, the caller gets an answer; after an answer this does nothing.
            self._listener.reject(event.request, Rejection.INTERNAL, now=self._now())
            self._settle_open()

    def _let_in(
        self, event: ConnectionRequested, allowed: PublishAllowed | PlayAllowed, remote: str
    ) -> None:
        now = self._now()
        waiting = self._listener.is_waiting(event.request)
        if not self._listener.authorize(event.request, allowed.passphrase, now=now):
            reason = "passphrase" if waiting else "gave up waiting"
            log.info("srt.refused", room=allowed.room, peer=remote, reason=reason)
            return
        session: IngestSession | PlaySession
        if isinstance(allowed, PublishAllowed):
            session = self._publish(allowed.grant, remote, event.version)
            connection = session.connection = self._listener.accept(event.request, now=now)
        else:
            connection = self._listener.accept(event.request, now=now)
            session = PlaySession(allowed.stream, lambda payload: self._send(connection, payload))
            _ = self._tasks.spawn("srt.play", self._play(connection, session))
        self._sessions[connection] = session
        self._remotes[connection] = remote
        log.info("srt.accepted", room=allowed.room, peer=remote, mode=session.mode)

    def _publish(self, grant: PublishGrant, remote: str, version: int) -> IngestSession:
        session = IngestSession(grant.room)
        encoder = f"SRT {version >> 16 & 0xFF}.{version >> 8 & 0xFF}.{version & 0xFF}"
        try:
            session.publication = self._hub.publish(
                grant,
                Publisher("srt", remote, encoder),
                lambda reason: self._kick(session.connection, reason),
            )
        except PublishRefused as error:
            raise SrtRefused(error.code, rejection_of(error)) from None
        return session

    def _send(self, connection: int, payload: bytes) -> None:
        self._listener.send(connection, payload, now=self._now())
        self._settle()

    async def _play(self, connection: int, session: PlaySession) -> None:
        try:
            await session.run()
        finally:
            session.close()
            self._kick(connection, "stream ended")


def _display(address: Address) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
