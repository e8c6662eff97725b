"""A caller's way in, up to the moment at which it is accepted (section 4.3.1).

    induction ──► cookie back, nothing kept
    conclusion with the cookie ──► PENDING, `ConnectionRequested` is told
        shell: `authorize(passphrase)`, then `admit` or `refuse(code)`
    PENDING ──admit──► the listener makes a connection of it
    PENDING ──refuse, or 10 s──► REFUSED, the answer is repeated for a few seconds, then forgotten

Callers repeat their conclusion every 250 ms until they hear from us, so the shell may take its
time. What is kept is bounded, in all and for each address.
"""

import ipaddress
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from configs.kernel.errors import PeerError
from media.srt.crypto import BadSecret, Entropy, KeyRing, UnsupportedCipher
from media.srt.handshake import (
    INDUCTION,
    MAGIC,
    OLDEST_PEER,
    Capabilities,
    Cookies,
    ExtensionType,
    Feature,
    Handshake,
    Rejection,
    decode_text,
    encode_ip,
    rejection_kind,
)
from media.srt.packets import ControlPacket, ControlType

Address = tuple[str, int] | tuple[str, int, int, int]
Caller = tuple[Address, int]
"""Address and socket id of the peer."""

REFUSED_FOR_S: Final = 3.0
MAX_REFUSED: Final = 1024
CROWDED: Final = frozenset({Rejection.BACKLOG, Rejection.OVERLOAD})


@dataclass(frozen=True, slots=True)
class ConnectionRequested:
    """A caller with a true address asks; `request` names it for `authorize`, `accept`, `reject`.

    `stream_id` may hold a key: do not log it. `version` is the peer's, as 0xMMmmpp.
    """

    request: int
    stream_id: str
    address: Address
    version: int


@dataclass(frozen=True, slots=True)
class CallerRefused:
    """A caller was refused before the shell was asked, or because the shell took too long."""

    address: Address
    rejection: Rejection


@dataclass(slots=True)
class Pending:
    """A caller between its conclusion and our answer."""

    caller: Caller
    handshake: Handshake
    capabilities: Capabilities
    arrived: float
    timestamp: int
    keys: KeyRing | None = None


