"""The pages as files: types, caching and the policy that browsers are told."""

import base64
import gzip
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from signaling.pages import WEB, PageServer

Client = TestClient[web.Request, web.Application]


@asynccontextmanager
async def open_pages(folder: Path = WEB) -> AsyncIterator[Client]:
    application = web.Application()
    application.add_routes(PageServer(folder).routes())
    async with TestClient(TestServer(application), auto_decompress=False) as client:
        yield client


def site(folder: Path) -> Path:
    """A small site with a package in `vendor/`."""
    for name in ("index.html", "room.html", "studio.html"):
        (folder / name).write_text("<!doctype html><!-- import map --><p>" + "x" * 2000)
    (folder / "icon.svg").write_text("<svg/>")
    (folder / "vendor").mkdir()
    (folder / "vendor" / "hls.min.mjs").write_text("export default 1;")
    return folder


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html"),
        ("/r/demo", "text/html"),
        ("/studio", "text/html"),
        ("/web/style.css", "text/css"),
        ("/web/player/state.js", "text/javascript"),
        ("/favicon.ico", "image/svg+xml"),
    ],
)
async def test_every_file_has_its_type_and_is_asked_for_anew(path: str, content_type: str) -> None:
    async with open_pages() as client:
        answer = await client.get(path)

        assert answer.status == 200
        assert answer.content_type == content_type
        assert answer.charset == "utf-8"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

        again = await client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        assert await again.read() == b""
        assert again.headers["ETag"] == answer.headers["ETag"]


async def test_a_page_allows_only_its_own_scripts(tmp_path: Path) -> None:
    async with open_pages(site(tmp_path)) as client:
        answer = await client.get("/r/demo", headers={"Accept-Encoding": "identity"})
        body = (await answer.read()).decode()

    policy = dict(
        directive.split(" ", 1)
        for directive in answer.headers["Content-Security-Policy"].split("; ")
    )
    (script,) = re.findall(r'<script type="importmap">(.*?)</script>', body)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["index.html", "room.html", "studio.html"])
def test_no_page_has_inline_script_or_style(name: str) -> None:
    text = (WEB / name).read_text()

    assert re.findall(r"<script(?![^>]* src=)", text) == []
    assert "<style" not in text
    assert re.findall(r"\s(?:on\w+|style)=", text) == []


async def test_a_package_is_named_by_its_hash_and_kept_for_ever(tmp_path: Path) -> None:
    async with open_pages(site(tmp_path)) as client:
        page = await (await client.get("/", headers={"Accept-Encoding": "identity"})).text()
        (address,) = re.findall(r'"hls.js":"([^"]+)"', page)

        named = await client.get(address)
        other = await client.get("/web/vendor/hls.min.mjs?v=old")

        assert named.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert named.content_type == "text/javascript"
        assert other.headers["Cache-Control"] == "no-cache"


async def test_without_the_package_pages_are_served_all_the_same(tmp_path: Path) -> None:
    folder = site(tmp_path)
    (folder / "vendor" / "hls.min.mjs").unlink()
    async with open_pages(folder) as client:
        page = await (await client.get("/", headers={"Accept-Encoding": "identity"})).text()

    assert '{"imports":{}}' in page


async def test_text_is_compressed_for_those_who_take_it(tmp_path: Path) -> None:
    async with open_pages(site(tmp_path)) as client:
        plain = await client.get("/", headers={"Accept-Encoding": "identity"})
        packed = await client.get("/", headers={"Accept-Encoding": "gzip, br"})

        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert packed.headers["ETag"] != plain.headers["ETag"]
        assert gzip.decompress(await packed.read()) == await plain.read()


@pytest.mark.parametrize(
    "path", ["/web/../pages.py", "/web/%2e%2e/pages.py", "/web/none.js", "/web/room.html", "/r/"]
)
async def test_nothing_else_is_served(path: str) -> None:
    async with open_pages() as client:
        answer = await client.get(path)

        assert answer.status == 404
