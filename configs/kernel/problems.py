"""Errors over HTTP: `application/problem+json` (RFC 9457) with the stable code of the house."""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from configs.kernel.errors import Unavailable

log = structlog.get_logger(__name__)

RETRY_AFTER_S: Final = "5"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def problem(
    status: int, code: str, detail: str = "", *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A response with members `type`, `title`, `status`, `code` and, where it helps, `detail`."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
    }
    if detail:
        body["detail"] = detail
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        content_type="application/problem+json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns every error that a handler lets out into a problem: aiohttp's own by its status, what
    is away for a while into a 503, a bug into a 500 whose traceback goes to the log and not to the
    client."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = HTTPStatus(error.status).name.lower()
        allow = error.headers.get("Allow")
        return problem(error.status, code, headers={"Allow": allow} if allow else None)
    except Unavailable as error:
        log.warning("http.unavailable", path=request.path, code=error.code, reason=str(error))
        return problem(503, error.code, headers={"Retry-After": RETRY_AFTER_S})
    except Exception:
        log.exception("http.failed", method=request.method, path=request.path)
        return problem(500, "internal")
