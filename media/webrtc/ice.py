"""The lite side of ICE (RFC 8445 §2.5, §7.3, §8.2) with consent (RFC 7675), without I/O.

We never send checks, only answers. The browser is the controlling side: it checks every pair of
addresses it knows of, and says with USE-CANDIDATE which one it wants. So

- every authentic check is answered, where it came from;
- media goes to the *selected* path alone: the last one that was nominated. A check without
  USE-CANDIDATE, be it ever so new, moves nothing: a browser with two local addresses goes on
  checking both, and would be starved by a server that follows the newest source;
- the first nomination selects at once. Another path takes over at once when its priority is at
  least as high. When it is lower we wait until it is nominated twice without the selected one being
  nominated in between: an agent of RFC 5245's aggressive kind nominates all pairs in turns and
  means the best, one that moves to a worse network nominates only that;
- consent is the last authentic check of any pair. `CONSENT_TIMEOUT` seconds without one, and the
  peer is gone.

A restart (RFC 8445 §2.4) gives new credentials; the old ones are good until the new ones nominate.
"""

import hmac
import secrets
import struct
from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from media.webrtc import stun
from media.webrtc.stun import Attribute, MessageClass

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""A socket's address, of IPv4 or IPv6."""

CONSENT_TIMEOUT: Final = 30.0
FIRST_CHECK_TIMEOUT: Final = 10.0
MAX_PATHS: Final = 32
"""Paths of one peer that are remembered; a browser has a handful, a scanner as many as it likes."""

_MAPPED: Final = "::ffff:"
MAX_USERNAME: Final = 513
"""Bytes (RFC 8489 §14.3)."""


