import pytest

from media.rtmp.address import Target, app_name, publish_target


@pytest.mark.parametrize(
    ("app", "tc_url", "name", "expected"),
    [
        ("live", "rtmp://h/live", "demo?key=K", Target("demo", "K")),
        ("live/", "", "demo?a=1&key=K&b=2", Target("demo", "K")),
        ("live?key=K", "rtmp://h/live?key=K", "demo", Target("demo", "K")),
        ("live", "rtmp://h/live?key=K", "demo", Target("demo", "K")),
        ("live/demo?key=K", "rtmp://h/live/demo?key=K", "", Target("demo", "K")),
        ("live", "", " demo?key=a%2Fb+c%20d \n", Target("demo", "a/b+c d")),
        ("live?key=OTHER", "", "demo?key=K", Target("demo", "K")),
        ("live", "", "demo", Target("demo", "")),
        ("live", "", "", Target("", "")),
        ("live", "", "demo?key=" + "K" * 600, Target("", "")),
        ("live", "", "d" * 200 + "?key=K", Target("", "")),
    ],
)
def test_room_and_key(app: str, tc_url: str, name: str, expected: Target) -> None:
    assert publish_target(app=app, tc_url=tc_url, name=name) == expected


@pytest.mark.parametrize("app", ["live", "/live/", "live?x=1", "live/demo", "live/demo?key=K"])
def test_the_application(app: str) -> None:
    assert app_name(app) == "live"


def test_the_key_is_not_shown() -> None:
    assert "s3cret" not in repr(publish_target(app="live", tc_url="", name="demo?key=s3cret"))
