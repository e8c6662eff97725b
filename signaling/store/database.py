"""Opens the database: any SQLAlchemy async URL, SQLite set up for one writer and many readers."""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from signaling.store import schema


async def open_database(url: str) -> AsyncEngine:
    """Connects and makes the tables. Raises `SchemaTooNew`; the caller disposes of the engine."""
    engine = create_async_engine(url, pool_pre_ping=not _is_sqlite(url))
    if _is_sqlite(url):
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(schema.create)
    except BaseException:
        await engine.dispose()
        raise
    return engine


def _is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
