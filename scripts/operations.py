"""What those who run the server ask it: alive, ready, and the figures."""

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from configs.kernel.metrics import Metrics


class Operations:
    """`ready` is set once everything listens, and taken back when the server drains."""

    def __init__(self, metrics: Metrics) -> None:
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
        return web.Response(
            status=200 if self.ready else 503,
            text="ready\n" if self.ready else "draining\n",
            headers={"Cache-Control": "no-store"},
        )

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
