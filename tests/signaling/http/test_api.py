"""The API over real HTTP and a real database."""

import json
import re

from media.stream import Notice, Phase
from signaling.entities import Role
from tests.support.signaling import PASSWORD, FakeClock, open_api


async def test_signing_in_gives_a_token_that_works_until_it_is_over() -> None:
    clock = FakeClock()
    async with open_api(clock=clock) as api:
        bearer = await api.sign_in("Ada", Role.HOST)

        status, room = await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)
        assert status == 201, room

        clock.time += 7 * 86_400 + 1
        status, problem = await api.post("/rooms", {"slug": "two", "title": "Two"}, bearer)
        assert (status, problem["code"]) == (401, "invalid_token")


async def test_the_answer_to_a_login_has_what_the_contract_names() -> None:
    async with open_api(clock=FakeClock()) as api:
        await api.signaling.accounts.add("ada", PASSWORD, Role.ADMIN)

        status, body = await api.post("/auth/login", {"username": " ADA ", "password": PASSWORD})

        assert status == 200
        assert set(body) == {"access_token", "expires_at", "user"}
        assert body["expires_at"] == "2027-01-22T08:00:00Z"
        assert body["user"] == {"id": 1, "username": "ada", "role": "admin"}


async def test_a_wrong_name_and_a_wrong_password_cannot_be_told_apart() -> None:
    async with open_api() as api:
        await api.signaling.accounts.add("ada", PASSWORD, Role.ADMIN)

        wrong_password = await api.post("/auth/login", {"username": "ada", "password": "no"})
        wrong_name = await api.post("/auth/login", {"username": "bob", "password": PASSWORD})

        assert wrong_password == wrong_name
        assert wrong_password[0] == 401
        assert wrong_password[1]["code"] == "wrong_credentials"


async def test_guessing_is_slowed_down_and_told_for_how_long() -> None:
    clock = FakeClock()
    async with open_api(clock=clock) as api:
        await api.signaling.accounts.add("ada", PASSWORD, Role.ADMIN)
        right = {"username": "ada", "password": PASSWORD}
        for _ in range(5):
            await api.post("/auth/login", {"username": "ada", "password": "guess"})

        answer = await api.http.post("/api/v1/auth/login", json=right)
        assert answer.status == 429
        wait = int(answer.headers["Retry-After"])
        assert (await answer.json())["code"] == "too_many_requests"

        clock.time += wait
        status, _ = await api.post("/auth/login", right)
        assert status == 200


async def test_a_new_room_comes_with_its_key_and_every_address() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        asked = {"slug": "summer", "title": "夏天 🌞", "srt_passphrase": "long-enough-1"}

        status, room = await api.post("/rooms", asked, bearer)

        assert status == 201
        key = room["stream_key"]
        assert re.fullmatch("[A-Za-z0-9]{24}", key)
        assert room["title"] == "夏天 🌞"
        assert room["ingest"] == {
            "rtmp": f"rtmp://127.0.0.1:1935/live/summer?key={key}",
            "rtmp_server": "rtmp://127.0.0.1:1935/live",
            "rtmp_stream_key": f"summer?key={key}",
            "srt": f"srt://127.0.0.1:8890?streamid=#!::m=publish,r=summer,s={key}"
            "&passphrase=long-enough-1",
            "whip": "http://127.0.0.1:8080/whip/summer",
        }
        assert room["play"] == {
            "whep": "http://127.0.0.1:8080/whep/summer",
            "hls": "http://127.0.0.1:8080/hls/summer/index.m3u8",
            "page": "http://127.0.0.1:8080/r/summer",
        }
        assert (await api.signaling.keys.grant("summer", key)).room == "summer"
        assert await api.signaling.keys.srt_passphrase("summer") == "long-enough-1"


async def test_the_key_is_never_shown_again() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        _, made = await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)

        _, room = await api.get("/rooms/one", bearer)
        _, rooms = await api.get("/rooms", bearer)

        assert made["stream_key"] not in json.dumps([room, rooms])


async def test_only_hosts_and_admins_open_rooms() -> None:
    async with open_api() as api:
        viewer = await api.sign_in("eve", Role.VIEWER)
        body = {"slug": "one", "title": "One"}

        status, problem = await api.post("/rooms", body)
        assert (status, problem["code"]) == (401, "unauthorized")
        status, problem = await api.post("/rooms", body, viewer)
        assert (status, problem["code"]) == (403, "forbidden")
        assert (await api.get("/rooms"))[1]["rooms"] == []


