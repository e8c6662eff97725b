"""Users and their sessions in the database; of passwords and tokens only hashes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from signaling.entities import Role, User
from signaling.errors import Conflict
from signaling.store.database import reading, writing
from signaling.store.schema import sessions, users


@dataclass(frozen=True, slots=True)
class Credentials:
    user: User
    password_hash: str


class UserStore:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, username: str, password_hash: str, role: Role, *, now: datetime) -> User:
        """Raises `Conflict` with code `username_taken`."""
        values = {
            "username": username,
            "password_hash": password_hash,
            "role": role.value,
            "created_at": now,
        }
        try:
            async with writing(self._engine) as connection:
                added = await connection.execute(insert(users).values(values))
        except IntegrityError as error:
            raise Conflict("this username is taken", code="username_taken") from error
        key = added.inserted_primary_key
        assert key is not None
        return User(key[0], username, role)

    async def credentials(self, username: str) -> Credentials | None:
        async with reading(self._engine) as connection:
            row = (
                await connection.execute(select(users).where(users.c.username == username))
            ).first()
        return None if row is None else Credentials(_user(row), row.password_hash)

    async def set_password_hash(self, user_id: int, password_hash: str) -> None:
        change = update(users).where(users.c.id == user_id).values(password_hash=password_hash)
        async with writing(self._engine) as connection:
            await connection.execute(change)

    async def count(self, role: Role) -> int:
        query = select(func.count()).select_from(users).where(users.c.role == role.value)
        async with reading(self._engine) as connection:
            return (await connection.execute(query)).scalar_one()

    async def add_session(
        self, token_hash: bytes, user_id: int, *, expires_at: datetime, now: datetime
    ) -> None:
        """Also sweeps out the sessions that are over, so that the table stays small."""
        async with writing(self._engine) as connection:
            await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
            await connection.execute(
                insert(sessions).values(
                    token_hash=token_hash, user_id=user_id, expires_at=expires_at
                )
            )

    async def session_user(self, token_hash: bytes, *, now: datetime) -> User | None:
        query = (
            select(users)
            .join(sessions, sessions.c.user_id == users.c.id)
            .where(sessions.c.token_hash == token_hash, sessions.c.expires_at > now)
        )
        async with reading(self._engine) as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else _user(row)


def _user(row: Row[Any]) -> User:
    return User(row.id, row.username, Role(row.role))
