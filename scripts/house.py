"""The house put together: the one place where the real parts are made and joined.

Order matters twice: what listens to the hub is there before a publisher can come, and at the end
those who push go first, then those who watch, then what they all stood on.
"""

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from configs import __version__
from configs.kernel.clock import Clock, SystemClock
from configs.kernel.metrics import Metrics
from configs.kernel.problems import problems
from configs.kernel.tasks import TaskSupervisor
from configs.settings import Settings, SettingsError
from media.hub import Hub, PublishGrant, Takeover
from media.rtmp.connection import RtmpLimits
from media.rtmp.server import RtmpConfig, RtmpServer
from media.srt.listener import ListenerConfig
from media.srt.server import SrtServer
from media.webrtc.http import WhepHttp
from media.webrtc.service import WebRtcConfig, WebRtcService
from scripts.figures import house_samples
from scripts.front_door import KEEPALIVE_S, FrontDoor, connections_for
from scripts.operations import Operations
from signaling.accounts import Accounts
from signaling.addresses import Addresses
from signaling.first_run import FirstRun, ensure_first_run
from signaling.http.api import Api
from signaling.http.routes import routes as api_routes
from signaling.live import HubRooms
from signaling.pages import PageServer
from signaling.rooms import RoomKeys, Rooms
from signaling.store.database import answers, open_database
from signaling.store.rooms import RoomStore
from signaling.store.users import UserStore
from transcoder.hls.http import HlsEndpoint
from transcoder.hls.presentation import HlsConfig
from transcoder.hls.service import HlsService
from transcoder.supervisor import TranscoderService

log = structlog.get_logger(__name__)

LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class House:
    """A running server. `addresses` are those that people type; `first_run` is what a newcomer
    gets, None when this is no first start and its file was taken away."""

    addresses: Addresses
    first_run: FirstRun | None


@dataclass(frozen=True, slots=True)
class Outputs:
    """What listens to the hub."""

    hls: HlsService
    webrtc: WebRtcService
    transcoder: TranscoderService


@contextlib.asynccontextmanager
async def open_house(
    settings: Settings, data_dir: Path, *, reissue: bool, files: int
) -> AsyncIterator[House]:
    """Starts everything; drains and stops it at the end. `reissue` makes a new key for the demo
    room when the old one is no longer known; `files` may be open at once. Raises `SettingsError`,
    `SchemaTooNew`, `StoreUnavailable`."""
    async with contextlib.AsyncExitStack() as stack:
        clock = SystemClock()
        await asyncio.to_thread(data_dir.mkdir, parents=True, exist_ok=True)
        tasks = TaskSupervisor()
        stack.push_async_callback(tasks.close)
        engine = await open_database(settings.store.database_url or _sqlite_url(data_dir))
        stack.push_async_callback(engine.dispose)
        store = RoomStore(engine)
        keys = RoomKeys(store, default_passphrase=settings.media.srt_passphrase or None)
        hub = Hub(clock, grace_period_s=settings.media.grace_period_s)
        HubTimer(hub, clock)
        outputs = await _outputs(settings, hub, clock, data_dir, tasks, stack)

        live = HubRooms(hub, viewers=outputs.webrtc.viewers)
        rooms = Rooms(store, clock, kick=live.kick, takeover=Takeover(settings.media.takeover))
        accounts = Accounts(UserStore(engine), clock)
        addresses = _addresses(settings)
        first_run = await ensure_first_run(accounts, rooms, addresses, data_dir, reissue=reissue)
        api = Api(accounts=accounts, rooms=rooms, store=store, live=live, addresses=addresses)
        metrics = Metrics()
        operations = Operations(metrics, functools.partial(answers, engine))
        door = _front_door(settings, files)
        runner = await _http(
            settings,
            door,
            [
                *operations.routes(),
                *api_routes(api, accounts, version=__version__),
                *WhepHttp(outputs.webrtc, keys).routes(),
                *HlsEndpoint(outputs.hls, keys.room_exists).routes(),
                *PageServer().routes(),
            ],
        )
        stack.push_async_callback(runner.cleanup)
        stack.callback(door.close)

        # From here on in the order of a stop, read from below: no new viewers, publishers told,
        # streams ended (which lets go of those who wait for a part), then what is above.
        stack.callback(_end_all, hub)
        rtmp = await _rtmp(settings, hub, keys, clock)
        stack.push_async_callback(rtmp.close)
        srt = await _srt(settings, hub, keys, clock)
        stack.push_async_callback(srt.close)
        await _listen(runner, door, settings)
        metrics.add(outputs.hls.samples)
        metrics.add(door.samples)
        metrics.add(
            lambda: house_samples(hub, outputs.webrtc, outputs.transcoder, rtmp, srt, tasks)
        )
        stack.push_async_callback(_let_publishers_move, rtmp, settings.server.drain_timeout_s / 2)
        stack.callback(outputs.webrtc.drain)
        stack.callback(operations.drain)
        operations.ready = True
        yield House(addresses, first_run)


async def _outputs(
    settings: Settings,
    hub: Hub,
    clock: Clock,
    data_dir: Path,
    tasks: TaskSupervisor,
    stack: contextlib.AsyncExitStack,
) -> Outputs:
    hls = _hls(settings, clock)
    tasks.keep_running("hls", hls.run)
    webrtc = await _webrtc(settings, clock, data_dir)
    stack.push_async_callback(webrtc.close)
    transcoder = TranscoderService(clock=clock)
    stack.push_async_callback(transcoder.close)
    for observer in (transcoder, hls, webrtc):
        hub.observe(observer)
    return Outputs(hls, webrtc, transcoder)