@dataclass(frozen=True, slots=True)
class Path:
    """Where a datagram came from: `transport` is ``udp`` or names one TCP connection.

    `local` names the socket of ours that it came to. `scope` is the zone of a link-local IPv6
    address; `ipv6` tells which kind of socket address is needed.
    """

    host: str
    port: int
    transport: str = "udp"
    local: str = ""
    scope: int = 0
    ipv6: bool = False

    @classmethod
    def udp(cls, address: Address, local: str = "") -> "Path":
        """Of a socket's address; an IPv4 peer of an IPv6 socket is called by its IPv4 address."""
        if len(address) == 4:
            host = address[0].removeprefix(_MAPPED)
            return cls(host, address[1], local=local, scope=address[3], ipv6=True)
        return cls(address[0], address[1], local=local)

    @property
    def address(self) -> Address:
        """The socket's address again."""
        if not self.ipv6:
            return (self.host, self.port)
        host = self.host if ":" in self.host else _MAPPED + self.host
        return (host, self.port, 0, self.scope)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An ICE user name fragment and its password (RFC 8445 §5.3)."""

    ufrag: str
    password: str

    @classmethod
    def generate(cls) -> "Credentials":
        # 48 and 144 bits, of the 24 and 128 that the standard asks for.
        password = secrets.token_urlsafe(18).replace("-", "+").replace("_", "/")
        return cls(secrets.token_hex(6), password)


@dataclass(frozen=True, slots=True)
class PathSelected:
    """The controlling side nominated this path: from now on everything is sent there."""

    path: Path


@dataclass(frozen=True, slots=True)
class ConsentExpired:
    """No authentic check for too long; `ever` says whether there was one at all."""

    ever: bool


IceEvent: TypeAlias = PathSelected | ConsentExpired


@dataclass(slots=True)
class _Generation:
    """One pair of local and remote credentials."""

    local: Credentials
    remote_ufrag: str

    @property
    def username(self) -> bytes:
        return f"{self.local.ufrag}:{self.remote_ufrag}".encode()


class IceAgent:
    """One peer's ICE, controlled and lite. Times are seconds of any monotonic clock."""

    def __init__(self, local: Credentials, remote_ufrag: str, *, now: float) -> None:
        self._current = _Generation(local, remote_ufrag)
        self._previous: _Generation | None = None
        self._paths: dict[Path, int] = {}
        self._challenger: Path | None = None
        self._outgoing: deque[tuple[Path, bytes]] = deque()
        self._events: deque[IceEvent] = deque()
        self._deadline: float | None = now + FIRST_CHECK_TIMEOUT
        self._last_transaction = b""
        self.selected: Path | None = None
        self.last_consent: float | None = None

    @property
    def local(self) -> Credentials:
        return self._current.local

    @property
    def ufrags(self) -> tuple[str, ...]:
        """The local fragments by which a check may name this peer."""
        if self._previous is not None:
            return (self._current.local.ufrag, self._previous.local.ufrag)
        return (self._current.local.ufrag,)

    @property
    def remote_ufrag(self) -> str:
        return self._current.remote_ufrag

    def knows(self, path: Path) -> bool:
        """Whether an authentic check came from there."""
        return path in self._paths

    def restart(self, local: Credentials, remote_ufrag: str) -> None:
        """New credentials; media goes on where it went until these have nominated."""
        self._previous, self._current = self._current, _Generation(local, remote_ufrag)

    def receive(self, message: stun.Message, path: Path, *, now: float) -> bool:
        """Takes a STUN message; answers lie in `data_to_send`. True for an authentic check.

        What is not from our peer is answered with an error, or not at all, and changes nothing.
        """
        if message.method != stun.BINDING or message.message_class is not MessageClass.REQUEST:
            return False  # Indications are keep-alives; responses answer nothing of ours.
        generation = self._authenticate(message)
        if isinstance(generation, int):
            self._reply_error(message, path, generation, None)
            return False
        password = generation.local.password.encode()
        if message.unknown:
            listed = b"".join(struct.pack("!H", kind) for kind in message.unknown)
            self._reply_error(
                message, path, 420, password, ((Attribute.UNKNOWN_ATTRIBUTES, listed),)
            )
            return False
        if message.get(Attribute.ICE_CONTROLLED) is not None:
            self._reply_error(message, path, 487, password)  # A lite agent never controls.
            return False
        if path not in self._paths and len(self._paths) >= MAX_PATHS and not self._forget_one():
            return False
        mapped = stun.xor_mapped_address(path.host, path.port, message.transaction_id)
        self._outgoing.append(
            (
                path,
                stun.build(
                    MessageClass.SUCCESS,
                    message.transaction_id,
                    ((Attribute.XOR_MAPPED_ADDRESS, mapped),),
                    password=password,
                ),
            )
        )
        self._accept(message, path, generation)
        self.last_consent = now
        self._deadline = now + CONSENT_TIMEOUT
        return True

    def path_lost(self, path: Path) -> None:
        """A TCP connection closed. What was selected stays so until another is nominated."""
        self._paths.pop(path, None)
        if self._challenger == path:
            self._challenger = None
        if self.selected == path:
            self.selected = None

    def next_timer(self) -> float | None:
        return self._deadline

    def handle_timer(self, *, now: float) -> None:
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._events.append(ConsentExpired(ever=self.last_consent is not None))

    def data_to_send(self) -> list[tuple[Path, bytes]]:
        """Answers, each with the path that it has to leave by."""
        outgoing = list(self._outgoing)
        self._outgoing.clear()
        return outgoing

    def next_event(self) -> IceEvent | None:
        return self._events.popleft() if self._events else None

    def _authenticate(self, message: stun.Message) -> "_Generation | int":
        """The credentials that the message was made with, or the code of the error to answer."""
        username = message.get(Attribute.USERNAME)
        if username is None or message.integrity_at is None or not message.fingerprinted:
            return 400
        for generation in (self._current, self._previous):
            if (
                generation is not None
                and hmac.compare_digest(username, generation.username)
                and message.is_authentic(generation.local.password.encode())
            ):
                return generation
        return 401

    def _reply_error(
        self,
        message: stun.Message,
        path: Path,
        code: int,
        password: bytes | None,
        more: tuple[tuple[int, bytes], ...] = (),
    ) -> None:
        reason = {400: "Bad Request", 401: "Unauthenticated", 420: "Unknown Attribute"}
        attributes = (
            (Attribute.ERROR_CODE, stun.error_code(code, reason.get(code, "Role Conflict"))),
            *more,
        )
        self._outgoing.append(
            (
                path,
                stun.build(
                    MessageClass.ERROR, message.transaction_id, attributes, password=password
                ),
            )
        )

    def _accept(self, message: stun.Message, path: Path, generation: _Generation) -> None:
        value = message.get(Attribute.PRIORITY)
        priority = int.from_bytes(value, "big") if value is not None and len(value) == 4 else 0
        self._paths.setdefault(path, priority)
        repeated = message.transaction_id == self._last_transaction
        self._last_transaction = message.transaction_id
        if message.get(Attribute.USE_CANDIDATE) is None or repeated:
            return
        self._paths[path] = priority
        restarted = self._previous is not None and generation is self._current
        if restarted:
            self._previous = None
        if path == self.selected:
            self._challenger = None
            return
        current = self._paths.get(self.selected) if self.selected is not None else None
        if current is None or restarted or priority >= current or self._challenger == path:
            self.selected = path
            self._challenger = None
            self._events.append(PathSelected(path))
        else:
            self._challenger = path

    def _forget_one(self) -> bool:
        """Makes room for one more path: the oldest that is not in use."""
        for path in self._paths:
            if path != self.selected:
                del self._paths[path]
                return True
        return False


def ufrag_of(message: stun.Message) -> str | None:
    """The local fragment that a check is addressed to; it still has to be authenticated."""
    username = message.get(Attribute.USERNAME)
    if username is None or len(username) > MAX_USERNAME:
        return None
    return username.partition(b":")[0].decode("ascii", "replace")
