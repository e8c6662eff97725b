"""The pages: plain files of `signaling/web`, read once, with strict headers.

HTML and modules are `no-cache` with a strong ETag, so a new version is there at the next click;
packages of npm (`web/vendor/`) are named with their hash and may be kept for ever. The import map
is the one inline script; the policy allows it by its hash and not by a nonce, because a page that
comes out of the browser's cache with a 304 would carry the nonce of yesterday.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

log = structlog.get_logger(__name__)

WEB: Final = Path(__file__).parent / "web"
HLS_JS: Final = "vendor/hls.min.mjs"
_IMPORT_MAP: Final = "<!-- import map -->"
_GZIP_FROM: Final = 1024

_TYPES: Final[Mapping[str, str]] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}

_PAGES: Final[Mapping[str, str]] = {
    "/": "index.html",
    "/r/{room}": "room.html",
    "/studio": "studio.html",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    zipped: bytes | None
    etag: str
    content_type: str


class PageServer:
    """`extra_sources` are origins (a CDN's) that pages may also fetch media from."""

    def __init__(self, folder: Path = WEB, *, extra_sources: tuple[str, ...] = ()) -> None:
        names = sorted(p for p in folder.rglob("*") if p.suffix in _TYPES and p.is_file())
        self._files = {p.relative_to(folder).as_posix(): _load(p) for p in names}
        vendor = self._files.get(HLS_JS)
        if vendor is None:
            log.warning("pages.no_hls_js", expected=HLS_JS)
        self._import_map = json.dumps({"imports": _imports(vendor)}, separators=(",", ":"))
        self._policy = _policy(self._import_map, extra_sources)
        for page in _PAGES.values():
            self._files[page] = self._with_import_map(self._files[page])

    def routes(self) -> list[web.RouteDef]:
        found = [web.get(path, self._page(name)) for path, name in _PAGES.items()]
        return [*found, web.get("/web/{path:.+}", self._asset), web.get("/favicon.ico", self._icon)]

    def _with_import_map(self, page: _File) -> _File:
        script = f'<script type="importmap">{self._import_map}</script>'
        text = page.body.decode().replace(_IMPORT_MAP, script)
        return _file(text.encode(), page.content_type)

    def _page(self, name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def page(request: web.Request) -> web.Response:
            return _answer(
                request,
                self._files[name],
                {
                    "Cache-Control": "no-cache",
                    "Content-Security-Policy": self._policy,
                    "Permissions-Policy": "geolocation=(), payment=(), usb=()",
                    "Referrer-Policy": "strict-origin-when-cross-origin",
                    "Cross-Origin-Opener-Policy": "same-origin",
                },
            )

        return page

    async def _asset(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        file = self._files.get(path)
        if file is None or path in _PAGES.values():
            raise web.HTTPNotFound
        named_by_hash = request.query.get("v") == _version(file)
        cache = "public, max-age=31536000, immutable" if named_by_hash else "no-cache"
        return _answer(request, file, {"Cache-Control": cache})

    async def _icon(self, request: web.Request) -> web.Response:
        return _answer(request, self._files["icon.svg"], {"Cache-Control": "no-cache"})


def _load(path: Path) -> _File:
    return _file(path.read_bytes(), _TYPES[path.suffix])


def _file(body: bytes, content_type: str) -> _File:
    zipped = gzip.compress(body, 9, mtime=0) if len(body) >= _GZIP_FROM else None
    return _File(body, zipped, hashlib.sha256(body).hexdigest()[:32], content_type)


def _version(file: _File) -> str:
    return file.etag[:12]


def _imports(hls_js: _File | None) -> dict[str, str]:
    return {} if hls_js is None else {"hls.js": f"/web/{HLS_JS}?v={_version(hls_js)}"}


def _policy(import_map: str, extra_sources: tuple[str, ...]) -> str:
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    media = " ".join(("'self'", *extra_sources))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'sha256-{digest}'",
            "style-src 'self'",
            "img-src 'self' data:",
            f"media-src {media} blob:",
            f"connect-src {media}",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'self'",
        )
    )


def _answer(request: web.Request, file: _File, headers: dict[str, str]) -> web.Response:
    zipped = file.zipped if "gzip" in request.headers.get("Accept-Encoding", "") else None
    etag = f'"{file.etag}{"-gz" if zipped else ""}"'
    headers |= {"ETag": etag, "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
    if etag in (tag.strip() for tag in request.headers.get("If-None-Match", "").split(",")):
        return web.Response(status=304, headers=headers)
    if zipped is not None:
        headers["Content-Encoding"] = "gzip"
    return web.Response(
        body=zipped or file.body, content_type=file.content_type, charset="utf-8", headers=headers
    )
