"""What those who run the server ask it: alive, ready, and the figures."""

from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from configs.kernel.metrics import Metrics


class Operations:
    """`ready` is set once everything listens, and taken back when the server drains;
    `database_answers` says so within a second, whatever happens."""

    def __init__(self, metrics: Metrics, database_answers: Callable[[], Awaitable[bool]]) -> None:
        self._database_answers = database_answers
        self._metrics = metrics
        self.ready = False

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._show_metrics),
        ]

    def drain(self) -> None:
        self.ready = False

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n", headers={"Cache-Control": "no-store"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        if not self.ready:
            return _not_ready("draining\n")
        if not await self._database_answers():
            return _not_ready("database unavailable\n")
        return web.Response(text="ready\n", headers={"Cache-Control": "no-store"})

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


def _not_ready(why: str) -> web.Response:
    return web.Response(status=503, text=why, headers={"Cache-Control": "no-store"})
