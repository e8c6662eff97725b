"""Whatever is sent, the answer is a problem that names the fault, and never a 5xx."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from signaling.entities import Role
from tests.support.signaling import ApiClient, open_api

GARBAGE = [
    (b"", 400, "malformed_json"),
    (b"{", 400, "malformed_json"),
    (b"\xff\xfe", 400, "malformed_json"),
    (b"[" * 60_000, 422, "invalid_request"),
    (b'{"a":' * 10_000, 400, "malformed_json"),
    (b"null", 422, "invalid_request"),
    (b"[]", 422, "invalid_request"),
    (b'{"slug": 1, "title": "x"}', 422, "invalid_request"),
    (b'{"slug": "x"}', 422, "invalid_request"),
    (b'{"slug": "x", "title": ""}', 422, "invalid_request"),
    (b'{"slug": "x", "title": "\\u0000"}', 422, "invalid_request"),
    (b'{"slug": "x", "title": "\\ud800"}', 400, "malformed_json"),
    (b'{"slug": "X", "title": "x"}', 422, "invalid_request"),
    (b'{"slug": "-x", "title": "x"}', 422, "invalid_request"),
    (b'{"slug": "x\\n", "title": "x"}', 422, None),
    (b'{"slug": "' + b"x" * 64 + b'", "title": "x"}', 422, "invalid_request"),
    (b'{"slug": "x", "title": "x", "takeover": "maybe"}', 422, "invalid_request"),
    (b'{"slug": "x", "title": "x", "srt_passphrase": "short"}', 422, "invalid_request"),
    (b'{"slug": "x", "title": "x", "srt_passphrase": "has a & in it"}', 422, "invalid_request"),
    (b'{"slug": "x", "title": "' + b"x" * 70_000 + b'"}', 413, "too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), GARBAGE)
async def test_a_bad_room_is_refused_and_not_made(
    body: bytes, status: int, code: str | None
) -> None:
    async with open_api() as api:
        headers = await api.sign_in("ada", Role.HOST)
        headers["Content-Type"] = "application/json"

        answer = await api.http.post("/api/v1/rooms", data=body, headers=headers)

        problem = await answer.json(content_type=None)
        assert answer.status == status, problem
        assert answer.content_type == "application/problem+json"
        assert problem["status"] == status
        if code is not None:
            assert problem["code"] == code
        assert (await api.get("/rooms"))[1]["rooms"] == []


async def test_only_json_is_read() -> None:
    async with open_api() as api:
        answer = await api.http.post("/api/v1/auth/login", data={"username": "ada"})
        assert answer.status == 415
        assert (await answer.json(content_type=None))["code"] == "unsupported_media_type"

        broken = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        answer = await api.http.post("/api/v1/auth/login", data=b"not gzip", headers=broken)
        assert answer.status in {400, 415}


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer " + "x" * 5000, "Bearer a b", "Bearer é"],
)
async def test_a_strange_authorization_is_unauthorized(header: str) -> None:
    async with open_api() as api:
        answer = await api.http.get("/api/v1/rooms", headers={"Authorization": header})

        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "live=maybe", "after=" + "x" * 99]
)
async def test_a_strange_query_is_refused(query: str) -> None:
    async with open_api() as api:
        status, problem = await api.get(f"/rooms?{query}")

        assert (status, problem["code"]) == (422, "invalid_request")


@pytest.mark.parametrize("slug", ["%00", "%ff", "..%2f", "A", "%F0%9F%98%80", "x" * 2000, "'--"])
async def test_a_strange_room_is_not_found(slug: str) -> None:
    async with open_api() as api:
        assert (await api.get(f"/rooms/{slug}"))[0] == 404


@pytest.mark.parametrize(
    "name", ["", " ", "\0", "a\0b", "x" * 250, "\ufdfa" * 60, "😀", "'; drop table users"]
)
async def test_a_strange_username_is_only_wrong(name: str) -> None:
    async with open_api() as api:
        status, problem = await api.post("/auth/login", {"username": name, "password": "x"})

        assert (status, problem["code"]) == (401, "wrong_credentials")


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(["slug", "title", "takeover", "srt_passphrase", "username", "password"])
BODIES = (
    st.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.dictionaries(FIELDS, JSON).map(lambda value: json.dumps(value).encode())
)
PATHS = st.sampled_from(["/auth/login", "/rooms", "/rooms/one/stream-key/rotate", "/rooms/one"])
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])


async def test_no_request_makes_the_server_fail() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.ADMIN)
        requests: list[tuple[str, str, bytes]] = []

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
        @given(METHODS, PATHS, BODIES)
        def collect(method: str, path: str, body: bytes) -> None:
            requests.append((method, path, body))

        collect()
        for method, path, body in requests:
            await _must_hold(api, method, path, body, bearer)


async def _must_hold(
    api: ApiClient, method: str, path: str, body: bytes, bearer: dict[str, str]
) -> None:
    headers = {"Content-Type": "application/json"} | bearer
    answer = await api.http.request(method, f"/api/v1{path}", data=body, headers=headers)
    seen = await answer.read()
    assert answer.status < 500, (method, path, body)
    if answer.status >= 400:
        assert answer.content_type == "application/problem+json", (method, path, body)
        assert json.loads(seen)["code"]


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b'{"username": "ada", '
        await asyncio.Event().wait()

    async with open_api(body_timeout_s=0.1) as api:
        answer = await api.http.post(
            "/api/v1/auth/login", data=drip(), headers={"Content-Type": "application/json"}
        )
        problem = await answer.json(content_type=None)

    assert (answer.status, problem["code"]) == (408, "body_too_slow")
