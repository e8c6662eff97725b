"""WHEP over HTTP (draft-ietf-wish-whep, with the session rules of RFC 9725).

    OPTIONS, GET, HEAD, POST   /whep/ROOM            an offer in, an answer and a session out
    OPTIONS, GET, HEAD, PATCH, DELETE   /whep/ROOM/SESSION

Playback needs no token. Any page may play: CORS is open, and there are no cookies to protect.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web

from configs.kernel.errors import PeerError
from configs.kernel.problems import problem
from media.hub import StreamKeys
from media.webrtc.ice import Credentials
from media.webrtc.sdp import MAX_SIZE, parse_fragment, parse_offer
from media.webrtc.service import NotLive, Overloaded, WebRtcService

log = structlog.get_logger(__name__)

SDP: Final = "application/sdp"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
RETRY_NOT_LIVE: Final = "2"
RETRY_OVERLOADED: Final = "5"
BODY_TIMEOUT: Final = 10.0
"""Seconds that a body may take; an offer is one or two packets."""

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Location, Link, ETag, Accept-Patch, Retry-After",
}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "POST, GET, HEAD, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "authorization, content-type, if-match",
    "Access-Control-Max-Age": "86400",
}
ENDPOINT_METHODS: Final = "POST, GET, HEAD, OPTIONS"
SESSION_METHODS: Final = "PATCH, DELETE, GET, HEAD, OPTIONS"

_ACCEPT: Final = {SDP: "Accept-Post", FRAGMENT: "Accept-Patch"}
_OFFER_STATUS: Final = {"sdp_malformed": 400, "no_common_codec": 406, "offer_unacceptable": 422}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BodyRefused(Exception):
    """The request's body cannot be taken; carries what to answer."""

    def __init__(self, response: web.Response) -> None:
        super().__init__(response.status)
        self.response = response


