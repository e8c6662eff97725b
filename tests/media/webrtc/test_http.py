"""The HTTP side of WHEP, line by line as the drafts and the conformance list have it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from media.webrtc.sdp import MAX_SIZE
from scripts.bench.clip import Loop, clip
from tests.support.offers import BROWSERS, CHROME, CHROME_VIDEO, sdp
from tests.support.raw_viewer import SDP, RawViewer, raw_viewer
from tests.support.webrtc import Site, check, site, until

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
CANDIDATE = "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.9 5000 typ host\r\n"
RESTART = "a=ice-ufrag:renew\r\na=ice-pwd:renewedrenewedrenewedrenewed\r\n"


@pytest.fixture
async def where(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as running:
        yield running


@pytest.fixture
async def live(where: Site) -> AsyncIterator[Site]:
    source = Loop(where.hub, "demo", clip())
    yield where
    await source.stop()


@pytest.mark.parametrize("text", BROWSERS.values(), ids=BROWSERS)
async def test_an_offer_makes_a_session(live: Site, text: str) -> None:
    async with live.client.post(live.whep(), data=text, headers=SDP) as response:
        answer = await response.text()

        assert response.status == 201
        assert response.headers["Content-Type"] == "application/sdp"
        assert re.fullmatch(r'"[^"]+"', response.headers["ETag"])
        assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"
        room, _, session = response.headers["Location"].rpartition("/")
        assert room == "/whep/demo"
        assert len(session) * 6 >= 128
        assert answer.count("\r\nm=") == text.count("\r\nm=") == 2
        assert answer.count("a=sendonly") == 2
        assert "a=setup:passive" in answer


async def test_sessions_have_names_of_their_own(live: Site) -> None:
    async with raw_viewer(live) as first, raw_viewer(live) as second:
        assert first.session != second.session
        assert first.etag != second.etag


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (CHROME, "application/json", 415, "unsupported_media_type"),
        (CHROME, "text/plain", 415, "unsupported_media_type"),
        ("garbage", "application/sdp", 400, "sdp_malformed"),
        ("", "application/sdp", 400, "sdp_malformed"),
        (b"v=0\r\n\xff\xfe", "application/sdp", 400, "not_utf8"),
        ("v=0\r\n" + "a=x\r\n" * (MAX_SIZE // 4), "application/sdp", 413, "body_too_large"),
        (CHROME.replace("recvonly", "sendonly"), "application/sdp", 422, "offer_unacceptable"),
        (CHROME.replace("actpass", "passive"), "application/sdp", 422, "offer_unacceptable"),
        (
            sdp(
                CHROME_VIDEO,
                tuple(line.replace("a=mid:0", "a=mid:1") for line in CHROME_VIDEO),
            ),
            "application/sdp",
            422,
            "offer_unacceptable",
        ),
        (
            re.sub(r"H26\d|AV1", "VP9", CHROME),
            "application/sdp",
            406,
            "no_common_codec",
        ),
    ],
)
async def test_bad_offers_are_told_what_is_wrong(
    live: Site, body: str | bytes, content_type: str, status: int, code: str
) -> None:
    async with live.client.post(
        live.whep(), data=body, headers={"Content-Type": content_type}
    ) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
        assert (await response.json(content_type=None))["code"] == code
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert live.service.total_viewers == 0


async def test_a_broken_body_is_the_clients_fault(live: Site) -> None:
    async with live.client.post(
        live.whep(), data=b"not gzip", headers={**SDP, "Content-Encoding": "gzip"}
    ) as response:
        assert response.status == 400
        assert (await response.json(content_type=None))["code"] == "body_broken"


async def test_a_body_that_trickles_in_is_given_up(tmp_path: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        for byte in CHROME.encode():
            yield bytes((byte,))
            await asyncio.sleep(0.02)

    async with (
        site(tmp_path, body_timeout=0.1) as where,
        where.client.post(where.whep(), data=trickle(), headers=SDP) as response,
    ):
        assert response.status == 408
        assert (await response.json(content_type=None))["code"] == "body_too_slow"


async def test_a_wrong_type_is_answered_with_the_right_one(live: Site) -> None:
    async with raw_viewer(live) as viewer:
        async with live.client.post(live.whep(), json={}) as response:
            assert response.headers["Accept-Post"] == "application/sdp"
        async with live.client.patch(viewer.session, json={}) as response:
            assert response.headers["Accept-Patch"] == "application/trickle-ice-sdpfrag"


async def test_an_active_client_is_answered_passive(live: Site) -> None:
    viewer = RawViewer(live, offer=CHROME.replace("setup:actpass", "setup:active"))
    await viewer.post()
    assert viewer.status == 201
    assert "a=setup:passive" in viewer.answer
    await viewer.connect()
    viewer.close()


async def test_an_unknown_room_is_not_found(where: Site) -> None:
    async with where.client.post(where.whep("nowhere"), data=CHROME, headers=SDP) as response:
        assert response.status == 404
        assert (await response.json(content_type=None))["code"] == "room_not_found"


async def test_a_room_that_is_not_live_is_to_be_asked_again(where: Site) -> None:
    async with where.client.post(where.whep("idle"), data=CHROME, headers=SDP) as response:
        assert response.status == 409
        assert int(response.headers["Retry-After"]) > 0
        assert (await response.json(content_type=None))["code"] == "not_live"


async def test_a_room_whose_publisher_left_is_not_live(where: Site) -> None:
    source = Loop(where.hub, "demo", clip())
    async with raw_viewer(where) as viewer:
        assert viewer.status == 201
    await source.stop()

    viewer = await RawViewer(where).post()
    viewer.close()

    assert viewer.status == 409


async def test_an_offer_waits_for_the_first_picture(where: Site) -> None:
    source = Loop(where.hub, "demo", clip())
    stream = where.hub.stream("demo")
    assert stream is not None
    assert not stream.settled

    async with raw_viewer(where) as viewer:
        assert viewer.status == 201
    await source.stop()


async def test_a_full_server_says_when_to_come_again(tmp_path: Path) -> None:
    async with site(tmp_path, max_viewers=2) as where:
        source = Loop(where.hub, "demo", clip())
        async with raw_viewer(where), raw_viewer(where) as leaver:
            refused = await RawViewer(where).post()
            refused.close()
            assert refused.status == 503

            await leaver.delete()
            async with raw_viewer(where) as admitted:
                assert admitted.status == 201
        async with where.client.post(where.whep(), data=CHROME, headers=SDP) as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
        await source.stop()


async def test_a_server_that_drains_takes_nobody_more(live: Site) -> None:
    async with raw_viewer(live) as viewer:
        live.service.drain()

        late = await RawViewer(live).post()
        late.close()
        assert late.status == 503
        await viewer.connect()


async def test_preflights_pass_without_credentials(where: Site) -> None:
    for url in (where.whep(), where.whep() + "/session"):
        async with where.client.options(
            url,
            headers={
                "Origin": "https://example.org",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        ) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            methods = response.headers["Access-Control-Allow-Methods"]
            assert {"POST", "PATCH", "DELETE"} <= set(methods.split(", "))
            allowed = response.headers["Access-Control-Allow-Headers"]
            assert {"authorization", "content-type", "if-match"} <= set(allowed.split(", "))
            exposed = response.headers["Access-Control-Expose-Headers"]
            assert {"Location", "Link", "ETag", "Accept-Patch", "Retry-After"} <= set(
                exposed.split(", ")
            )
    async with where.client.options(where.whep()) as response:
        assert response.headers["Accept-Post"] == "application/sdp"


async def test_get_and_head_succeed_without_content(live: Site) -> None:
    async with raw_viewer(live) as viewer:
        for url in (live.whep(), viewer.session):
            async with live.client.get(url) as response:
                assert response.status == 200
                assert await response.read() == b""
            async with live.client.head(url) as response:
                assert response.status == 200
        async with live.client.head(live.whep()) as response:
            assert response.content_type == "application/sdp"
    for url in (live.whep("nowhere"), live.whep() + "/nothing"):
        async with live.client.get(url) as response:
            assert response.status == 404


async def test_candidates_are_taken_with_the_current_etag(live: Site) -> None:
    async with (
        raw_viewer(live) as viewer,
        live.client.patch(
            viewer.session, data=CANDIDATE, headers={**FRAGMENT, "If-Match": viewer.etag}
        ) as response,
    ):
        assert response.status == 204
        assert "ETag" not in response.headers
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (CANDIDATE, FRAGMENT, 428),
        (CANDIDATE, {**FRAGMENT, "If-Match": '"old"'}, 412),
        (CANDIDATE, {"Content-Type": "application/sdp", "If-Match": '"x"'}, 415),
        ("garbage", {**FRAGMENT, "If-Match": "*"}, 400),
        ("a=ice-ufrag:renew\r\n", {**FRAGMENT, "If-Match": "*"}, 422),
    ],
)
async def test_patches_that_do_not_fit_change_nothing(
    live: Site, body: str, headers: dict[str, str], status: int
) -> None:
    async with raw_viewer(live) as viewer:
        async with live.client.patch(viewer.session, data=body, headers=headers) as response:
            assert response.status == status
            assert response.content_type == "application/problem+json"
        async with live.client.get(viewer.session) as response:
            assert response.headers["ETag"] == viewer.etag


async def test_a_restart_with_the_current_etag_is_refused(live: Site) -> None:
    async with (
        raw_viewer(live) as viewer,
        live.client.patch(
            viewer.session, data=RESTART, headers={**FRAGMENT, "If-Match": viewer.etag}
        ) as response,
    ):
        assert response.status == 422


@pytest.mark.parametrize("anything", ["*", '"*"'])
async def test_ice_restarts(live: Site, anything: str) -> None:
    async with raw_viewer(live) as viewer:
        await viewer.connect()
        await until(lambda: viewer.leg.media > 20)

        async with live.client.patch(
            viewer.session, data=RESTART, headers={**FRAGMENT, "If-Match": anything}
        ) as response:
            body = await response.text()
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/trickle-ice-sdpfrag"
            renewed = response.headers["ETag"]
            assert re.fullmatch(r'"[^"]+"', renewed)
            assert renewed != viewer.etag
        ufrag = re.search(r"a=ice-ufrag:(\S+)", body)
        password = re.search(r"a=ice-pwd:(\S+)", body)
        assert ufrag is not None
        assert password is not None
        assert ufrag[1] != viewer.remote.ufrag
        assert "a=candidate:" in body

        async with live.client.patch(
            viewer.session, data=CANDIDATE, headers={**FRAGMENT, "If-Match": viewer.etag}
        ) as response:
            assert response.status == 412
        # The browser goes on from another address, with the new credentials.
        other = viewer.another_leg()
        fresh = viewer.remote.__class__(ufrag[1], password[1])
        other.send(check(fresh, "renew", nominate=True))
        await until(lambda: other.media > 20)


async def test_a_session_is_deleted_once(live: Site) -> None:
    async with raw_viewer(live) as viewer:
        async with live.client.delete(
            viewer.session, headers={"If-Match": '"whatever"'}
        ) as response:
            assert response.status == 200
        for method in ("DELETE", "PATCH", "GET"):
            async with live.client.request(
                method, viewer.session, data=CANDIDATE, headers={**FRAGMENT, "If-Match": "*"}
            ) as response:
                assert response.status == 404


async def test_a_session_belongs_to_its_room(live: Site) -> None:
    async with raw_viewer(live) as viewer:
        elsewhere = viewer.session.replace("/demo/", "/idle/")
        async with live.client.delete(elsewhere) as response:
            assert response.status == 404
        assert live.service.total_viewers == 1
