import pytest
from hypothesis import given, strategies as st

from media.srt.errors import SrtRefused
from media.srt.handshake import Rejection
from media.srt.streamid import Mode, parse_stream_id


@pytest.mark.parametrize(
    "text",
    [
        "#!::m=publish,r=demo,s=k3y",
        "#!::s=k3y,r=demo,m=publish",
        "#!::u=joe,h=example.org,t=stream,m=publish,r=live/demo,s=k3y,x_new=1,,=,flag",
        "#!::r=live/demo?key=k3y,m=publish",
        "#!::m=publish,r=demo,key=k3y",
        "#!::m=publish,r=demo,token=k3y",
        "#!::M=PUBLISH,R=demo,S=k3y",
        "#!::m=publish,r=%64emo,s=k%33y",
        "#!::m=publish,r=/vhost/live/demo/,s=k3y",
        "#!:{m=publish,r=demo,s=k3y}",
        "%23!::m%3Dpublish%2Cr%3Ddemo%2Cs%3Dk3y",
        "#!::m=publish,r=demo,s=k3y#feedbackplay",
        "publish:demo:k3y",
        "publish:live/demo:k3y",
        "publish:demo:joe:k3y",
        "publish:demo:joe:k3y:a=b",
        "publish:demo?key=k3y",
        "publish:demo:k3y#feedbackplay",
        "publish:demo:k3y:",
        "Publish:demo:k%33y",
        "live/demo?token=k3y",
        "live/demo?key=k3y",
        "demo?key=k3y",
        "demo?x=1;key=k3y",
        "vhost/live/demo?secret=k3y",
        " demo?key=k3y ",
    ],
)
def test_shapes_that_publish(text: str) -> None:
    request = parse_stream_id(text)

    assert (request.mode, request.room, request.key) == (Mode.PUBLISH, "demo", "k3y")


@pytest.mark.parametrize(
    "text",
    [
        "#!::m=request,r=demo",
        "#!::r=live/demo",
        "#!::r=demo,u=joe",
        "#!::r=demo,m=",
        "read:demo",
        "request:demo",
        "read:live/demo",
        "read:demo:joe:pass",
        "live/demo",
        "vhost/live/demo",
        "demo",
        "/demo",
    ],
)
def test_shapes_that_read(text: str) -> None:
    request = parse_stream_id(text)

    assert (request.mode, request.room) == (Mode.REQUEST, "demo")


def test_a_key_may_have_equals_signs_and_slashes() -> None:
    assert parse_stream_id("#!::m=publish,r=demo,s=a/b+c==").key == "a/b+c=="
    assert parse_stream_id("publish:demo:a/b+c==").key == "a/b+c=="
    assert parse_stream_id("demo?key=a/b+c==").key == "a/b+c=="


def test_to_publish_without_a_key_is_understood() -> None:
    request = parse_stream_id("#!::m=publish,r=demo")

    assert (request.mode, request.key) == (Mode.PUBLISH, "")


@pytest.mark.parametrize(
    ("text", "rejection"),
    [
        ("#!::m=bidirectional,r=demo", Rejection.BAD_MODE),
        ("#!::m=everything,r=demo", Rejection.BAD_MODE),
        ("#!::m=publish,s=k3y", Rejection.BAD_REQUEST),
        ("#!::", Rejection.BAD_REQUEST),
        ("publish:", Rejection.BAD_REQUEST),
        ("publish::k3y", Rejection.BAD_REQUEST),
        ("?key=k3y", Rejection.BAD_REQUEST),
        ("", Rejection.BAD_REQUEST),
        ("r" * 513, Rejection.BAD_REQUEST),
    ],
)
def test_refusals(text: str, rejection: Rejection) -> None:
    with pytest.raises(SrtRefused) as refused:
        parse_stream_id(text)

    assert refused.value.rejection is rejection


def test_the_key_does_not_show() -> None:
    assert "k3y" not in repr(parse_stream_id("publish:demo:k3y"))


@given(
    st.text(max_size=600)
    | st.lists(
        st.sampled_from(
            ["#!:", ":", "m=publish", "r=", "s=", ",", "/", "?", "%", "{", "}", "key=", "x"]
        )
    ).map("".join)
)
def test_any_text_is_a_request_or_a_refusal(text: str) -> None:
    try:
        request = parse_stream_id(text)
    except SrtRefused:
        return
    assert request.room