class WhepHttp:
    """`keys` tells rooms that do not exist from those that are not live; a body that takes longer
    than `body_timeout` seconds is refused."""

    def __init__(
        self, service: WebRtcService, keys: StreamKeys, *, body_timeout: float = BODY_TIMEOUT
    ) -> None:
        self._service = service
        self._keys = keys
        self._body_timeout = body_timeout

    def routes(self) -> list[web.RouteDef]:
        room, session = "/whep/{room}", "/whep/{room}/{session}"
        return [
            web.options(room, self._preflight),
            web.get(room, _open_to_all(self._look), allow_head=True),
            web.post(room, _open_to_all(self._join)),
            web.options(session, self._preflight),
            web.get(session, _open_to_all(self._look_at_session), allow_head=True),
            web.patch(session, _open_to_all(self._patch)),
            web.delete(session, _open_to_all(self._leave)),
        ]

    async def _preflight(self, request: web.Request) -> web.Response:
        is_session = "session" in request.match_info
        headers = {"Allow": SESSION_METHODS, "Accept-Patch": FRAGMENT}
        if not is_session:
            headers = {"Allow": ENDPOINT_METHODS, "Accept-Post": SDP}
        return web.Response(status=204, headers={**CORS, **PREFLIGHT, **headers})

    async def _look(self, request: web.Request) -> web.Response:
        """MUST be a success without content, so that clients can find out what this is."""
        if not await self._keys.room_exists(request.match_info["room"]):
            return problem(404, "room_not_found", "there is no such room")
        return web.Response(content_type=SDP, headers={"Accept-Post": SDP, **_NO_STORE})

    async def _join(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        text = await _text_of(request, SDP, self._body_timeout)
        if not await self._keys.room_exists(room):
            return problem(404, "room_not_found", "there is no such room")
        try:
            joined = await self._service.join(
                room,
                parse_offer(text),
                reached_at=_local_address(request),
                remote=request.remote,
            )
        except PeerError as error:
            log.info("whep.offer_refused", room=room, peer=request.remote, code=error.code)
            return problem(_OFFER_STATUS.get(error.code, 400), error.code, str(error))
        except NotLive as error:
            return problem(409, error.code, str(error), headers={"Retry-After": RETRY_NOT_LIVE})
        except Overloaded as error:
            return problem(503, error.code, str(error), headers={"Retry-After": RETRY_OVERLOADED})
        return web.Response(
            status=201,
            body=joined.answer.encode(),
            content_type=SDP,
            headers={
                "Location": f"{request.rel_url.raw_path.rstrip('/')}/{joined.session}",
                "ETag": joined.etag,
                "Accept-Patch": FRAGMENT,
                **_NO_STORE,
            },
        )

    async def _look_at_session(self, request: web.Request) -> web.Response:
        etag = self._service.etag(*_names(request))
        if etag is None:
            return _no_session()
        return web.Response(headers={"ETag": etag, "Accept-Patch": FRAGMENT, **_NO_STORE})

    async def _patch(self, request: web.Request) -> web.Response:
        room, session = _names(request)
        etag = self._service.etag(room, session)
        if etag is None:
            return _no_session()
        text = await _text_of(request, FRAGMENT, self._body_timeout)
        condition = request.headers.get("If-Match")
        if condition is None:
            return problem(428, "if_match_required", "say which ICE session with If-Match")
        wanted = {tag.strip() for tag in condition.split(",")}
        anything = bool(wanted & {"*", '"*"'})
        if not anything and etag not in wanted:
            return problem(412, "ice_session_changed", "If-Match names an older ICE session")
        try:
            fragment = parse_fragment(text)
        except PeerError as error:
            return problem(400, error.code, str(error))
        changed = fragment.ufrag not in (None, self._service.remote_ufrag(room, session))
        if not changed:
            # The client's candidates: a lite agent waits for its checks instead.
            return web.Response(status=204)
        if not anything or fragment.ufrag is None or fragment.password is None:
            return problem(
                422, "not_an_ice_restart", 'a restart needs If-Match: "*", ice-ufrag and ice-pwd'
            )
        restarted = self._service.restart_ice(
            room, session, Credentials(fragment.ufrag, fragment.password)
        )
        if restarted is None:
            return _no_session()
        answer, etag = restarted
        return web.Response(
            body=answer.encode(), content_type=FRAGMENT, headers={"ETag": etag, **_NO_STORE}
        )

    async def _leave(self, request: web.Request) -> web.Response:
        if not self._service.leave(*_names(request)):
            return _no_session()
        return web.Response(headers=_NO_STORE)


_NO_STORE: Final[Mapping[str, str]] = {"Cache-Control": "no-store"}


def _open_to_all(handler: Handler) -> Handler:
    """Lets pages of any origin read the answer, errors as well."""

    async def with_cors(request: web.Request) -> web.StreamResponse:
        try:
            response = await handler(request)
        except BodyRefused as refused:
            response = refused.response
        response.headers.update(CORS)
        return response

    return with_cors


async def _text_of(request: web.Request, content_type: str, timeout_s: float) -> str:
    """The body, if it is of this type, within `MAX_SIZE` bytes, in time, and text; else
    `BodyRefused`."""
    if request.content_type != content_type:
        wanted = {_ACCEPT[content_type]: content_type}
        raise BodyRefused(
            problem(415, "unsupported_media_type", f"send {content_type}", headers=wanted)
        )
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_SIZE:
                    raise BodyRefused(problem(413, "body_too_large", f"at most {MAX_SIZE} bytes"))
    except TimeoutError:
        raise BodyRefused(problem(408, "body_too_slow")) from None
    except web.RequestPayloadError:  # a broken chunk, or a false Content-Encoding
        raise BodyRefused(problem(400, "body_broken")) from None
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise BodyRefused(problem(400, "not_utf8", "the body is not UTF-8")) from None


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["room"], request.match_info["session"]


def _no_session() -> web.Response:
    return problem(404, "session_not_found", "there is no such session")


def _local_address(request: web.Request) -> str | None:
    """Our address that the request reached, unless a proxy hides it."""
    if request.transport is None:
        return None
    name = request.transport.get_extra_info("sockname")
    return name[0] if isinstance(name, tuple) else None
