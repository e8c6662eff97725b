"""Signing in: passwords by argon2id in a thread, opaque tokens of which the hash is kept."""

import asyncio
import hashlib
import ipaddress
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from configs.kernel.clock import Clock
from signaling.entities import MAX_USERNAME, Role, User, account_name, require_username
from signaling.errors import InvalidRequest, TooManyRequests, Unauthorized
from signaling.store.users import UserStore
from signaling.throttle import LoginThrottle

log = structlog.get_logger(__name__)

MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 256
"""Past that only work for the hash is added."""

HASHING_AT_ONCE: Final = 2
HASHING_IN_LINE: Final = 32
"""Argon2 takes 64 MiB and some 50 ms for each; whoever comes to a longer line is sent away."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    token: str
    expires_at: datetime
    user: User


class Accounts:
    def __init__(
        self,
        users: UserStore,
        clock: Clock,
        *,
        session_lifetime_s: float = 7 * 86_400.0,
        hasher: PasswordHasher | None = None,
    ) -> None:
        self._users = users
        self._clock = clock
        self._lifetime = timedelta(seconds=session_lifetime_s)
        self._throttle = LoginThrottle()
        self._hasher = hasher or PasswordHasher()
        self._decoy = self._hasher.hash(secrets.token_hex())
        self._hashing = asyncio.Semaphore(HASHING_AT_ONCE)
        self._in_line = 0

    async def add(self, username: str, password: str, role: Role) -> User:
        """Raises `InvalidRequest`, `Conflict` (`username_taken`)."""
        name = require_username(username)
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise InvalidRequest(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        hashed = await asyncio.to_thread(self._hasher.hash, _encode(password))
        return await self._users.add(name, hashed, role, now=self._now())

    async def login(self, username: str, password: str, *, address: str) -> SignedIn:
        """Raises `Unauthorized` (the same for a wrong name and a wrong password, after the same
        time) or `TooManyRequests`."""
        name = account_name(username[: 4 * MAX_USERNAME])
        if not 1 <= len(name) <= MAX_USERNAME or "\0" in name or len(password) > MAX_PASSWORD:
            raise Unauthorized("wrong username or password", code="wrong_credentials")
        name = name.encode("utf-8", "replace").decode()
        network = _network(address)
        wait = self._throttle.attempt(name, network, now=self._clock.monotonic())
        if wait > 0:
            log.info("login.slowed", peer=address, wait_s=round(wait))
            raise TooManyRequests("too many attempts to sign in", retry_after_s=wait)
        found = await self._users.credentials(name)
        fits = await self._verify(found.password_hash if found else self._decoy, password)
        if found is None or not fits:
            log.info("login.refused", peer=address)
            raise Unauthorized("wrong username or password", code="wrong_credentials")
        self._throttle.succeeded(name, network)
        if self._hasher.check_needs_rehash(found.password_hash):
            hashed = await asyncio.to_thread(self._hasher.hash, _encode(password))
            await self._users.set_password_hash(found.user.id, hashed)
        return await self._open_session(found.user)

    async def user_of(self, token: str) -> User | None:
        """Whose token it is; None when nobody's, or over."""
        return await self._users.session_user(_hash_token(token), now=self._now())

    async def has_admin(self) -> bool:
        return await self._users.count(Role.ADMIN) > 0

    async def _open_session(self, user: User) -> SignedIn:
        token = secrets.token_urlsafe(32)
        now = self._now()
        expires_at = now + self._lifetime
        await self._users.add_session(_hash_token(token), user.id, expires_at=expires_at, now=now)
        log.info("login.done", user=user.username)
        return SignedIn(token, expires_at, user)

    async def _verify(self, password_hash: str, password: str) -> bool:
        if self._in_line >= HASHING_IN_LINE:
            raise TooManyRequests("too many people are signing in", retry_after_s=5.0)
        self._in_line += 1
        try:
            async with self._hashing:
                return await asyncio.to_thread(self._matches, password_hash, password)
        finally:
            self._in_line -= 1

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, _encode(password))
        except (Argon2Error, InvalidHashError):
            return False

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def _network(address: str) -> str:
    """An IPv6 customer has at least a /64 to send from, so that counts as one address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address


def _encode(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