async def _let_publishers_move(rtmp: RtmpServer, timeout_s: float) -> None:
    """Publishers that understand a request to reconnect get the time to do so."""
    if rtmp.drain():
        await rtmp.wait_gone(timeout_s)


def _end_all(hub: Hub) -> None:
    for stream in hub.streams:
        hub.end(stream.room, "the server is stopping")


class HubTimer:
    """Calls the hub when its next deadline is due."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub = hub
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None
        hub.timer_changed = self._arm

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        due = self._hub.next_timer()
        if due is not None:
            delay = max(0.0, due - self._clock.monotonic())
            self._handle = asyncio.get_running_loop().call_later(delay, self._fire)

    def _fire(self) -> None:
        self._hub.handle_timer()
        self._arm()


def _hls(settings: Settings, clock: Clock) -> HlsService:
    values = settings.hls
    try:
        config = HlsConfig(
            part_s=values.part_s,
            segment_s=values.segment_s,
            window_s=values.window_s,
            ended_keep_s=values.ended_keep_s,
        )
    except ValueError as error:
        raise SettingsError(f"hls.{error}") from error
    return HlsService(clock, config)


async def _webrtc(settings: Settings, clock: Clock, data_dir: Path) -> WebRtcService:
    media = settings.media
    service = WebRtcService(
        WebRtcConfig(
            data_dir=data_dir,
            port=media.webrtc_port,
            hosts=media.webrtc_host_list,
            bind=media.webrtc_host,
            max_viewers=media.max_viewers,
            # A household, an office or a carrier's whole town may share one address.
            half_open_per_host=8 * media.half_open_per_address,
        ),
        clock=clock,
    )
    await _bound("WebRTC", media.webrtc_port, service.open())
    return service


async def _rtmp(settings: Settings, hub: Hub, keys: RoomKeys, clock: Clock) -> RtmpServer:
    media = settings.media
    server = RtmpServer(
        hub,
        keys,
        config=RtmpConfig(
            limits=RtmpLimits(setup_timeout_s=media.handshake_timeout_s),
            max_half_open_per_address=media.half_open_per_address,
        ),
        clock=clock,
    )
    if media.rtmp_port:
        await _bound("RTMP", media.rtmp_port, server.start(media.rtmp_host, media.rtmp_port))
    if settings.server.tls_cert:
        tls = _tls(settings.server.tls_cert, settings.server.tls_key)
        started = server.start(media.rtmp_host, media.rtmps_port, tls=tls)
        await _bound("RTMPS", media.rtmps_port, started)
    return server


async def _srt(settings: Settings, hub: Hub, keys: RoomKeys, clock: Clock) -> SrtServer:
    media = settings.media
    server = SrtServer(
        hub,
        keys,
        config=ListenerConfig(
            latency_s=media.srt_latency_ms / 1000,
            half_open_s=media.handshake_timeout_s,
            max_half_open_per_address=media.half_open_per_address,
        ),
        clock=clock,
    )
    if media.srt_port:
        await _bound("SRT", media.srt_port, server.start(media.srt_host, media.srt_port))
    for port, room in media.srt_rooms_by_port.items():
        grant = PublishGrant(room, Takeover(media.takeover))
        await _bound("SRT", port, server.start(media.srt_host, port, default_grant=grant))
    return server


def _tls(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"server.tls_cert, server.tls_key: {error}") from error
    return context


def _front_door(settings: Settings, files: int) -> FrontDoor:
    return FrontDoor(
        head_timeout_s=settings.media.handshake_timeout_s,
        half_open_per_address=settings.server.half_open_per_address,
        max_connections=connections_for(files, settings.server.max_connections),
    )


async def _http(
    settings: Settings, door: FrontDoor, routes: Sequence[web.RouteDef]
) -> web.AppRunner:
    app = web.Application(middlewares=[door.middleware, problems], client_max_size=64 << 10)
    app.add_routes(routes)
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=KEEPALIVE_S,
        # Twice: for requests to end by themselves, and then for those that were cancelled.
        shutdown_timeout=settings.server.drain_timeout_s / 4,
        handler_cancellation=True,
    )
    await runner.setup()
    return runner


async def _listen(runner: web.AppRunner, door: FrontDoor, settings: Settings) -> None:
    server = runner.server
    assert server is not None
    host, port = settings.server.http_host, settings.server.http_port
    await _bound("HTTP", port, door.open(server, host, port))


async def _bound(what: str, port: int, started: Awaitable[object]) -> None:
    try:
        await started
    except OSError as error:
        raise SettingsError(f"{what} port {port} cannot be opened: {error.strerror}") from error


def _addresses(settings: Settings) -> Addresses:
    return Addresses(
        host=LOOPBACK,
        http_port=settings.server.http_port,
        rtmp_port=settings.media.rtmp_port,
        srt_port=settings.media.srt_port,
        public_url=settings.server.public_url,
        srt_passphrase=settings.media.srt_passphrase,
    )


def _sqlite_url(data_dir: Path) -> str:
    return f"sqlite+aiosqlite:///{data_dir / 'vitrine.sqlite3'}"
