"""A listener and its callers over a bad wire, in virtual time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Final

from media.srt.admission import Address, CallerRefused, ConnectionRequested
from media.srt.caller import CallerConfig, CallerConnection, CallerEvent
from media.srt.connection import PayloadDelivered
from media.srt.handshake import (
    CONCLUSION,
    INDUCTION,
    LIVE,
    Capabilities,
    ExtensionType,
    Handshake,
    extension_flags,
)
from media.srt.listener import ConnectionClosed, ConnectionPayload, Listener, ListenerConfig
from media.srt.packets import ControlPacket, ControlType, parse
from tests.support.bad_wire import BadWire, Weather

SERVER: Final[Address] = ("192.0.2.1", 8890)
CALLER: Final[Address] = ("198.51.100.7", 40_000)
STRANGER: Final[Address] = ("203.0.113.9", 9)

ORDINARY: Final = Capabilities(0x010501, LIVE, 120, 120)

Accept = Callable[["SrtWorld", ConnectionRequested], None]


def entropy(seed: int) -> Callable[[int], bytes]:
    """Random bytes that are the same in every run."""
    return random.Random(seed).randbytes


def accept_all(world: "SrtWorld", event: ConnectionRequested) -> None:
    if world.listener.authorize(event.request, world.passphrase, now=world.now):
        world.connections.append(world.listener.accept(event.request, now=world.now))


@dataclass
class SrtWorld:
    """One listener, any number of callers, a wire each way, and a clock that only `run` moves."""

    weather: Weather = field(default_factory=Weather)
    seed: int = 1
    passphrase: str | None = None
    config: ListenerConfig = field(default_factory=ListenerConfig)
    on_request: Accept = accept_all
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.listener = Listener(self.config, entropy=entropy(self.seed))
        self.up = BadWire(self.weather, seed=self.seed + 1)
        self.down = BadWire(self.weather, seed=self.seed + 2)
        self.callers: dict[Address, CallerConnection] = {}
        self.connections: list[int] = []
        self.requests: list[ConnectionRequested] = []
        self.refused: list[CallerRefused] = []
        self.payloads: list[tuple[float, ConnectionPayload]] = []
        self.closed: list[tuple[float, ConnectionClosed]] = []
        self.caller_events: list[tuple[float, CallerEvent]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def call(self, config: CallerConfig, *, address: Address = CALLER) -> CallerConnection:
        caller = CallerConnection(
            config, now=self.now, entropy=entropy(self.seed + 3 + len(self.callers))
        )
        self.callers[address] = caller
        self._settle()
        return caller

    def at(self, when: float, action: Callable[[], None]) -> None:
        heappush(self._agenda, (when, next(self._order), action))

    def vanish(self, address: Address = CALLER) -> None:
        """The caller's machine loses its power."""
        del self.callers[address]

    def inject(self, data: bytes, address: Address) -> None:
        """A datagram to the listener out of nowhere."""
        self.listener.receive_datagram(data, address, now=self.now)
        self._settle()

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self._settle()
        while True:
            timers = [caller.next_timer() for caller in self.callers.values()]
            timers.append(self.listener.next_timer())
            if self._agenda:
                timers.append(self._agenda[0][0])
            upcoming = min((timer for timer in timers if timer is not None), default=None)
            if upcoming is None or upcoming > end:
                break
            self.now = max(self.now, upcoming)
            self._step()
        self.now = end

    @property
    def received(self) -> bytes:
        return b"".join(event.payload for _, event in self.payloads)

    @property
    def dropped(self) -> int:
        return sum(event.dropped for _, event in self.payloads)

    def read_by_caller(self) -> list[tuple[float, PayloadDelivered]]:
        return [
            (at, event) for at, event in self.caller_events if isinstance(event, PayloadDelivered)
        ]

    def _step(self) -> None:
        while self._agenda and self._agenda[0][0] <= self.now:
            heappop(self._agenda)[2]()
        self.listener.handle_timer(now=self.now)
        for caller in self.callers.values():
            caller.handle_timer(now=self.now)
        self._settle()

    def _settle(self) -> None:
        while (event := self.listener.next_event()) is not None:
            match event:
                case ConnectionRequested():
                    self.requests.append(event)
                    self.on_request(self, event)
                case CallerRefused():
                    self.refused.append(event)
                case ConnectionPayload():
                    self.payloads.append((self.now, event))
                case ConnectionClosed():
                    self.closed.append((self.now, event))
        for data, address in self.listener.datagrams_to_send():
            for arrival in self.down.carry(self.now):
                self.at(arrival, partial(self._to_caller, data, address))
        for address, caller in self.callers.items():
            while (heard := caller.next_event()) is not None:
                self.caller_events.append((self.now, heard))
            for data in caller.data_to_send():
                for arrival in self.up.carry(self.now):
                    self.at(arrival, partial(self._to_listener, data, address))

    def _to_listener(self, data: bytes, address: Address) -> None:
        self.listener.receive_datagram(data, address, now=self.now)

    def _to_caller(self, data: bytes, address: Address) -> None:
        caller = self.callers.get(address)
        if caller is not None:
            caller.receive_datagram(data, now=self.now)


def hold(world: SrtWorld, event: ConnectionRequested) -> None:
    """A shell that has not made up its mind."""


def events(world: SrtWorld) -> list[object]:
    return [event for _, event in world.caller_events]


def handshake_to(
    listener: Listener, handshake: Handshake, *, now: float = 1000.0
) -> list[Handshake]:
    """The answers to a handshake from CALLER."""
    packet = ControlPacket(ControlType.HANDSHAKE, 0, 0, body=handshake.serialize())
    listener.receive_datagram(packet.serialize(), CALLER, now=now)
    answers = []
    for data, address in listener.datagrams_to_send():
        assert address == CALLER
        answer = parse(data)
        assert isinstance(answer, ControlPacket)
        answers.append(Handshake.parse(answer.body))
    return answers


def cookie_from(listener: Listener, *, now: float = 1000.0) -> int:
    (answer,) = handshake_to(listener, Handshake(4, INDUCTION, 77), now=now)
    return answer.cookie


def conclusion(
    cookie: int,
    *,
    version: int = 5,
    socket_id: int = 77,
    capabilities: Capabilities | None = ORDINARY,
    extra: dict[ExtensionType, bytes] | None = None,
) -> Handshake:
    extensions = dict(extra or {})
    if capabilities is not None:
        extensions[ExtensionType.HSREQ] = capabilities.serialize()
    return Handshake(
        version,
        CONCLUSION,
        socket_id,
        cookie,
        initial_sequence=5,
        flags=extension_flags(extensions),
        extensions=extensions,
    )
