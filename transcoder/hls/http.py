"""HLS over HTTP: playlists that block until they have news, and media that never changes.

draft-pantos-hls-rfc8216bis, 6.2.5 (delivery directives) and B.1. Made for caches: no state of a
viewer in any answer, the same bytes for all, `Vary` for nothing but the encoding. Each may be kept:

| answer | Cache-Control |
|---|---|
| media | a year, immutable: names are never used again |
| playlist that names a state (`_HLS_msn`) | six target durations |
| playlist without | must be asked for again; shared caches one second |
| index | two seconds |
| 404 of media | one second: it may be a part that is not there yet |
| other errors | no-store |
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

from aiohttp import hdrs, web

from configs.kernel.problems import problem
from transcoder.hls.playlist import Skip
from transcoder.hls.presentation import Output, Presentation, Rendered
from transcoder.hls.service import HlsService

IMMUTABLE: Final = "public, max-age=31536000, immutable"
UNNAMED_STATE: Final = "public, max-age=0, s-maxage=1"
INDEX: Final = "public, max-age=2"
NOT_YET: Final = "public, max-age=1"
PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"
MEDIA_TYPES: Final = {"video": "video/mp4", "audio": "audio/mp4"}

CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "Age, Content-Length, Content-Range, Date, ETag",
}
_PREFLIGHT: Final = {
    **CORS,
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
_MEDIA: Final = re.compile(r"(?:init-([0-9]{1,9})\.mp4|([0-9]{1,12})(?:\.([0-9]{1,6}))?\.m4s)")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")

Bytes = bytes | memoryview


class Refused(Exception):
    """Becomes a problem in `HlsEndpoint._guarded`."""

    def __init__(
        self, status: int, code: str, detail: str = "", *, cache: str = "no-store"
    ) -> None:
        super().__init__(detail or code)
        self.status = status
        self.code = code
        self.detail = detail
        self.cache = cache


@dataclass(frozen=True, slots=True)
class Directives:
    """Delivery directives of a playlist request (6.2.5)."""

    msn: int | None = None
    part: int | None = None
    skip: Skip = Skip.NOTHING


def directives(query: "web.Request | dict[str, str]") -> Directives:
    """Raises `Refused` (400) for what the draft forbids."""
    values = query.query if isinstance(query, web.Request) else query
    numbers: dict[str, int | None] = {}
    for name in ("_HLS_msn", "_HLS_part"):
        text = values.get(name)
        if text is not None and not _NUMBER.fullmatch(text):
            raise Refused(400, "bad_directive", f"{name} is no decimal integer")
        numbers[name] = None if text is None else int(text)
    msn, part = numbers["_HLS_msn"], numbers["_HLS_part"]
    if part is not None and msn is None:
        raise Refused(400, "bad_directive", "_HLS_part needs _HLS_msn")
    skip = values.get("_HLS_skip", "")
    known = {"YES": Skip.SEGMENTS, "v2": Skip.SEGMENTS_AND_RANGES}
    return Directives(msn, part, known.get(skip, Skip.NOTHING))


class HlsEndpoint:
    """`room_exists` tells a room that is not live from one that is not there."""

    def __init__(self, service: HlsService, room_exists: Callable[[str], Awaitable[bool]]) -> None:
        self._service = service
        self._room_exists = room_exists

    def routes(self) -> list[web.RouteDef]:
        index = "/hls/{room}/index.m3u8"
        media = r"/hls/{room}/{id}/{name}.m3u8"
        file = r"/hls/{room}/{id}/{name}/{file}"
        return [
            *(
                web.get(path, handler)
                for path, handler in (
                    (index, self._guarded(self._index)),
                    (media, self._guarded(self._playlist)),
                    (file, self._guarded(self._file)),
                )
            ),
            web.options("/hls/{tail:.*}", self._options),
        ]

    def _guarded(
        self, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                response = await handler(request)
            except Refused as refused:
                headers: dict[str, str] = {hdrs.CACHE_CONTROL: refused.cache}
                if refused.status == 503:
                    headers[hdrs.RETRY_AFTER] = "1"
                response = problem(refused.status, refused.code, refused.detail, headers=headers)
            response.headers.update(CORS)
            return response

        return guarded

    async def _options(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(status=204, headers=_PREFLIGHT)

    async def _index(self, request: web.Request) -> web.Response:
        room = request.match_info["room"]
        presentation = self._service.presentation(room)
        packager = self._service.packager(room)
        if packager is not None and (presentation is None or presentation.ended):
            await packager.begun.wait_for(
                lambda: packager.presentation is not None or self._service.packager(room) is None,
                self._service.config.start_wait_s,
            )
            presentation = self._service.presentation(room)
        if presentation is None:
            if packager is not None and self._service.packager(room) is packager:
                raise Refused(503, "not_ready", "the stream has only just begun")
            await self._refuse_room(room)
        assert presentation is not None
        await self._until_ready(presentation)
        return _rendered(request, presentation.index(), INDEX)

    async def _playlist(self, request: web.Request) -> web.Response:
        presentation, output = await self._output(request)
        asked = directives(request)
        await self._until_ready(presentation)
        rendition = output.rendition
        cache = UNNAMED_STATE
        if asked.msn is not None:
            cache = f"public, max-age={6 * rendition.target_duration}"
            if not rendition.ended:
                await self._until(output, asked.msn, asked.part)
        return _rendered(request, presentation.media(rendition.name, asked.skip), cache)

    async def _file(self, request: web.Request) -> web.Response:
        presentation, output = await self._output(request)
        match = _MEDIA.fullmatch(request.match_info["file"])
        if match is None:
            raise Refused(404, "not_found")
        initialization, msn, part = (int(n) if n is not None else None for n in match.groups())
        data: Bytes | None
        if initialization is not None:
            data = output.rendition.initialization(initialization)
        else:
            assert msn is not None
            data = await self._media(output, msn, part)
        if data is None:
            raise Refused(404, "not_found", cache=NOT_YET)
        etag = f"{presentation.id}-{output.rendition.name}-{match[0]}"
        return _media(request, data, MEDIA_TYPES[output.rendition.kind], etag)

    async def _media(self, output: Output, msn: int, part: int | None) -> Bytes | None:
        """A segment, a part, or the part that is hinted at once it is there."""
        rendition = output.rendition
        if part is not None and (msn, part) == rendition.next_part and not rendition.ended:
            came = await output.bell.wait_for(
                lambda: rendition.next_part != (msn, part) or rendition.ended,
                3 * (rendition.target_duration or self._service.config.target_duration),
            )
            if not came:
                raise Refused(503, "part_late", "the part did not come in time")
        segment = rendition.segment(msn)
        if segment is None:
            return None
        if part is None:
            return segment.data() if segment.closed else None
        return segment.part(part) if part < len(segment.parts) else None

    async def _output(self, request: web.Request) -> tuple[Presentation, Output]:
        room = request.match_info["room"]
        presentation = self._service.find(room, request.match_info["id"])
        if presentation is None:
            if self._service.packager(room) is None:
                await self._refuse_room(room)
            raise Refused(404, "not_found")
        output = presentation.outputs.get(request.match_info["name"])
        if output is None:
            raise Refused(404, "not_found")
        return presentation, output

    async def _refuse_room(self, room: str) -> None:
        if await self._room_exists(room):
            raise Refused(404, "not_live", "nobody is streaming in this room")
        raise Refused(404, "not_found", "there is no such room")

    async def _until_ready(self, presentation: Presentation) -> None:
        await presentation.started.wait_for(
            lambda: presentation.ready or presentation.ended, self._service.config.start_wait_s
        )
        if not presentation.ready:
            if presentation.ended:
                raise Refused(404, "not_live", "the stream ended before it had begun")
            raise Refused(503, "not_ready", "the stream has only just begun")

    async def _until(self, output: Output, msn: int, part: int | None) -> None:
        rendition = output.rendition
        last_msn, last_part = rendition.last
        advance = ceil(3 / rendition.part_target) if rendition.part_target < 1 else 3
        ahead = -1
        if part is not None and msn >= last_msn:
            ahead = part - last_part if msn == last_msn else part + 1
        if msn > last_msn + 2 or ahead > advance:
            raise Refused(400, "bad_directive", "too far ahead of the stream")
        came = await output.bell.wait_for(
            lambda: rendition.ended or rendition.has(msn, part), 3 * rendition.target_duration
        )
        if not came:
            raise Refused(503, "playlist_late", "the stream did not go on in time")


def _rendered(request: web.Request, rendered: Rendered, cache: str) -> web.Response:
    accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "")
    zipped = _accepts_gzip(accepted)
    etag = f'"{rendered.etag}{"-gz" if zipped else ""}"'
    headers = {hdrs.CACHE_CONTROL: cache, hdrs.ETAG: etag, hdrs.VARY: "Accept-Encoding"}
    if _matches(request, etag):
        return web.Response(status=304, headers=headers)
    if zipped:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    body = rendered.compressed if zipped else rendered.body
    return web.Response(body=body, headers=headers, content_type=PLAYLIST_TYPE)


def _media(request: web.Request, data: Bytes, media_type: str, name: str) -> web.Response:
    etag = f'"{name}"'
    headers = {
        hdrs.CACHE_CONTROL: IMMUTABLE,
        hdrs.ETAG: etag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CONTENT_TYPE: media_type,
    }
    if _matches(request, etag):
        return web.Response(status=304, headers=headers)
    wanted = request.headers.get(hdrs.RANGE)
    if wanted is None or request.headers.get(hdrs.IF_RANGE, etag) != etag:
        return web.Response(body=data, headers=headers)
    span = _span(wanted, len(data))
    if span is None:
        return web.Response(body=data, headers=headers)
    first, last = span
    if first >= len(data) or last < first:
        return problem(
            416, "range_not_satisfiable", headers={hdrs.CONTENT_RANGE: f"bytes */{len(data)}"}
        )
    headers[hdrs.CONTENT_RANGE] = f"bytes {first}-{last}/{len(data)}"
    return web.Response(status=206, body=memoryview(data)[first : last + 1], headers=headers)


def _span(wanted: str, size: int) -> tuple[int, int] | None:
    """First and last byte of a single range (RFC 9110, 14.1.2), not yet checked against the size;
    None for what is not one range of bytes, which is to be ignored."""
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        length = min(int(last), size)
        return (size - length, size - 1) if length else (size, size)
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last), size - 1) if last else size - 1


def _matches(request: web.Request, etag: str) -> bool:
    asked = request.headers.get(hdrs.IF_NONE_MATCH)
    if asked is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
    return etag in tags or "*" in tags


def _accepts_gzip(accepted: str) -> bool:
    for item in accepted.lower().split(","):
        coding, _, parameters = item.partition(";")
        if coding.strip() in ("gzip", "x-gzip", "*"):
            return not re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameters)
    return False
