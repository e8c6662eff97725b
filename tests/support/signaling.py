"""Signaling with a real database and real HTTP, and rooms that are on air when a test says so."""

import json
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from configs.kernel.clock import SystemClock
from configs.kernel.problems import problems
from media.stream import Notice, Phase, Publisher
from media.units import Codec, Track, TrackId
from signaling.accounts import Accounts
from signaling.addresses import Addresses
from signaling.entities import Role
from signaling.http.api import Api
from signaling.http.routes import BODY_TIMEOUT_S, routes
from signaling.live import LiveRendition, LiveStatus
from signaling.rooms import RoomKeys, Rooms
from signaling.store.database import open_database
from signaling.store.rooms import RoomStore
from signaling.store.users import UserStore

MEMORY = "sqlite+aiosqlite:///:memory:"
PASSWORD = "correct horse"
ADDRESSES = Addresses(host="live.test", http_port=8080, rtmp_port=1935, srt_port=8890)
QUICK_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

VIDEO = LiveRendition(
    Track(TrackId("video"), Codec.H264, b"", width=1280, height=720, frame_rate=30.0),
    "avc1.64001f",
)
AUDIO = LiveRendition(
    Track(TrackId("audio"), Codec.AAC, b"", sample_rate=48_000, channels=2), "mp4a.40.2"
)


@dataclass
class FakeClock:
    """Stands still unless told otherwise."""

    time: float = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


@dataclass
class FakeLiveRooms:
    """Rooms on air by decree; remembers who was kicked."""

    statuses: dict[str, LiveStatus] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    kicked: list[str] = field(default_factory=list)

    def go_live(
        self, room: str, *, phase: Phase = Phase.LIVE, notices: tuple[Notice, ...] = ()
    ) -> None:
        publisher = Publisher("rtmp", "203.0.113.9:50123", "OBS 32.0")
        self.statuses[room] = LiveStatus(phase, (VIDEO, AUDIO), publisher, notices)

    def live(self) -> Collection[str]:
        return tuple(self.statuses)

    def status(self, room: str) -> LiveStatus | None:
        return self.statuses.get(room)

    def viewers(self, room: str) -> int:
        return self.counts.get(room, 0)

    def kick(self, room: str) -> None:
        self.kicked.append(room)
        self.statuses.pop(room, None)


@dataclass(frozen=True)
class Signaling:
    """All of it on one database, as bootstrap would join it."""

    accounts: Accounts
    rooms: Rooms
    keys: RoomKeys
    live: FakeLiveRooms
    api: Api

    def application(
        self, *more: web.RouteDef, body_timeout_s: float = BODY_TIMEOUT_S
    ) -> web.Application:
        application = web.Application(middlewares=[problems])
        api = routes(self.api, self.accounts, version="0.0.0", body_timeout_s=body_timeout_s)
        application.add_routes([*api, *more])
        return application


@asynccontextmanager
async def open_signaling(
    url: str = MEMORY, *, clock: FakeClock | SystemClock | None = None
) -> AsyncIterator[Signaling]:
    clock = clock or SystemClock()
    engine = await open_database(url)
    try:
        store = RoomStore(engine)
        live = FakeLiveRooms()
        accounts = Accounts(UserStore(engine), clock, hasher=QUICK_HASHER)
        rooms = Rooms(store, clock, kick=live.kick)
        api = Api(accounts=accounts, rooms=rooms, store=store, live=live, addresses=ADDRESSES)
        yield Signaling(accounts, rooms, RoomKeys(store), live, api)
    finally:
        await engine.dispose()


@dataclass(frozen=True)
class ApiClient:
    """An HTTP client of the API; `as_*` sign in and say whose bearer to send."""

    signaling: Signaling
    http: TestClient[web.Request, web.Application]

    async def sign_in(self, name: str, role: Role) -> dict[str, str]:
        await self.signaling.accounts.add(name, PASSWORD, role)
        answer = await self.http.post(
            "/api/v1/auth/login", json={"username": name, "password": PASSWORD}
        )
        assert answer.status == 200
        return {"Authorization": f"Bearer {(await answer.json())['access_token']}"}

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        answer = await self.http.get(f"/api/v1{path}", headers=headers)
        return answer.status, await answer.json(content_type=None)

    async def post(
        self, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} | (headers or {})
        answer = await self.http.post(f"/api/v1{path}", data=data, headers=sent)
        return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def open_api(
    url: str = MEMORY,
    *,
    clock: FakeClock | SystemClock | None = None,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> AsyncIterator[ApiClient]:
    async with (
        open_signaling(url, clock=clock) as signaling,
        TestClient(TestServer(signaling.application(body_timeout_s=body_timeout_s))) as client,
    ):
        yield ApiClient(signaling, client)


def sqlite_url(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"
