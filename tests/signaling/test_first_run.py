"""The file of the first start: what is in it works, and it is not made twice."""

import json
from pathlib import Path

from signaling.first_run import FirstRun, ensure_first_run
from tests.support.signaling import ADDRESSES, Signaling, open_signaling, sqlite_url


async def first_run(
    signaling: Signaling, folder: Path, *, reissue: bool = False
) -> FirstRun | None:
    return await ensure_first_run(
        signaling.accounts, signaling.rooms, ADDRESSES, folder, reissue=reissue
    )


async def test_the_file_says_how_to_get_in(tmp_path: Path) -> None:
    async with open_signaling() as signaling:
        run = await first_run(signaling, tmp_path / "data")
        path = tmp_path / "data" / "first-run.json"
        body = json.loads(path.read_text())

        assert run is not None
        key = body["stream_key"]
        assert body == {
            "admin": {"username": "admin", "password": run.admin.password},
            "room": "demo",
            "stream_key": key,
            "http": "http://live.test:8080",
            "rtmp": f"rtmp://live.test:1935/live/demo?key={key}",
            "srt": f"srt://live.test:8890?streamid=#!::m=publish,r=demo,s={key}",
            "whip": "http://live.test:8080/whip/demo",
            "whep": "http://live.test:8080/whep/demo",
            "hls": "http://live.test:8080/hls/demo/index.m3u8",
        }
        assert path.stat().st_mode & 0o777 == 0o600
        assert [p.name for p in path.parent.iterdir()] == ["first-run.json"]
        assert (await signaling.keys.grant("demo", key)).room == "demo"
        signed_in = await signaling.accounts.login("admin", run.admin.password, address="127.0.0.1")
        assert signed_in.user.role == "admin"


async def test_a_later_start_keeps_it(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "vitrine.db")
    async with open_signaling(url) as signaling:
        first = await first_run(signaling, tmp_path)
    changed = (tmp_path / "first-run.json").stat().st_mtime_ns

    async with open_signaling(url) as signaling:
        assert await first_run(signaling, tmp_path) == first
        assert signaling.live.kicked == []

    assert (tmp_path / "first-run.json").stat().st_mtime_ns == changed


async def test_a_file_that_was_put_away_is_not_made_again_unasked(tmp_path: Path) -> None:
    async with open_signaling() as signaling:
        first = await first_run(signaling, tmp_path)
        assert first is not None
        (tmp_path / "first-run.json").unlink()

        assert await first_run(signaling, tmp_path) is None
        assert not (tmp_path / "first-run.json").exists()
        assert (await signaling.keys.grant("demo", first.stream_key)).room == "demo"

        again = await first_run(signaling, tmp_path, reissue=True)
        assert again is not None
        assert again.admin.password == ""
        assert (await signaling.keys.grant("demo", again.stream_key)).room == "demo"


async def test_a_key_that_was_changed_since_is_not_told(tmp_path: Path) -> None:
    async with open_signaling() as signaling:
        first = await first_run(signaling, tmp_path)
        assert first is not None
        await signaling.rooms.reissue_key(await signaling.rooms.get("demo"))

        assert await first_run(signaling, tmp_path) is None

        again = await first_run(signaling, tmp_path, reissue=True)
        assert again is not None
        assert again.admin == first.admin
        assert again.stream_key != first.stream_key


async def test_a_broken_file_is_like_none(tmp_path: Path) -> None:
    (tmp_path / "first-run.json").write_bytes(b"{\xff")
    async with open_signaling() as signaling:
        run = await first_run(signaling, tmp_path)

    assert run is not None
    assert json.loads((tmp_path / "first-run.json").read_text())["stream_key"] == run.stream_key
