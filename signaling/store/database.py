"""Opens the database: any SQLAlchemy async URL, SQLite set up for one writer and many readers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import structlog
from sqlalchemy import URL, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InvalidRequestError,
    NoSuchModuleError,
    OperationalError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from signaling.errors import StoreUnavailable
from signaling.store import schema

log = structlog.get_logger(__name__)

OPEN_TIMEOUT_S: Final = 10.0
POOL_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
QUERY_TIMEOUT_S: Final = 15.0


async def open_database(url: str) -> AsyncEngine:
    """Connects and makes the tables. Raises `SchemaTooNew`, or `StoreUnavailable` that says why;
    the caller disposes of the engine."""
    engine, name = _engine(url)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S), writing(engine) as connection:
            await connection.run_sync(schema.create)
    except (StoreUnavailable, DBAPIError, TimeoutError) as error:
        await engine.dispose()
        raise StoreUnavailable(f"{name} cannot be opened: {_reason(error)}") from error
    except BaseException:
        await engine.dispose()
        raise
    return engine


@contextlib.asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection; what is written with it is rolled back. Raises `StoreUnavailable`."""
    try:
        connection = await engine.connect()
    except Exception as error:  # Each driver has its own for a server that is starting, full, ...
        raise StoreUnavailable(_reason(error)) from error
    try:
        yield connection
    except (OSError, InterfaceError, OperationalError) as error:
        raise StoreUnavailable(_reason(error)) from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise StoreUnavailable(_reason(error)) from error
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that is committed at the end. Raises `StoreUnavailable`."""
    async with reading(engine) as connection, connection.begin():
        yield connection


async def answers(engine: AsyncEngine, *, within_s: float = 1.0) -> bool:
    """Whether the database does its work. Never takes longer, whatever state the other end is in:
    to break off a query may itself wait for an answer, so nobody waits for that."""
    asked = asyncio.create_task(_ask(engine), name="database-probe")
    asked.add_done_callback(_look_at)
    done, _ = await asyncio.wait({asked}, timeout=within_s)
    if not done:
        asked.cancel()
        return False
    return asked.exception() is None


async def _ask(engine: AsyncEngine) -> None:
    async with reading(engine) as connection:
        await connection.execute(text("SELECT 1"))


def _look_at(asked: asyncio.Task[None]) -> None:
    error = None if asked.cancelled() else asked.exception()
    if error is not None:
        log.warning("database.unavailable", reason=str(error))


def _engine(url: str) -> tuple[AsyncEngine, str]:
    """The engine, and what may be said of it to anybody."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreUnavailable("store.database_url is not a URL") from None
    name = _name(parsed)
    sqlite = parsed.get_backend_name() == "sqlite"
    options: dict[str, Any] = {}
    if not sqlite:
        options |= {"pool_pre_ping": True, "pool_timeout": POOL_TIMEOUT_S}
    if parsed.drivername == "postgresql+asyncpg":
        # Otherwise a server that the network has lost is waited for without end.
        options["connect_args"] = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": QUERY_TIMEOUT_S}
    try:
        engine = create_async_engine(parsed, hide_parameters=True, **options)
    except (NoSuchModuleError, InvalidRequestError, ImportError) as error:
        raise StoreUnavailable(
            f"{name}: there is no async driver {parsed.drivername!r} here"
            " (sqlite+aiosqlite and postgresql+asyncpg come with this program)"
        ) from error
    except (ArgumentError, TypeError) as error:
        raise StoreUnavailable(f"{name}: store.database_url has options nobody knows") from error
    if sqlite:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    return engine, name


def _name(url: URL) -> str:
    # Not by `hide_password`: a password may also stand among the options.
    place = f" at {url.host}:{url.port or 'default port'}" if url.host else ""
    return f"the database {url.database or ''}{place} (store.database_url)"


def _reason(error: Exception) -> str:
    """One line without SQL and values."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "busy_timeout=5000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
