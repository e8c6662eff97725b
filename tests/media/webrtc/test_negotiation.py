from dataclasses import replace

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.stream import VIDEO
from media.units import Codec, Track
from media.webrtc.answer import Candidate, Source, write_answer, write_fragment
from media.webrtc.certificate import Fingerprint
from media.webrtc.h264_profile import Profile, best_match, negotiated_level_id, profile_of
from media.webrtc.ice import Credentials
from media.webrtc.negotiation import OPUS_PARAMETERS, Agreement, negotiate
from media.webrtc.sdp import Format, parse_offer
from tests.support.offers import (
    BROWSERS,
    CHROME,
    CHROME_AUDIO,
    CHROME_VIDEO,
    DATA,
    FIREFOX,
    SAFARI,
    TRANSPORT,
    sdp,
)

LOCAL = Credentials("serverufrag", "serverpasswordserverpassword")
OURS = Fingerprint("sha-256", ":".join(["EF"] * 32))


def avc(level_id: str) -> Track:
    return Track(VIDEO, Codec.H264, b"\x01" + bytes.fromhex(level_id) + b"\xff\xe1")


def agree(text: str, *tracks: Track) -> Agreement:
    return negotiate(parse_offer(text), tracks)


def answer(text: str, *tracks: Track, hosts: tuple[str, ...] = ("192.0.2.1", "2001:db8::1")) -> str:
    offer = parse_offer(text)
    agreement = negotiate(offer, tracks)
    sources = [Source(1000 + n, 2000 + n, "name", "vitrine") for n, _ in enumerate(agreement.legs)]
    return write_answer(
        offer,
        agreement,
        local=LOCAL,
        fingerprint=OURS,
        candidates=[Candidate(host, 8189) for host in hosts],
        sources=sources,
        session_id=7,
    )


@pytest.mark.parametrize(
    ("text", "level_id", "payload_type", "told"),
    [
        (CHROME, "64001f", 39, "64001f"),
        (CHROME, "640028", 39, "640028"),
        (CHROME, "4d4028", 114, "4d4028"),
        (CHROME, "42c01f", 108, "42c01f"),
        (CHROME, "42001e", 103, "42001e"),
        (SAFARI, "640c2a", 96, "640c2a"),
        (SAFARI, "640028", 96, "640c28"),
        # Firefox knows only Constrained Baseline by name; it decodes the others all the same.
        (FIREFOX, "42c01f", 126, "42c01f"),
        (FIREFOX, "640028", 126, "42e028"),
    ],
)
def test_the_payload_type_fits_the_streams_profile(
    text: str, level_id: str, payload_type: int, told: str
) -> None:
    video = agree(text, avc(level_id)).video

    assert video is not None
    assert video.payload_type == payload_type
    assert f"profile-level-id={told}" in video.parameters
    assert "packetization-mode=1" in video.parameters


def test_without_level_asymmetry_no_higher_level_is_named() -> None:
    text = CHROME.replace("level-asymmetry-allowed=1;", "")

    video = agree(text, avc("640033")).video

    assert video is not None
    assert "profile-level-id=64001f" in video.parameters


def test_only_what_we_act_upon_is_agreed_to() -> None:
    video = agree(CHROME, avc("64001f")).video

    assert video is not None
    assert video.feedback == ("ccm fir", "goog-remb", "nack", "nack pli")
    assert video.rtx_payload_type == 40


def test_without_nack_there_are_no_retransmissions() -> None:
    text = CHROME.replace("a=rtcp-fb:39 nack\r\n", "")

    video = agree(text, avc("64001f")).video

    assert video is not None
    assert video.rtx_payload_type is None


def test_opus_is_stereo_with_error_correction() -> None:
    audio = agree(CHROME).audio

    assert audio is not None
    assert audio.payload_type == 111
    assert audio.parameters == OPUS_PARAMETERS


@pytest.mark.parametrize(
    ("track", "payload_type"),
    [
        (Track(VIDEO, Codec.HEVC, bytes((1, 0x01)) + bytes(21)), 98),
        (Track(VIDEO, Codec.AV1, bytes((0x81, 0x05, 0, 0))), 45),
    ],
)
def test_other_codecs_go_through_where_the_browser_takes_them(
    track: Track, payload_type: int
) -> None:
    video = agree(CHROME, track).video

    assert video is not None
    assert (video.codec, video.payload_type) == (track.codec, payload_type)


