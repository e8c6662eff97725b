"""Addresses that people type."""

from datetime import UTC, datetime

import pytest

from media.hub import Takeover
from signaling.addresses import Addresses
from signaling.entities import Room

LOCAL = Addresses(host="127.0.0.1", http_port=8080, rtmp_port=1935, srt_port=8890)


def room(passphrase: str | None) -> Room:
    return Room("demo", "Demo", datetime.now(UTC), None, b"", passphrase, Takeover.TAKEOVER)


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("192.168.1.5:8080", "192.168.1.5"),
        ("live.example", "live.example"),
        ("[fd00::2]:8080", "[fd00::2]"),
        ("", "127.0.0.1"),
        ("a b", "127.0.0.1"),
        ("evil/path", "127.0.0.1"),
        ("user@evil", "127.0.0.1"),
        ("x" * 300, "127.0.0.1"),
        ("evil\n", "127.0.0.1"),
    ],
)
def test_the_host_is_the_one_by_which_the_client_came(header: str, host: str) -> None:
    seen = LOCAL.seen_from(header)

    assert seen.http == f"http://{host}:8080"
    assert seen.rtmp_server == f"rtmp://{host}:1935/live"
    assert seen.srt_server == f"srt://{host}:8890"


def test_a_public_url_stays() -> None:
    public = Addresses(
        host="live.example",
        http_port=8080,
        rtmp_port=1935,
        srt_port=8890,
        public_url="https://live.example/",
        rtmps=True,
    )

    assert public.seen_from("other.example") is public
    assert public.whep("demo") == "https://live.example/whep/demo"
    assert public.rtmp_server == "rtmps://live.example:1935/live"


def test_an_srt_address_carries_the_passphrase_that_will_be_asked_for() -> None:
    plain = "srt://127.0.0.1:8890?streamid=#!::m=publish,r=demo,s=KEY"
    guarded = Addresses("127.0.0.1", 8080, 1935, 8890, srt_passphrase="of-the-server")

    assert LOCAL.srt(room(None), "KEY") == plain
    assert guarded.srt(room(None), "KEY") == f"{plain}&passphrase=of-the-server"
    assert guarded.srt(room("of-the-room"), "KEY") == f"{plain}&passphrase=of-the-room"
