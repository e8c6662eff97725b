import re
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from configs.kernel.errors import PeerError
from media.webrtc.sdp import MAX_SIZE, parse_fragment, parse_offer
from tests.support.offers import (
    BROWSERS,
    CHROME,
    CHROME_AUDIO,
    CHROME_VIDEO,
    FIREFOX,
    PASSWORD,
    UFRAG,
    sdp,
)


@pytest.mark.parametrize("text", BROWSERS.values(), ids=BROWSERS)
def test_browsers_offers_are_read(text: str) -> None:
    offer = parse_offer(text)

    assert {section.kind for section in offer.sections} == {"audio", "video"}
    assert offer.bundle == ("0", "1")
    for section in offer.sections:
        assert section.is_media
        assert section.rtcp_mux
        assert section.setup == "actpass"
        assert section.fingerprints
        assert section.ufrag is not None


def test_formats_carry_their_parameters_and_feedback() -> None:
    video = parse_offer(CHROME).sections[0]

    chosen = next(f for f in video.formats if f.payload_type == 39)
    assert chosen.encoding == "h264"
    assert chosen.clock_rate == 90_000
    assert chosen.parameters["profile-level-id"] == "64001f"
    assert {"nack", "nack pli", "ccm fir", "goog-remb"} <= chosen.feedback


def test_bundle_only_sections_count_as_media_although_their_port_is_nought() -> None:
    video = parse_offer(FIREFOX).sections[1]

    assert (video.port, video.bundle_only, video.is_media) == (0, True, True)


def test_a_section_with_port_nought_is_switched_off() -> None:
    text = sdp(("m=video 0 UDP/TLS/RTP/SAVPF 96", *CHROME_VIDEO[1:]), CHROME_AUDIO)

    assert not parse_offer(text).sections[0].is_media


def test_feedback_for_all_payload_types() -> None:
    text = sdp(
        ("m=video 9 UDP/TLS/RTP/SAVPF 96", "a=rtpmap:96 VP8/90000", "a=rtcp-fb:* nack  pli"),
        bundle=None,
    )

    assert parse_offer(text).sections[0].formats[0].feedback == {"nack pli"}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends_and_empty_lines_do_not_matter(ending: str) -> None:
    changed = CHROME.replace("\r\n", ending) + ending

    assert parse_offer(changed) == parse_offer(CHROME)


def test_mids_may_be_missing() -> None:
    text = re.sub(r"a=mid:.*\r\n", "", sdp(CHROME_VIDEO, bundle=None))

    assert parse_offer(text).sections[0].mid is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "v=1\r\n" + CHROME[5:],
        "v=0\r\no=- 0 0 IN IP4 0\r\ns=-\r\nt=0 0\r\n",
        CHROME.replace("m=video 9", "m=video nine"),
        CHROME.replace("m=video 9", "m=video 70000"),
        CHROME.replace(f"a=ice-ufrag:{UFRAG}", "a=ice-ufrag:x"),
        CHROME.replace(f"a=ice-ufrag:{UFRAG}", "a=ice-ufrag:sp ace"),
        CHROME.replace(f"a=ice-pwd:{PASSWORD}", "a=ice-pwd:short"),
        CHROME.replace("a=fingerprint:sha-256 AB", "a=fingerprint:sha-256 XY"),
        CHROME.replace("a=setup:actpass", "a=setup:maybe"),
        CHROME.replace("SAVPF 96 ", "SAVPF 200 "),
        CHROME.replace("SAVPF 96 ", "SAVPF ninety "),
        CHROME.replace("a=mid:1", "a=mid:0"),
        CHROME.replace("a=mid:1", "a=mid:<1>"),
        CHROME + "not a line\r\n",
        CHROME + "a=x\r\n" * (MAX_SIZE // 5),
        CHROME + "a=\r\n" * 5000,
        CHROME + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" * 40,
    ],
)
def test_what_is_no_session_description_is_refused(text: str) -> None:
    with pytest.raises(PeerError) as caught:
        parse_offer(text)

    assert caught.value.code == "sdp_malformed"


@given(st.text(max_size=300))
def test_random_text_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        parse_offer(text)


@settings(max_examples=150)
@given(st.sampled_from(sorted(BROWSERS)), st.data())
def test_mutated_offers_are_read_or_refused(browser: str, data: st.DataObject) -> None:
    lines = BROWSERS[browser].split("\r\n")
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "double", "cut", "splice", "swap"])):
            case "drop":
                lines.pop(at)
            case "double":
                lines.insert(at, lines[at])
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, 30))]
            case "splice":
                lines[at] += data.draw(st.text(max_size=10))
            case _:
                other = data.draw(st.integers(0, len(lines) - 1))
                lines[at], lines[other] = lines[other], lines[at]
        if not lines:
            break

    with suppress(PeerError):
        offer = parse_offer("\r\n".join(lines))
        assert 1 <= len(offer.sections) <= 32


def test_fragments_are_read() -> None:
    text = (
        f"a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\n"
        "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
        "a=candidate:1 1 udp 1 x.local 9 typ host\r\na=end-of-candidates\r\n"
    )

    fragment = parse_fragment(text)

    assert (fragment.ufrag, fragment.password) == (UFRAG, PASSWORD)


@pytest.mark.parametrize("text", ["nonsense", "v=0\r\n", "a=ice-ufrag:!\r\n"])
def test_malformed_fragments_are_refused(text: str) -> None:
    with pytest.raises(PeerError):
        parse_fragment(text)


def test_an_empty_fragment_says_nothing() -> None:
    assert parse_fragment("").ufrag is None
