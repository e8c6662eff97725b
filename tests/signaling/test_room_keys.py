"""What the ingest servers hear about rooms and keys."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from media.errors import PublishRefused
from media.hub import StreamKeys, Takeover
from signaling.stream_keys import hash_stream_key, new_stream_key, stream_key_fits
from tests.support.signaling import Signaling, open_signaling, sqlite_url


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def refusal(signaling: Signaling, room: str, key: str) -> str:
    with pytest.raises(PublishRefused) as refused:
        await signaling.keys.grant(room, key)
    assert key not in str(refused.value) or not key
    return refused.value.code


async def test_the_right_key_is_granted_with_the_policy_of_its_room() -> None:
    async with open_signaling() as signaling:
        one = await signaling.rooms.open("one", "One", owner=None)
        two = await signaling.rooms.open("two", "Two", owner=None, takeover=Takeover.REJECT)
        keys: StreamKeys = signaling.keys

        assert (await keys.grant("one", one.stream_key)).policy is Takeover.TAKEOVER
        assert (await keys.grant("two", two.stream_key)).policy is Takeover.REJECT
        assert await keys.room_exists("one")
        assert await keys.srt_passphrase("one") is None


async def test_wrong_keys_and_rooms_are_refused() -> None:
    async with open_signaling() as signaling:
        one = await signaling.rooms.open("one", "One", owner=None)
        two = await signaling.rooms.open("two", "Two", owner=None)

        assert await refusal(signaling, "one", two.stream_key) == "unauthorized"
        assert await refusal(signaling, "one", "") == "unauthorized"
        assert await refusal(signaling, "one", one.stream_key + "x") == "unauthorized"
        assert await refusal(signaling, "none", one.stream_key) == "not_found"
        assert not await signaling.keys.room_exists("none")


@pytest.mark.parametrize("room", ["", "One", "one\n", "o\0ne", "\ud800", "x" * 10_000, "../one"])
async def test_a_strange_room_is_not_found(room: str) -> None:
    async with open_signaling() as signaling:
        await signaling.rooms.open("one", "One", owner=None)

        assert await refusal(signaling, room, "\ud800\0") == "not_found"
        assert not await signaling.keys.room_exists(room)
        assert await signaling.keys.srt_passphrase(room) is None


async def test_keys_outlive_the_process_but_are_not_in_the_database(tmp_path: Path) -> None:
    database = tmp_path / "vitrine.db"
    async with open_signaling(sqlite_url(database)) as signaling:
        key = (await signaling.rooms.open("one", "One", owner=None)).stream_key

    async with open_signaling(sqlite_url(database)) as signaling:
        assert (await signaling.keys.grant("one", key)).room == "one"

    kept = contents(tmp_path)
    assert b"one" in kept
    assert key.encode() not in kept


def test_new_keys_are_safe_in_every_address_and_differ() -> None:
    keys = {new_stream_key() for _ in range(200)}

    assert len(keys) == 200
    assert all(key.isascii() and key.isalnum() and len(key) == 24 for key in keys)


@given(st.text(), st.text())
def test_a_key_fits_its_own_hash_only(key: str, other: str) -> None:
    assert stream_key_fits(key, hash_stream_key(key))
    assert stream_key_fits(other, hash_stream_key(key)) == (key == other)
