"""Rooms and their stream keys: what hosts do with them, and what the ingest servers ask."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from configs.kernel.clock import Clock
from configs.kernel.errors import Unavailable
from media.errors import PublishRefused
from media.hub import PublishGrant, Takeover
from signaling.entities import (
    Role,
    Room,
    User,
    is_slug,
    require_passphrase,
    require_slug,
    require_title,
)
from signaling.errors import Forbidden, NotFound
from signaling.store.rooms import RoomStore
from signaling.stream_keys import hash_stream_key, new_stream_key, stream_key_fits

log = structlog.get_logger(__name__)

_NO_KEY: Final = secrets.token_bytes(32)
"""What a key for a room that is not there is compared with; nothing hashes to it."""


@dataclass(frozen=True, slots=True)
class KeyedRoom:
    """A room with its stream key, which is known at this moment only."""

    room: Room
    stream_key: str


class Rooms:
    """`kick(room)` takes the right to publish from whoever has it now; `takeover` is the policy of
    rooms that are opened without one."""

    def __init__(
        self,
        store: RoomStore,
        clock: Clock,
        *,
        kick: Callable[[str], None],
        takeover: Takeover = Takeover.TAKEOVER,
    ) -> None:
        self._store = store
        self._clock = clock
        self._kick = kick
        self._takeover = takeover

    async def open(
        self,
        slug: str,
        title: str,
        *,
        owner: User | None,
        takeover: Takeover | None = None,
        srt_passphrase: str | None = None,
    ) -> KeyedRoom:
        """Raises `InvalidRequest`, `Conflict` (`room_exists`)."""
        key = new_stream_key()
        room = Room(
            slug=require_slug(slug),
            title=require_title(title),
            created_at=datetime.fromtimestamp(self._clock.wall(), UTC),
            owner_id=owner.id if owner else None,
            stream_key_hash=hash_stream_key(key),
            srt_passphrase=None if srt_passphrase is None else require_passphrase(srt_passphrase),
            takeover=takeover or self._takeover,
        )
        await self._store.add(room)
        log.info("room.opened", room=room.slug)
        return KeyedRoom(room, key)

    async def get(self, slug: str) -> Room:
        """Raises `NotFound`."""
        room = await self._store.get(slug) if is_slug(slug) else None
        if room is None:
            raise NotFound("there is no such room", code="room_not_found")
        return room

    async def rotate_key(self, slug: str, *, by: User) -> KeyedRoom:
        """A new key; the old one is void at once, and who publishes with it is cut off.

        Raises `NotFound`, `Forbidden`.
        """
        room = await self.get(slug)
        if not may_run(by, room):
            raise Forbidden("this room belongs to somebody else")
        return await self.reissue_key(room)

    async def reissue_key(self, room: Room) -> KeyedRoom:
        key = new_stream_key()
        await self._store.set_stream_key(room.slug, hash_stream_key(key))
        self._kick(room.slug)
        log.info("room.key_rotated", room=room.slug)
        return KeyedRoom(room, key)


def may_run(user: User | None, room: Room) -> bool:
    """Whether the user may see a room's inside and change it: its host, or an admin."""
    if user is None:
        return False
    return user.role is Role.ADMIN or (user.role is Role.HOST and user.id == room.owner_id)


class RoomKeys:
    """The keeper of the keys for the ingest servers (`media.hub.StreamKeys`).

    A room that is not there and a wrong key take the same steps and so the same time. Guessing is
    not slowed down here, because no address is known: keys have 142 bits, and the ingest servers
    cap connections for each address. `default_passphrase` is asked of SRT callers whose room has
    none of its own.
    """

    def __init__(self, store: RoomStore, *, default_passphrase: str | None = None) -> None:
        self._store = store
        self._default_passphrase = default_passphrase

    async def grant(self, room: str, key: str) -> PublishGrant:
        try:
            found = await self._store.get(room) if is_slug(room) else None
        except Unavailable as error:
            raise PublishRefused("rooms cannot be looked up", code="overloaded") from error
        fits = stream_key_fits(key, found.stream_key_hash if found else _NO_KEY)
        if found is None:
            raise PublishRefused("there is no such room", code="not_found")
        if not fits:
            raise PublishRefused(f"wrong stream key for room {found.slug}", code="unauthorized")
        return PublishGrant(found.slug, found.takeover)

    async def room_exists(self, room: str) -> bool:
        return is_slug(room) and await self._store.get(room) is not None

    async def srt_passphrase(self, room: str) -> str | None:
        found = await self._store.get(room) if is_slug(room) else None
        return (found.srt_passphrase if found else None) or self._default_passphrase
