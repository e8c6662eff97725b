"""Over HTTP: what blocks, what is refused, and what a cache may keep."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from media.stream import Phase, Stream
from media.units import CLOCK_RATE
from tests.support.hls import Origin, feed, in_milliseconds, interleaved, origin, pictures, sound
from tests.support.hls_playlist import MediaPlaylist, parse_media, parse_multivariant
from transcoder.hls.presentation import HlsConfig, Presentation

TAPES = pictures(), sound()
YEAR = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def playlist(self) -> MediaPlaylist:
        assert self.status == 200
        return parse_media(self.body.decode())

    @property
    def code(self) -> str:
        code: str = json.loads(self.body)["code"]
        return code


class Player:
    """A client of one origin whose stream stands still but for what the test pushes."""

    def __init__(self, house: Origin, stream: Stream, session: ClientSession) -> None:
        self.house = house
        self.session = session
        self.restart(stream)

    def restart(self, stream: Stream) -> None:
        self.stream = stream
        for tape in TAPES:
            stream.set_track(tape.track)
        self._units = interleaved(*TAPES, until=1 << 40)
        self._pushed = 0.0

    def push(self, seconds: float) -> None:
        self._pushed += seconds
        for unit in self._units:
            self.stream.push(in_milliseconds(unit))
            if unit.dts >= self._pushed * CLOCK_RATE:
                break

    @property
    def presentation(self) -> Presentation:
        presentation = self.house.service.presentation("demo")
        assert presentation is not None
        return presentation

    def path(self, rest: str) -> str:
        return f"{self.presentation.id}/{rest}"

    async def get(self, path: str, **options: Any) -> Answer:
        async with self.session.get(self.house.url(path), **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def video(self, query: str = "") -> Answer:
        return await self.get(self.path("video.m3u8") + query)

    async def held(self, count: int) -> None:
        """Until so many requests wait for a part."""
        async with asyncio.timeout(5):
            while self.presentation.waiting != count:
                await asyncio.sleep(0.002)


@asynccontextmanager
async def playing(seconds: float = 9.7, config: HlsConfig | None = None) -> AsyncIterator[Player]:
    plain = {"Accept-Encoding": "identity"}
    async with (
        origin(config) as house,
        ClientSession(auto_decompress=False, headers=plain) as session,
    ):
        player = Player(house, house.start(), session)
        player.push(seconds)
        yield player


def fast(**changes: Any) -> HlsConfig:
    """A stream whose requests give up soon."""
    return HlsConfig(**{"start_wait_s": 0.05, **changes})


async def test_index_names_playlists_that_are_there() -> None:
    async with playing() as player:
        index = await player.get("index.m3u8")

        assert index.status == 200
        assert index.headers["Content-Type"] == "application/vnd.apple.mpegurl"
        [media], [variant] = parse_multivariant(index.body.decode())
        for uri in (variant["URI"], media["URI"].strip('"')):
            assert (await player.get(uri)).playlist.segments


async def test_everything_that_a_playlist_names_can_be_fetched() -> None:
    async with playing() as player:
        for name in ("video", "audio"):
            playlist = (await player.get(player.path(f"{name}.m3u8"))).playlist
            for segment in playlist.segments:
                whole = b""
                for part in segment.parts:
                    response = await player.get(player.path(part.uri))
                    assert response.status == 200
                    whole += response.body
                initialization = await player.get(player.path(segment.map))
                assert initialization.headers["Content-Type"] == f"{name}/mp4"
                if segment.uri:
                    response = await player.get(player.path(segment.uri))
                    assert response.headers["Content-Length"] == str(len(whole))
                    assert response.body == whole


async def test_blocks_until_the_part_is_there() -> None:
    async with playing() as player:
        msn, part = player.presentation.outputs["video"].rendition.next_part
        waiting = asyncio.create_task(player.video(f"?_HLS_msn={msn}&_HLS_part={part}"))
        await player.held(1)

        player.push(0.6)

        response = await waiting
        playlist = response.playlist
        assert playlist.last >= (msn, part)


async def test_blocks_until_the_segment_is_complete() -> None:
    async with playing() as player:
        msn = player.presentation.outputs["video"].rendition.last[0]
        waiting = asyncio.create_task(player.video(f"?_HLS_msn={msn}"))
        await player.held(1)

        player.push(0.2)
        assert not waiting.done()
        player.push(1.0)

        playlist = (await waiting).playlist
        assert playlist.closed[-1].msn >= msn


async def test_many_who_wait_get_the_same_bytes() -> None:
    async with playing() as player:
        msn, part = player.presentation.outputs["video"].rendition.next_part
        query = f"?_HLS_msn={msn}&_HLS_part={part}"
        waiting = [asyncio.create_task(player.video(query)) for _ in range(20)]
        await player.held(20)

        player.push(0.6)

        responses = await asyncio.gather(*waiting)
        assert len({response.body for response in responses}) == 1
        assert len({response.headers["ETag"] for response in responses}) == 1


async def test_a_part_past_the_end_of_a_segment_is_the_first_of_the_next() -> None:
    async with playing(8.9) as player:
        rendition = player.presentation.outputs["video"].rendition
        msn, part = rendition.next_part
        waiting = asyncio.create_task(player.video(f"?_HLS_msn={msn}&_HLS_part={part + 4}"))
        await player.held(1)

        player.push(1.3)  # the segment closes with fewer parts than that
        await asyncio.sleep(0)
        assert len(rendition.listed[-2].parts) < part + 4
        assert not waiting.done()
        player.push(0.6)

        playlist = (await waiting).playlist
        assert playlist.last >= (msn + 1, 0)


@pytest.mark.parametrize("query", ["?_HLS_msn=0", "?_HLS_msn=2&_HLS_part=77", "?_HLS_msn=4"])
async def test_the_past_is_answered_at_once(query: str) -> None:
    async with playing(10.3) as player:
        assert (await player.video(query)).status == 200


@pytest.mark.parametrize(
    "query",
    [
        "?_HLS_part=0",
        "?_HLS_msn=99",
        "?_HLS_msn=7",
        "?_HLS_msn=4&_HLS_part=9",
        "?_HLS_msn=5&_HLS_part=6",
        "?_HLS_msn=-1",
        "?_HLS_msn=x",
        "?_HLS_msn=",
        "?_HLS_msn=4&_HLS_part=1.5",
        "?_HLS_msn=99999999999999999999",
    ],
)
async def test_what_is_too_far_or_no_number_is_refused(query: str) -> None:
    async with playing() as player:
        assert player.presentation.outputs["video"].rendition.last == (4, 2)

        response = await player.video(query)

        assert response.status == 400
        assert response.headers["Cache-Control"] == "no-store"
        assert response.code == "bad_directive"


@pytest.mark.parametrize(
    "query",
    ["?_HLS_msn=6", "?_HLS_msn=4&_HLS_part=8", "?_HLS_msn=5&_HLS_part=5"],
)
async def test_what_is_just_not_too_far_waits(query: str) -> None:
    async with playing() as player:
        waiting = asyncio.create_task(player.video(query))
        await player.held(1)

        player.push(6.0)

        assert (await waiting).status == 200


async def test_a_stream_that_does_not_go_on_is_503_in_time() -> None:
    config = fast(segment_s=0.2, part_s=0.1, target_duration=1)
    async with origin(config) as house, ClientSession() as session:
        player = Player(house, house.start(), session)
        feed(player.stream, pictures(gop=6, gops=5), sound(), seconds=3)
        rendition = player.presentation.outputs["video"].rendition
        loop = asyncio.get_running_loop()
        began = loop.time()

        response = await player.video(f"?_HLS_msn={rendition.last[0] + 1}")

        assert response.status == 503
        assert response.headers["Cache-Control"] == "no-store"
        assert loop.time() - began >= 3 * rendition.target_duration


async def test_a_hinted_part_blocks_and_comes_whole() -> None:
    async with playing() as player:
        playlist = (await player.video()).playlist
        assert playlist.hint is not None
        waiting = asyncio.create_task(player.get(player.path(playlist.hint)))
        await player.held(1)

        player.push(0.6)

        response = await waiting
        assert response.status == 200
        assert response.headers["Cache-Control"] == YEAR
        after = (await player.video()).playlist
        named = [part.uri for segment in after.segments for part in segment.parts]
        assert playlist.hint in named
        again = await player.get(player.path(playlist.hint))
        assert again.body == response.body


@pytest.mark.parametrize(
    ("rest", "cache"),
    [
        ("video/99.m4s", "public, max-age=1"),
        ("video/99.0.m4s", "public, max-age=1"),
        ("video/4.m4s", "public, max-age=1"),
        ("video/1.9.m4s", "public, max-age=1"),
        ("video/init-7.mp4", "public, max-age=1"),
        ("video/cover.jpg", "no-store"),
        ("subtitles/0.m4s", "no-store"),
        ("subtitles.m3u8", "no-store"),
    ],
)
async def test_what_is_not_there_is_404(rest: str, cache: str) -> None:
    async with playing() as player:
        response = await player.get(player.path(rest))

        assert response.status == 404
        assert response.headers["Cache-Control"] == cache
        assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_rooms_that_are_not_live_and_rooms_that_are_not_there() -> None:
    async with origin() as house, ClientSession() as session:
        for path, code in (("demo/index.m3u8", "not_live"), ("nowhere/index.m3u8", "not_found")):
            async with session.get(str(house.server.make_url(f"/hls/{path}"))) as response:
                assert response.status == 404
                assert response.headers["Cache-Control"] == "no-store"
                assert (await response.json(content_type=None))["code"] == code


async def test_index_waits_for_a_stream_that_has_just_begun() -> None:
    async with origin() as house, ClientSession() as session:
        player = Player(house, house.start(), session)
        waiting = asyncio.create_task(player.get("index.m3u8"))
        await asyncio.sleep(0)

        for _ in range(40):
            player.push(0.1)
            await asyncio.sleep(0)

        assert (await waiting).status == 200


async def test_index_does_not_wait_for_ever() -> None:
    async with origin(fast()) as house, ClientSession() as session:
        player = Player(house, house.start(), session)

        response = await player.get("index.m3u8")

        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert response.headers["Cache-Control"] == "no-store"


async def test_a_stream_in_its_grace_period_is_still_there() -> None:
    async with playing() as player:
        player.stream.enter(Phase.GRACE)

        paths = ["index.m3u8", player.path("video.m3u8"), player.path("audio.m3u8")]
        paths += [player.path("video/2.m4s"), player.path("video/4.1.m4s")]

        assert [(await player.get(path)).status for path in paths] == [200] * 5


async def test_who_waits_when_the_stream_ends_gets_the_end() -> None:
    async with playing() as player:
        msn, part = player.presentation.outputs["video"].rendition.next_part
        hint = player.path(f"video/{msn}.{part + 1}.m4s")
        query = f"?_HLS_msn={msn + 1}"
        waiting = asyncio.create_task(player.video(query))
        await player.held(1)

        player.house.end(player.stream)

        playlist = (await waiting).playlist
        assert playlist.ended
        # directives mean nothing any more, and nothing is hinted at
        ended = await player.video("?_HLS_msn=99999&_HLS_skip=YES")
        assert ended.playlist.ended
        assert (await player.get(hint)).status == 404
        assert (await player.get("index.m3u8")).status == 200


@pytest.mark.parametrize(("skip", "version"), [("YES", 9), ("v2", 10)])
async def test_delta_updates_leave_out_what_is_old(skip: str, version: int) -> None:
    async with playing(58.0) as player:
        full = (await player.video()).playlist
        delta = (await player.video(f"?_HLS_skip={skip}")).playlist

        assert delta.skipped > 0
        assert int(delta.tags["EXT-X-VERSION"]) == version
        kept = [segment.identity() for segment in delta.segments]
        assert kept == [segment.identity() for segment in full.segments][delta.skipped :]
        assert sum(segment.length for segment in delta.segments) >= 6 * delta.target
        nothing = (await player.video("?_HLS_skip=maybe")).playlist
        assert nothing.skipped == 0


async def test_how_long_a_cache_may_keep_each() -> None:
    async with playing() as player:
        expected = {
            "index.m3u8": "public, max-age=2",
            player.path("video.m3u8"): "public, max-age=0, s-maxage=1",
            player.path("video.m3u8?_HLS_skip=YES"): "public, max-age=0, s-maxage=1",
            player.path("video.m3u8?_HLS_msn=3&_HLS_part=1"): "public, max-age=24",
            player.path("video/2.m4s"): YEAR,
            player.path("video/4.0.m4s"): YEAR,
            player.path("audio/init-0.mp4"): YEAR,
        }

        for path, cache in expected.items():
            response = await player.get(path)
            assert response.headers["Cache-Control"] == cache
            is_playlist = ".m3u8" in path
            assert response.headers.get("Vary") == ("Accept-Encoding" if is_playlist else None)
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "Set-Cookie" not in response.headers
            assert response.headers["ETag"]
            assert response.headers["Date"]


async def test_what_a_viewer_adds_changes_nothing() -> None:
    async with playing() as player:
        plain = await player.video()
        other = await player.get(
            player.path("video.m3u8?CMCD=bl%3D1000%2Csid%3D%22abc%22&token=1"),
            headers={"Origin": "https://shop.example", "CMCD-Session": 'sid="x"', "Cookie": "a=1"},
        )

        assert other.body == plain.body
        assert other.headers["ETag"] == plain.headers["ETag"]


async def test_playlists_are_compressed_for_those_who_can() -> None:
    async with playing() as player:
        path = player.path("video.m3u8")
        plain = await player.get(path, headers={"Accept-Encoding": "identity"})
        zipped = await player.get(path, headers={"Accept-Encoding": "br;q=1, gzip;q=0.8"})
        refused = await player.get(path, headers={"Accept-Encoding": "gzip;q=0"})

        assert zipped.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(zipped.body) == plain.body
        assert zipped.headers["ETag"] != plain.headers["ETag"]
        assert "Content-Encoding" not in refused.headers
        media = await player.get(player.path("video/2.m4s"), headers={"Accept-Encoding": "gzip"})
        assert "Content-Encoding" not in media.headers


async def test_what_has_not_changed_is_not_sent_again() -> None:
    async with playing() as player:
        for path in ("index.m3u8", player.path("video.m3u8"), player.path("video/2.m4s")):
            first = await player.get(path)
            etag = first.headers["ETag"]

            again = await player.get(path, headers={"If-None-Match": f'"other", W/{etag}'})

            assert again.status == 304
            assert again.body == b""
            assert again.headers["ETag"] == etag
            assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
        etag = (await player.video()).headers["ETag"]
        player.push(0.6)
        changed = await player.get(player.path("video.m3u8"), headers={"If-None-Match": etag})
        assert changed.status == 200


async def test_ranges_of_media() -> None:
    async with playing() as player:
        path = player.path("video/2.m4s")
        whole = (await player.get(path)).body
        size = len(whole)
        wanted = {
            "bytes=0-99": (206, whole[:100], f"bytes 0-99/{size}"),
            "bytes=100-": (206, whole[100:], f"bytes 100-{size - 1}/{size}"),
            "bytes=-7": (206, whole[-7:], f"bytes {size - 7}-{size - 1}/{size}"),
            "bytes=5-999999999": (206, whole[5:], f"bytes 5-{size - 1}/{size}"),
            "bytes=0-1,5-6": (200, whole, None),
            "lines=1-2": (200, whole, None),
            "bytes=9-3": (200, whole, None),
        }

        for header, (status, body, content_range) in wanted.items():
            response = await player.get(path, headers={"Range": header})
            assert response.status == status, header
            assert response.body == body
            assert response.headers.get("Content-Range") == content_range
            assert response.headers["Accept-Ranges"] == "bytes"
        for header in (f"bytes={size}-", "bytes=-0"):
            response = await player.get(path, headers={"Range": header})
            assert response.status == 416
            assert response.headers["Content-Range"] == f"bytes */{size}"
        stale = await player.get(path, headers={"Range": "bytes=0-9", "If-Range": '"old"'})
        assert stale.status == 200


async def test_head_tells_the_same_without_the_body() -> None:
    async with playing() as player:
        for path in ("index.m3u8", player.path("video.m3u8"), player.path("video/2.m4s")):
            whole = await player.get(path)
            async with player.session.head(player.house.url(path)) as head:
                assert head.status == 200
                assert head.headers["ETag"] == whole.headers["ETag"]
                assert head.headers["Content-Length"] == str(len(whole.body))
                assert await head.read() == b""


async def test_other_sites_may_ask() -> None:
    async with playing() as player, player.session.options(player.house.url()) as response:
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "GET" in response.headers["Access-Control-Allow-Methods"]


async def test_a_new_stream_never_uses_an_old_name() -> None:
    async with playing() as player:
        old = player.path("video/2.m4s")
        player.house.end(player.stream)
        player.restart(player.house.start())
        player.push(9.0)

        new = player.path("video/2.m4s")

        assert new != old
        assert (await player.get(old)).status == 200
        assert (await player.get(new)).headers["ETag"] != (await player.get(old)).headers["ETag"]


async def test_who_leaves_while_waiting_leaves_nothing_behind() -> None:
    async with playing() as player:
        msn, part = player.presentation.outputs["video"].rendition.next_part
        query = f"?_HLS_msn={msn}&_HLS_part={part}"
        waiting = [asyncio.create_task(player.video(query)) for _ in range(5)]
        await player.held(5)

        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        player.push(0.6)

        await player.held(0)
