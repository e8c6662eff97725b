"""The tables, and how a database gets them.

`version` counts up; `create` brings an empty database to the newest one and refuses a database that
is ahead of the program. Steps between versions come with the first change of a table.
"""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    func,
    insert,
    select,
)
from sqlalchemy.schema import Column, CreateIndex, CreateTable
from sqlalchemy.types import TypeDecorator

from signaling.errors import SchemaTooNew

VERSION: Final = 1


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC, also where the database (SQLite) forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is not None:
            return value
        return value.replace(tzinfo=UTC)


# Ordered by code points everywhere, as Python does and SQLite; PostgreSQL would go by a language.
_SLUG = String(63).with_variant(String(63, collation="C"), "postgresql")

metadata = MetaData()

schema_version = Table(
    "signaling_schema", metadata, Column("version", Integer, primary_key=True, autoincrement=False)
)

users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(64), nullable=False, unique=True),
    Column("password_hash", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", LargeBinary(32), primary_key=True),
    Column("user_id", ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires_at", UtcDateTime, nullable=False, index=True),
)

rooms = Table(
    "rooms",
    metadata,
    Column("slug", _SLUG, primary_key=True),
    Column("title", String(120), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("owner_id", ForeignKey("users.id", ondelete="SET NULL"), nullable=True),
    Column("stream_key_hash", LargeBinary(32), nullable=False),
    Column("srt_passphrase", String(79), nullable=True),
    Column("takeover", String(16), nullable=False),
)


_LOCK: Final = 0x76697472
"""Any number that nothing else in the same PostgreSQL database locks by."""


def create(connection: Connection) -> None:
    """Makes what is missing, one process at a time. Raises `SchemaTooNew`."""
    _lock(connection)
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(CreateIndex(index, if_not_exists=True))
    found = connection.execute(select(schema_version.c.version)).scalar()
    if found is None:
        connection.execute(insert(schema_version).values(version=VERSION))
    elif found > VERSION:
        raise SchemaTooNew(f"the database has version {found}, this program knows {VERSION}")


def _lock(connection: Connection) -> None:
    # IF NOT EXISTS is no protection: of two who find nothing, one fails.
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
