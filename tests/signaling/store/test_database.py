"""The database: what is new is made, what is newer is refused, and two starts do not collide."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select, update

from signaling.entities import Role
from signaling.errors import Conflict, SchemaTooNew
from signaling.store.database import open_database
from signaling.store.schema import VERSION, schema_version
from tests.support.signaling import FakeClock, open_signaling, sqlite_url


async def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "vitrine.db")
    engine = await open_database(url)
    async with engine.begin() as connection:
        await connection.execute(update(schema_version).values(version=VERSION + 1))
    await engine.dispose()

    with pytest.raises(SchemaTooNew):
        await open_database(url)


async def test_many_start_on_one_empty_database(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "vitrine.db")

    engines = await asyncio.gather(*(open_database(url) for _ in range(6)))

    async with engines[0].connect() as connection:
        versions = (await connection.execute(select(schema_version.c.version))).scalars().all()
    assert versions == [VERSION]
    for engine in engines:
        await engine.dispose()


async def test_many_ask_at_once(tmp_path: Path) -> None:
    async with open_signaling(sqlite_url(tmp_path / "vitrine.db")) as signaling:
        opened = await asyncio.gather(
            *(signaling.rooms.open(f"room-{n}", "x", owner=None) for n in range(20))
        )
        grants = await asyncio.gather(
            *(signaling.keys.grant(o.room.slug, o.stream_key) for o in opened)
        )

    assert [grant.room for grant in grants] == [f"room-{n}" for n in range(20)]


async def test_of_two_who_want_a_name_one_gets_it(tmp_path: Path) -> None:
    async with open_signaling(sqlite_url(tmp_path / "vitrine.db")) as signaling:
        results = await asyncio.gather(
            *(signaling.rooms.open("one", "x", owner=None) for _ in range(8)),
            return_exceptions=True,
        )
        with pytest.raises(Conflict):
            await signaling.rooms.open("one", "x", owner=None)

    assert sum(not isinstance(result, Conflict) for result in results) == 1


async def test_sessions_that_are_over_are_swept_out() -> None:
    clock = FakeClock()
    async with open_signaling(clock=clock) as signaling:
        await signaling.accounts.add("ada", "long enough", Role.HOST)
        old = await signaling.accounts.login("ada", "long enough", address="a")
        assert await signaling.accounts.user_of(old.token) == old.user

        clock.time += 8 * 86_400
        new = await signaling.accounts.login("ada", "long enough", address="a")

        assert await signaling.accounts.user_of(old.token) is None
        assert await signaling.accounts.user_of(new.token) == new.user


async def test_a_username_is_taken_once_in_any_case(tmp_path: Path) -> None:
    async with open_signaling() as signaling:
        await signaling.accounts.add("Ada", "long enough", Role.HOST)

        with pytest.raises(Conflict) as refused:
            await signaling.accounts.add("ADA", "long enough", Role.ADMIN)

        assert refused.value.code == "username_taken"
        assert not await signaling.accounts.has_admin()


async def test_times_come_back_in_utc(tmp_path: Path) -> None:
    clock = FakeClock()
    url = sqlite_url(tmp_path / "vitrine.db")
    async with open_signaling(url, clock=clock) as signaling:
        await signaling.rooms.open("one", "One", owner=None)
        room = await signaling.rooms.get("one")

    assert room.created_at.timestamp() == clock.time
    assert room.created_at.tzinfo is not None
