"""The routes of the API, ready for the application."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from signaling.http.api import Api
from signaling.http.endpoint import Authenticator, serve
from signaling.http.openapi import PREFIX, document

BODY_TIMEOUT_S: Final = 10.0


def peer_address(request: web.Request) -> str:
    """The address of the connection. Behind a proxy of ours, give `routes` something better."""
    return request.remote or ""


def routes(
    api: Api,
    authenticator: Authenticator,
    *,
    version: str,
    client_address: Callable[[web.Request], str] = peer_address,
    body_timeout_s: float = BODY_TIMEOUT_S,
) -> list[web.RouteDef]:
    """Everything below ``/api/v1``; the application needs `problems` among its middlewares."""
    endpoints = api.endpoints()
    openapi = document(endpoints, version=version)

    async def get_openapi(_request: web.Request) -> web.Response:
        return web.Response(
            body=openapi,
            content_type="application/json",
            headers={"Cache-Control": "no-cache", "Access-Control-Allow-Origin": "*"},
        )

    found = [web.get(f"{PREFIX}/openapi.json", get_openapi)]
    for endpoint in endpoints:
        handler = serve(endpoint, authenticator, client_address, body_timeout_s=body_timeout_s)
        if endpoint.method == "GET":
            found.append(web.get(PREFIX + endpoint.path, handler))
        else:
            found.append(web.route(endpoint.method, PREFIX + endpoint.path, handler))
    return found