@pytest.mark.parametrize(
    "tracks",
    [
        (),
        (Track(VIDEO, Codec.HEVC, bytes((1, 0x02)) + bytes(21)),),
        (Track(VIDEO, Codec.AV1, bytes((0x81, 0x25, 0, 0))),),
    ],
)
def test_what_the_browser_cannot_take_will_be_re_encoded(tracks: tuple[Track, ...]) -> None:
    video = agree(CHROME, *tracks).video

    assert video is not None
    assert (video.codec, video.payload_type) == (Codec.H264, 108)


def test_a_mode_without_fragments_is_not_enough() -> None:
    text = sdp(
        (
            "m=video 9 UDP/TLS/RTP/SAVPF 107",
            *TRANSPORT,
            "a=mid:0",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtpmap:107 H264/90000",
            "a=fmtp:107 packetization-mode=0;profile-level-id=42e01f",
        ),
        bundle="0",
    )

    with pytest.raises(PeerError) as caught:
        agree(text, avc("42c01f"))

    assert caught.value.code == "no_common_codec"


def test_no_mode_at_all_is_taken_as_a_simple_client() -> None:
    text = sdp(
        (
            "m=video 9 UDP/TLS/RTP/SAVPF 96",
            *TRANSPORT,
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtpmap:96 H264/90000",
        ),
        bundle=None,
    )

    video = agree(text, avc("42c01f")).video

    assert video is not None
    assert video.payload_type == 96


@pytest.mark.parametrize("text", BROWSERS.values(), ids=BROWSERS)
def test_answers_have_the_offers_shape(text: str) -> None:
    offer = SessionDescription.parse(text)
    written = answer(text, avc("42c01f"))

    read = SessionDescription.parse(written)

    assert [m.kind for m in read.media] == [m.kind for m in offer.media]
    assert [m.rtp.muxId for m in read.media] == [m.rtp.muxId for m in offer.media]
    assert read.group[0].items == ["0", "1"]
    assert {m.direction for m in read.media} == {"sendonly"}
    assert len({m.msid.split()[0] for m in read.media if m.msid}) == 1
    assert "a=ice-lite" in written
    for media in read.media:
        assert media.dtls is not None
        assert media.dtls.role == "server"
        assert media.ice is not None
        assert media.ice.usernameFragment == LOCAL.ufrag
        assert media.rtcp_mux
        assert media.ssrc[0].cname == "name"
        assert "transport-cc" not in {f.type for c in media.rtp.codecs for f in c.rtcpFeedback}
        assert media.rtp.headerExtensions == []
    video = next(m for m in read.media if m.kind == "video")
    assert video.ssrc_group[0].semantic == "FID"
    first = read.media[0]
    assert {(c.ip, c.protocol, c.port) for c in first.ice_candidates} == {
        (host, protocol, 8189)
        for host in ("192.0.2.1", "2001:db8::1")
        for protocol in ("udp", "tcp")
    }
    assert first.ice_candidates_complete
    assert {c.tcpType for c in first.ice_candidates if c.protocol == "tcp"} == {"passive"}
    udp = [c.priority for c in first.ice_candidates if c.protocol == "udp"]
    tcp = [c.priority for c in first.ice_candidates if c.protocol == "tcp"]
    assert min(udp) > max(tcp)
    assert len(set(udp + tcp)) == 4


def test_reduced_size_rtcp_is_agreed_to_where_it_is_offered() -> None:
    video, audio = answer(CHROME, avc("64001f")).split("m=audio")

    assert "a=rtcp-rsize" in video
    assert "a=rtcp-rsize" not in audio


def test_data_channels_are_refused_in_their_place() -> None:
    written = answer(sdp(DATA, CHROME_VIDEO, CHROME_AUDIO, bundle="2 0 1"), avc("64001f"))

    kinds = [line for line in written.split("\r\n") if line.startswith("m=")]
    assert kinds[0] == "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"
    assert kinds[1].startswith("m=video 8189 ")
    assert "a=group:BUNDLE 0 1" in written


def test_an_inactive_section_is_refused() -> None:
    text = sdp(tuple(line.replace("recvonly", "inactive") for line in CHROME_VIDEO), CHROME_AUDIO)

    agreement = agree(text, avc("64001f"))

    assert agreement.video is None
    assert "m=video 0 " in answer(text, avc("64001f"))


