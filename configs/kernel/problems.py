"""Errors over HTTP: `application/problem+json` (RFC 9457) with the stable code of the house."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web


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
