"""Rooms in the database."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from media.hub import Takeover
from signaling.entities import Room
from signaling.errors import Conflict
from signaling.store.database import reading, writing
from signaling.store.schema import rooms


class RoomStore:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, room: Room) -> None:
        """Raises `Conflict` with code `room_exists`."""
        values = {
            "slug": room.slug,
            "title": room.title,
            "created_at": room.created_at,
            "owner_id": room.owner_id,
            "stream_key_hash": room.stream_key_hash,
            "srt_passphrase": room.srt_passphrase,
            "takeover": room.takeover.value,
        }
        try:
            async with writing(self._engine) as connection:
                await connection.execute(insert(rooms).values(values))
        except IntegrityError as error:
            raise Conflict("there is a room of this name", code="room_exists") from error

    async def get(self, slug: str) -> Room | None:
        async with reading(self._engine) as connection:
            row = (await connection.execute(select(rooms).where(rooms.c.slug == slug))).first()
        return None if row is None else _room(row)

    async def page(
        self, *, after: str, limit: int, only: Collection[str] | None = None
    ) -> Sequence[Room]:
        """At most `limit` rooms whose slug comes after `after`, in order; of `only`, if given."""
        query = select(rooms).where(rooms.c.slug > after).order_by(rooms.c.slug).limit(limit)
        if only is not None:
            # Cut here, not by the database: a statement takes only so many parameters.
            query = query.where(rooms.c.slug.in_(sorted(s for s in only if s > after)[:limit]))
        async with reading(self._engine) as connection:
            return [_room(row) for row in await connection.execute(query)]

    async def set_stream_key(self, slug: str, key_hash: bytes) -> bool:
        """False when there is no such room."""
        change = update(rooms).where(rooms.c.slug == slug).values(stream_key_hash=key_hash)
        async with writing(self._engine) as connection:
            return (await connection.execute(change)).rowcount > 0


def _room(row: Row[Any]) -> Room:
    created_at: datetime = row.created_at
    return Room(
        slug=row.slug,
        title=row.title,
        created_at=created_at,
        owner_id=row.owner_id,
        stream_key_hash=bytes(row.stream_key_hash),
        srt_passphrase=row.srt_passphrase,
        takeover=Takeover(row.takeover),
    )