def test_a_host_name_may_be_announced() -> None:
    written = answer(CHROME, hosts=("live.example.org",))

    assert " udp 2130706431 live.example.org 8189 typ host" in written
    assert "c=IN IP4 0.0.0.0" in written


def test_an_active_offer_is_answered_passive() -> None:
    assert "a=setup:passive" in answer(CHROME.replace("setup:actpass", "setup:active"))


@pytest.mark.parametrize(
    "text",
    [
        CHROME.replace("a=recvonly", "a=sendonly"),
        CHROME.replace("a=setup:actpass", "a=setup:passive"),
        CHROME.replace("a=setup:actpass", "a=setup:holdconn"),
        CHROME.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"),
        CHROME.replace("a=group:BUNDLE 0 1\r\n", ""),
        CHROME.replace("a=rtcp-mux\r\n", ""),
        CHROME.replace("sha-256 " + ":".join(["AB"] * 32), "sha-1 " + ":".join(["AB"] * 20)),
        sdp(
            CHROME_VIDEO,
            CHROME_AUDIO,
            tuple(line.replace("mid:0", "mid:2") for line in CHROME_VIDEO),
            bundle="0 1 2",
        ),
        sdp(DATA, bundle="2"),
        CHROME.replace("a=recvonly", "a=inactive"),
    ],
    ids=[
        "sendonly",
        "passive",
        "holdconn",
        "half-bundled",
        "not-bundled",
        "no-rtcp-mux",
        "weak-hash",
        "two-videos",
        "only-data",
        "inactive",
    ],
)
def test_offers_that_we_cannot_serve_are_refused(text: str) -> None:
    with pytest.raises(PeerError) as caught:
        agree(text, avc("64001f"))

    assert caught.value.code == "offer_unacceptable"


def test_a_video_codec_that_we_never_send_is_said_so() -> None:
    text = sdp(
        (
            "m=video 9 UDP/TLS/RTP/SAVPF 96",
            *TRANSPORT,
            "a=mid:0",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtpmap:96 VP8/90000",
        ),
        CHROME_AUDIO,
    )

    with pytest.raises(PeerError) as caught:
        agree(text, avc("64001f"))

    assert caught.value.code == "no_common_codec"


def test_the_first_payload_type_of_equals_is_taken() -> None:
    formats = [
        Format(p, "h264", 90_000, 1, {"packetization-mode": "1", "profile-level-id": "42e01f"}, f)
        for p, f in ((100, frozenset[str]()), (101, frozenset[str]()))
    ]

    assert best_match(formats, "42c01f") is formats[0]


@pytest.mark.parametrize(
    ("level_id", "profile"),
    [
        ("42e01f", Profile.CONSTRAINED_BASELINE),
        ("42c00d", Profile.CONSTRAINED_BASELINE),
        ("4d8028", Profile.CONSTRAINED_BASELINE),
        ("42001f", Profile.BASELINE),
        ("4d0028", Profile.MAIN),
        ("4d4028", Profile.MAIN),
        ("640028", Profile.HIGH),
        ("640c28", Profile.CONSTRAINED_HIGH),
        ("6e0028", Profile.OTHER),
        ("nonsense", Profile.OTHER),
        ("42e0", Profile.OTHER),
        ("", Profile.OTHER),
    ],
)
def test_profiles(level_id: str, profile: Profile) -> None:
    assert profile_of(level_id) is profile


@given(st.text(max_size=8), st.sampled_from(["42c01f", "640028", "4d4033"]))
def test_any_profile_level_id_on_offer_is_survived(theirs: str, own: str) -> None:
    offered = Format(
        96,
        "h264",
        90_000,
        1,
        {"packetization-mode": "1", "profile-level-id": theirs},
        frozenset(),
    )

    chosen = best_match([offered], own)

    if chosen is not None:
        assert profile_of(negotiated_level_id(chosen, own)) is profile_of(theirs)
        asymmetric = replace(
            chosen, parameters={**chosen.parameters, "level-asymmetry-allowed": "1"}
        )
        assert negotiated_level_id(asymmetric, own)[4:] == own[4:]


def test_restart_fragments_have_credentials_and_candidates() -> None:
    text = write_fragment(LOCAL, [Candidate("192.0.2.1", 8189)], "0")

    assert f"a=ice-ufrag:{LOCAL.ufrag}\r\n" in text
    assert f"a=ice-pwd:{LOCAL.password}\r\n" in text
    assert text.endswith("a=end-of-candidates\r\n")