class Admission:
    """Holds the half-open callers of one port."""

    def __init__(
        self,
        *,
        half_open_s: float,
        max_per_address: int,
        max_half_open: int,
        own_id: int,
        key_refresh_packets: int,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._half_open_s = half_open_s
        self._max_per_address = max_per_address
        self._max_half_open = max_half_open
        self._own_id = own_id
        self._key_refresh = key_refresh_packets
        self._entropy = entropy
        self._cookies = Cookies(entropy(32))
        self._pending: dict[int, Pending] = {}
        self._requests: dict[Caller, int] = {}
        self._per_host: Counter[str] = Counter()
        self._refused: dict[Caller, tuple[Rejection, float]] = {}
        self._crowding: set[str] = set()
        self._out: deque[tuple[bytes, Address]] = deque()
        self._last_request = 0

    @property
    def half_open(self) -> int:
        return len(self._pending)

    def is_pending(self, request: int) -> bool:
        return request in self._pending

    def answer_induction(self, handshake: Handshake, address: Address, *, now: float) -> None:
        response = Handshake(
            version=5,
            kind=INDUCTION,
            socket_id=self._own_id,
            cookie=self._cookies.issue(address[:2], now=now),
            initial_sequence=handshake.initial_sequence,
            flags=MAGIC,
            peer_ip=encode_ip(address[0]),
        )
        self._send(response, (address, handshake.socket_id))

    def conclude(
        self, handshake: Handshake, timestamp: int, caller: Caller, *, full: bool, now: float
    ) -> ConnectionRequested | CallerRefused | None:
        """A conclusion whose caller has no connection yet; `full`: there is room for no more.

        Raises PeerError when its cookie is not ours.
        """
        if not self._cookies.check(handshake.cookie, caller[0][:2], now=now):
            raise PeerError("wrong cookie")
        if caller in self._requests:
            return None
        refused = self._refused.get(caller)
        if refused is not None and now < refused[1]:
            self._send_refusal(refused[0], handshake, caller)
            return None
        rejection = unsupported(handshake) or self._no_room(caller, full)
        if rejection is not None:
            self._remember(rejection, handshake, caller, now)
            if rejection in CROWDED and not self._first_refusal(counted_address(caller[0][0])):
                return None
            return CallerRefused(caller[0], rejection)
        self._last_request += 1
        request = self._last_request
        capabilities = Capabilities.parse(handshake.extensions[ExtensionType.HSREQ])
        self._pending[request] = Pending(caller, handshake, capabilities, now, timestamp)
        self._requests[caller] = request
        host = counted_address(caller[0][0])
        self._per_host[host] += 1
        self._crowding.discard(host)
        return ConnectionRequested(request, handshake.stream_id, caller[0], capabilities.version)

    def authorize(self, request: int, passphrase: str | None, *, now: float) -> bool:
        """See `Listener.authorize`."""
        pending = self._pending.get(request)
        if pending is None:
            return False
        message = pending.handshake.extensions.get(ExtensionType.KMREQ)
        rejection: Rejection | None = None
        if message is None or passphrase is None:
            if message is not None or passphrase is not None:
                rejection = Rejection.UNSECURE
        else:
            pending.keys = KeyRing(
                passphrase, refresh_packets=self._key_refresh, entropy=self._entropy
            )
            rejection = _load(pending.keys, message)
        if rejection is not None:
            self.refuse(request, rejection, now=now)
        return rejection is None

    def admit(self, request: int) -> Pending:
        """Takes the caller out, to be made a connection; KeyError when it is no longer waiting."""
        pending = self._pending.pop(request)
        self._leave(pending)
        return pending

    def refuse(self, request: int, code: Rejection, *, now: float) -> None:
        pending = self._pending.pop(request, None)
        if pending is not None:
            self._leave(pending)
            self._remember(code, pending.handshake, pending.caller, now)

    def refuse_all(self, code: Rejection, *, now: float) -> None:
        for request in tuple(self._pending):
            self.refuse(request, code, now=now)

    def next_timer(self) -> float | None:
        oldest = next(iter(self._pending.values()), None)
        return oldest.arrived + self._half_open_s if oldest is not None else None

    def handle_timer(self, *, now: float) -> Iterator[CallerRefused]:
        """Gives the callers that waited too long."""
        while self._pending:
            request, oldest = next(iter(self._pending.items()))
            if now < oldest.arrived + self._half_open_s:
                break
            self.refuse(request, Rejection.TIMEOUT, now=now)
            yield CallerRefused(oldest.caller[0], Rejection.TIMEOUT)
        while self._refused:
            caller, (_, until) = next(iter(self._refused.items()))
            if now < until:
                break
            del self._refused[caller]

    def datagrams_to_send(self) -> Iterable[tuple[bytes, Address]]:
        while self._out:
            yield self._out.popleft()

    def _no_room(self, caller: Caller, full: bool) -> Rejection | None:
        if full:
            return Rejection.OVERLOAD
        crowded = self._per_host[counted_address(caller[0][0])] >= self._max_per_address
        return Rejection.BACKLOG if crowded or self.half_open >= self._max_half_open else None

    def _first_refusal(self, host: str) -> bool:
        """True once until the address is let in again: a flood must not flood the log."""
        if host in self._crowding or len(self._crowding) >= MAX_REFUSED:
            return False
        self._crowding.add(host)
        return True

    def _leave(self, pending: Pending) -> None:
        del self._requests[pending.caller]
        host = counted_address(pending.caller[0][0])
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]

    def _remember(self, code: Rejection, handshake: Handshake, caller: Caller, now: float) -> None:
        self._refused.pop(caller, None)
        if len(self._refused) >= MAX_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[caller] = (code, now + REFUSED_FOR_S)
        self._send_refusal(code, handshake, caller)

    def _send_refusal(self, code: Rejection, handshake: Handshake, caller: Caller) -> None:
        refusal = Handshake(
            version=5,
            kind=rejection_kind(code),
            socket_id=self._own_id,
            initial_sequence=handshake.initial_sequence,
            peer_ip=encode_ip(caller[0][0]),
        )
        self._send(refusal, caller)

    def _send(self, handshake: Handshake, caller: Caller) -> None:
        address, peer_id = caller
        packet = ControlPacket(ControlType.HANDSHAKE, 0, peer_id, body=handshake.serialize())
        self._out.append((packet.serialize(), address))


def unsupported(handshake: Handshake) -> Rejection | None:
    """What is wrong with this conclusion, or beyond what a live listener does."""
    extensions = handshake.extensions
    if handshake.version < 5:
        return Rejection.VERSION
    try:
        if handshake.socket_id == 0:
            return Rejection.ROGUE
        capabilities = Capabilities.parse(extensions.get(ExtensionType.HSREQ, b""))
        congestion = decode_text(extensions.get(ExtensionType.CONGESTION, b""))
    except PeerError:
        return Rejection.ROGUE
    faults = {
        Rejection.VERSION: capabilities.version < OLDEST_PEER,
        Rejection.MESSAGEAPI: bool(capabilities.features & Feature.STREAM),
        Rejection.CONGESTION: congestion not in ("", "live"),
        Rejection.FILTER: ExtensionType.FILTER in extensions,
        Rejection.GROUP: ExtensionType.GROUP in extensions,
        Rejection.BAD_REQUEST: not _is_text(extensions.get(ExtensionType.SID, b"")),
    }
    return next((rejection for rejection, present in faults.items() if present), None)


def counted_address(host: str) -> str:
    """What callers are counted by: the IPv4 address, or the /64 that one IPv6 host can roam in."""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[:8].hex()


def _is_text(body: bytes) -> bool:
    try:
        decode_text(body)
    except PeerError:
        return False
    return True


def _load(keys: KeyRing, message: bytes) -> Rejection | None:
    try:
        keys.load(message)
    except BadSecret:
        return Rejection.BADSECRET
    except UnsupportedCipher:
        return Rejection.CRYPTO
    except PeerError:
        return Rejection.ROGUE
    return None