async def test_a_name_is_given_once() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        _, made = await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)

        status, problem = await api.post("/rooms", {"slug": "one", "title": "Other"}, bearer)

        assert (status, problem["code"]) == (409, "room_exists")
        assert (await api.signaling.keys.grant("one", made["stream_key"])).room == "one"


async def test_a_live_room_tells_viewers_what_there_is_and_nothing_private() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)
        api.signaling.live.go_live("one", notices=(Notice("b_frames", "Switch off B-frames."),))
        api.signaling.live.counts["one"] = 12

        status, room = await api.get("/rooms/one")

        assert status == 200
        assert (room["live"], room["phase"], room["viewers"]) == (True, "live", 12)
        assert room["renditions"][0] == {
            "id": "video",
            "kind": "video",
            "codec": "avc1.64001f",
            "width": 1280,
            "height": 720,
            "frame_rate": 30.0,
            "bitrate": None,
        }
        assert room["publisher"] == {"protocol": "rtmp", "encoder": "OBS 32.0"}
        assert (room["notices"], room["servers"]) == (None, None)
        assert "203.0.113.9" not in json.dumps(room)


async def test_the_host_reads_the_notices_and_a_host_of_another_room_does_not() -> None:
    async with open_api() as api:
        owner = await api.sign_in("ada", Role.HOST)
        other = await api.sign_in("bob", Role.HOST)
        admin = await api.sign_in("root", Role.ADMIN)
        await api.post("/rooms", {"slug": "one", "title": "One"}, owner)
        api.signaling.live.go_live("one", notices=(Notice("b_frames", "Switch off B-frames."),))
        notices = [{"code": "b_frames", "message": "Switch off B-frames."}]

        assert (await api.get("/rooms/one", owner))[1]["notices"] == notices
        assert (await api.get("/rooms/one", admin))[1]["notices"] == notices
        assert (await api.get("/rooms/one", other))[1]["notices"] is None


async def test_a_room_in_its_grace_period_is_live_and_says_so() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)
        api.signaling.live.go_live("one", phase=Phase.GRACE)

        _, room = await api.get("/rooms/one")

        assert (room["live"], room["phase"]) == (True, "grace")


async def test_rotating_voids_the_old_key_and_cuts_off_who_uses_it() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        other = await api.sign_in("bob", Role.HOST)
        _, made = await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)

        status, problem = await api.post("/rooms/one/stream-key/rotate", None, other)
        assert (status, problem["code"]) == (403, "forbidden")
        assert api.signaling.live.kicked == []

        status, room = await api.post("/rooms/one/stream-key/rotate", None, bearer)
        assert status == 200
        assert room["stream_key"] != made["stream_key"]
        assert room["ingest"]["rtmp_stream_key"] == f"one?key={room['stream_key']}"
        assert api.signaling.live.kicked == ["one"]
        assert (await api.signaling.keys.grant("one", room["stream_key"])).room == "one"

        status, problem = await api.post("/rooms/none/stream-key/rotate", None, bearer)
        assert (status, problem["code"]) == (404, "room_not_found")


async def test_rooms_come_in_pages() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        names = [f"room-{n}" for n in range(5)]
        for name in names:
            await api.post("/rooms", {"slug": name, "title": name}, bearer)
        api.signaling.live.go_live("room-3")

        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            _, page = await api.get(f"/rooms?limit=2&after={cursor}")
            assert len(page["rooms"]) <= 2
            seen += [room["slug"] for room in page["rooms"]]
            cursor = page["next"]

        assert seen == names
        _, live = await api.get("/rooms?live=true")
        assert [room["slug"] for room in live["rooms"]] == ["room-3"]
        _, idle = await api.get("/rooms?live=false")
        assert "room-3" not in [room["slug"] for room in idle["rooms"]]


async def test_what_is_not_there_is_a_problem_too() -> None:
    async with open_api() as api:
        assert (await api.get("/nothing"))[1]["code"] == "not_found"
        answer = await api.http.delete("/api/v1/rooms")
        assert answer.status == 405
        assert answer.content_type == "application/problem+json"
        assert (await answer.json())["code"] == "method_not_allowed"
        assert set(answer.headers["Allow"].split(",")) >= {"GET", "POST"}


async def test_addresses_follow_the_host_by_which_the_client_came() -> None:
    async with open_api() as api:
        bearer = await api.sign_in("ada", Role.HOST)
        await api.post("/rooms", {"slug": "one", "title": "One"}, bearer)

        _, room = await api.get("/rooms/one", {"Host": "192.168.1.5:8080"})
        assert room["play"]["page"] == "http://192.168.1.5:8080/r/one"
        _, room = await api.get("/rooms/one", {"Host": 'evil"><script>'})
        assert room["play"]["page"] == "http://live.test:8080/r/one"
