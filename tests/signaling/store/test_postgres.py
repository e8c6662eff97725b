"""The same promises on PostgreSQL as on SQLite, and what is told when it is away."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession
from sqlalchemy import select, update

from configs.kernel.errors import Unavailable
from media.errors import PublishRefused
from signaling.entities import Role
from signaling.errors import Conflict, SchemaTooNew, StoreUnavailable
from signaling.first_run import ensure_first_run
from signaling.store.database import answers, open_database
from signaling.store.schema import VERSION, schema_version
from tests.scripts.test_bootstrap import start
from tests.support.postgres import PASSWORD, Postgres, postgres
from tests.support.signaling import ADDRESSES, FakeClock, open_api, open_signaling
from tests.support.vitrine import serve

pytestmark = pytest.mark.external


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture
async def url(server: Postgres) -> str:
    return await server.new_database()


async def test_many_start_on_one_empty_database(url: str) -> None:
    engines = await asyncio.gather(*(open_database(url) for _ in range(6)))

    async with engines[0].connect() as connection:
        versions = (await connection.execute(select(schema_version.c.version))).scalars().all()
    assert versions == [VERSION]
    async with engines[0].begin() as connection:
        await connection.execute(update(schema_version).values(version=VERSION + 1))
    for engine in engines:
        await engine.dispose()
    with pytest.raises(SchemaTooNew):
        await open_database(url)


async def test_of_many_who_want_a_name_one_gets_it_and_its_key_fits(url: str) -> None:
    async with open_signaling(url) as signaling:
        results = await asyncio.gather(
            *(signaling.rooms.open("one", "x", owner=None) for _ in range(20)),
            return_exceptions=True,
        )
        (opened,) = [result for result in results if not isinstance(result, BaseException)]
        assert sum(isinstance(result, Conflict) for result in results) == 19
        assert (await signaling.keys.grant("one", opened.stream_key)).room == "one"
        with pytest.raises(PublishRefused):
            await signaling.keys.grant("one", opened.stream_key + "x")


async def test_users_sessions_and_times(url: str) -> None:
    clock = FakeClock()
    async with open_signaling(url, clock=clock) as signaling:
        await signaling.accounts.add("Ada", "long enough", Role.HOST)
        with pytest.raises(Conflict):
            await signaling.accounts.add("ADA", "long enough", Role.HOST)
        old = await signaling.accounts.login("ada", "long enough", address="a")
        assert await signaling.accounts.user_of(old.token) == old.user
        clock.time += 8 * 86_400
        assert await signaling.accounts.user_of(old.token) is None
        await signaling.rooms.open("one", "One", owner=old.user)
        room = await signaling.rooms.get("one")

    assert room.created_at.timestamp() == clock.time
    assert room.owner_id == old.user.id


async def test_the_first_start_and_the_second(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        async with open_signaling(url) as signaling:
            run = await ensure_first_run(signaling.accounts, signaling.rooms, ADDRESSES, tmp_path)
            assert run is not None
            assert (await signaling.keys.grant("demo", run.stream_key)).room == "demo"


async def test_rooms_are_paged_in_the_order_of_code_points(url: str) -> None:
    """By language, `a-c` would come after `ab`, and pages of a subset would skip rooms."""
    slugs = ["a-c", "ab", "a1", "b", "a", "a-b"]
    async with open_api(url) as api:
        for slug in slugs:
            await api.signaling.rooms.open(slug, slug, owner=None)
            api.signaling.live.go_live(slug)
        seen: list[str] = []
        after: str | None = ""
        while after is not None:
            status, page = await api.get(f"/rooms?limit=1&live=true&after={after}")
            assert status == 200
            seen += [room["slug"] for room in page["rooms"]]
            after = page["next"]

    assert seen == sorted(slugs)


@pytest.mark.parametrize("after", ["%00", "a%00", "%ED%A0%80", "%F0%9F%98%80", "%FF", "'"])
async def test_a_strange_page_is_no_fault_of_ours(url: str, after: str) -> None:
    async with open_api(url) as api:
        for live in ("true", "false"):
            status, _ = await api.get(f"/rooms?after={after}&live={live}")
            assert status in (200, 422)


async def test_a_wrong_password_is_one_line_that_does_not_tell_it(
    server: Postgres, tmp_path: Path
) -> None:
    for wrong in (
        server.url(password=PASSWORD + "x"),
        server.url("absent"),
        f"postgresql+asyncpg://vitrine@127.0.0.1:1/x?password={PASSWORD}",
        f"postgresql://vitrine:{PASSWORD}@127.0.0.1:1/x",
        f"nosuch+driver://vitrine:{PASSWORD}@127.0.0.1:1/x",
        f"postgresql+asyncpg://vitrine:{PASSWORD}@127.0.0.1:{server.port}/postgres?bogus=1",
        f"postgresql+asyncpg://vitrine:{PASSWORD}@127.0.0.1:port/x",
    ):
        environ = {
            "VITRINE_SERVER__DATA_DIR": str(tmp_path),
            "VITRINE_STORE__DATABASE_URL": wrong,
            "VITRINE_SERVER__LOG_LEVEL": "debug",
        }
        status, err = await start(environ=environ)

        lines = [line for line in err.splitlines() if "server.file_limit" not in line]
        assert status == 2, err
        assert len(lines) == 1, err
        assert lines[0].startswith("vitrine: ")
        assert "store.database_url" in lines[0]
        assert PASSWORD not in err


async def test_a_database_that_is_gone_or_stuck_is_told_in_time(
    server: Postgres, url: str, tmp_path: Path
) -> None:
    environ = {"VITRINE_STORE__DATABASE_URL": url}
    async with serve(tmp_path, environ=environ) as house, ClientSession() as http:
        assert await ready(http, house.http) == 200
        family = [server_process := psutil.Process(server.pid), *server_process.children()]
        for process in family:
            os.kill(process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert [await ready(http, house.http) for _ in range(3)] == [503] * 3
            assert time.monotonic() - started < 10
            async with http.get(f"{house.http}/healthz") as reply:
                assert reply.status == 200
        finally:
            for process in family:
                os.kill(process.pid, signal.SIGCONT)
        await until_ready(http, house.http)

        server.stop()
        try:
            assert await ready(http, house.http) == 503
            async with http.get(f"{house.http}/api/v1/rooms") as reply:
                problem = await reply.json(content_type=None)
                assert (reply.status, problem["code"]) == (503, "store_unavailable")
                assert reply.headers["Retry-After"] == "5"
        finally:
            server.start()
        await until_ready(http, house.http)
        status = await house.stop()

    assert status == 0
    assert not [line for line in house.log if "Traceback" in line or PASSWORD in line]


async def test_who_publishes_while_it_is_away_is_refused_and_may_come_again(
    server: Postgres, url: str
) -> None:
    async with open_signaling(url) as signaling:
        opened = await signaling.rooms.open("one", "One", owner=None)
        server.stop()
        try:
            with pytest.raises(PublishRefused) as refused:
                await signaling.keys.grant("one", opened.stream_key)
            assert refused.value.code == "overloaded"
            with pytest.raises(Unavailable):
                await signaling.keys.room_exists("one")
            with pytest.raises(StoreUnavailable):
                await open_database(url)
        finally:
            server.start()
        assert (await signaling.keys.grant("one", opened.stream_key)).room == "one"


async def test_a_probe_says_yes(url: str) -> None:
    engine = await open_database(url)
    assert await answers(engine)
    await engine.dispose()


async def ready(http: ClientSession, address: str) -> int:
    async with http.get(f"{address}/readyz") as reply:
        return reply.status


async def until_ready(http: ClientSession, address: str) -> None:
    async with asyncio.timeout(20):
        while await ready(http, address) != 200:
            await asyncio.sleep(0.1)
