"""An endpoint of the API: its types, who may call it, and the one road from request to answer.

Everything about bad input ends here: whatever a client sends, it gets a 4xx with a code.
"""

import asyncio
import functools
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
import structlog
from aiohttp import web

from configs.kernel.problems import problem
from signaling.entities import Role, User
from signaling.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    SignalingError,
    TooManyRequests,
    Unauthorized,
)

log = structlog.get_logger(__name__)

MAX_BODY: Final = 64 << 10
MAX_TOKEN: Final = 512

STATUS: Final[Mapping[type[SignalingError], int]] = {
    InvalidRequest: 422,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooManyRequests: 429,
}

STATUS_OF_CODE: Final[Mapping[str, int]] = {
    "malformed_json": 400,
    "body_too_slow": 408,
    "too_large": 413,
    "unsupported_media_type": 415,
}

Body = TypeVar("Body", contravariant=True)
Answer = TypeVar("Answer", covariant=True)


class Authenticator(Protocol):
    async def user_of(self, token: str) -> User | None: ...


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler knows of a request besides its body; `user` is None when nobody signed in."""

    user: User | None
    address: str
    host: str
    path: Mapping[str, str]

    @property
    def caller(self) -> User:
        """The user of an endpoint with `roles`."""
        if self.user is None:
            raise Unauthorized("sign in first")
        return self.user


@dataclass(frozen=True, slots=True)
class Nothing:
    """The type of a request without a body."""


@dataclass(frozen=True)
class Endpoint(Generic[Body, Answer]):
    """`path` is below ``/api/v1``. `roles` empty: anybody, signed in or not. A GET takes its `body`
    from the query. `codes` are the problems it can answer with, besides those of every endpoint."""

    method: str
    path: str
    summary: str
    handler: Callable[[Call, Body], Awaitable[Answer]]
    body: type[Any]
    answer: type[Any]
    status: int = HTTPStatus.OK
    roles: frozenset[Role] = frozenset()
    codes: Mapping[int, tuple[str, ...]] | None = None

    @property
    def name(self) -> str:
        name = getattr(self.handler, "__name__", "")
        return str(name)


def serve(
    endpoint: Endpoint[Any, Any],
    authenticator: Authenticator,
    client_address: Callable[[web.Request], str],
    *,
    body_timeout_s: float,
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The endpoint as a handler of aiohttp."""
    return functools.partial(_answer, endpoint, authenticator, client_address, body_timeout_s)


async def _answer(
    endpoint: Endpoint[Any, Any],
    authenticator: Authenticator,
    client_address: Callable[[web.Request], str],
    body_timeout_s: float,
    request: web.Request,
) -> web.Response:
    try:
        user = await _user(request, authenticator)
        if endpoint.roles:
            if user is None:
                raise Unauthorized("sign in first")
            if user.role not in endpoint.roles:
                raise Forbidden("this needs another role")
        body = await _body(endpoint, request, body_timeout_s)
        call = Call(user, client_address(request), request.host, request.match_info)
        answer = await endpoint.handler(call, body)
    except SignalingError as error:
        return refusal(error)
    return web.Response(
        status=endpoint.status,
        body=msgspec.json.encode(answer),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def refusal(error: SignalingError) -> web.Response:
    """The error as problem+json; one that has no status here is a fault of ours and is raised."""
    status = STATUS.get(type(error))
    if status is None:
        raise error
    status = STATUS_OF_CODE.get(error.code, status)
    headers: dict[str, str] = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, error.code, str(error), headers=headers)


async def _user(request: web.Request, authenticator: Authenticator) -> User | None:
    header = request.headers.get("Authorization")
    if header is None:
        return None
    scheme, _, token = header.partition(" ")
    token = token.strip()
    user = None
    if scheme.lower() == "bearer" and 0 < len(token) <= MAX_TOKEN:
        user = await authenticator.user_of(token)
    if user is None:
        raise Unauthorized("this token is not valid, or no longer", code="invalid_token")
    return user


async def _body(endpoint: Endpoint[Any, Any], request: web.Request, timeout_s: float) -> object:
    if endpoint.body is Nothing:
        return Nothing()
    try:
        if endpoint.method == "GET":
            return msgspec.convert(dict(request.query), endpoint.body, strict=False)
        return msgspec.json.decode(await _read(request, timeout_s), type=endpoint.body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest("this is not JSON", code="malformed_json") from error


async def _read(request: web.Request, timeout_s: float) -> bytes:
    if request.content_type != "application/json":
        raise InvalidRequest("send application/json", code="unsupported_media_type")
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    raise InvalidRequest(f"at most {MAX_BODY} bytes", code="too_large")
    except TimeoutError:
        raise InvalidRequest("the body did not come in time", code="body_too_slow") from None
    except web.RequestPayloadError as error:  # a broken chunk, or a false Content-Encoding
        raise InvalidRequest("the body is broken", code="malformed_json") from error
    return bytes(body)
