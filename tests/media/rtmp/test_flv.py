"""Tag bodies: FLV's own, Enhanced RTMP v1 and v2, and what must not break the demuxer."""

import pytest
from hypothesis import given, strategies as st

from media.errors import InvalidBitstream
from media.rtmp.flv import Packet, Tag, parse_audio, parse_video, serialize_audio, serialize_video

FRAME = Packet.FRAME


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("17 00 000000 aabb", Tag("avc1", Packet.CONFIG, b"\xaa\xbb")),
        ("17 01 000021 aabb", Tag("avc1", FRAME, b"\xaa\xbb", composition=33)),
        ("27 01 ffffdf aa", Tag("avc1", FRAME, b"\xaa", keyframe=False, composition=-33)),
        ("17 02 000000", Tag("avc1", Packet.END, b"")),
        ("1c 00 000000 aa", Tag("hvc1", Packet.CONFIG, b"\xaa")),
        # Enhanced RTMP v1.
        ("90 68766331 aa", Tag("hvc1", Packet.CONFIG, b"\xaa")),
        ("a1 68766331 000021 aa", Tag("hvc1", FRAME, b"\xaa", keyframe=False, composition=33)),
        ("a3 68766331 aa", Tag("hvc1", FRAME, b"\xaa", keyframe=False)),
        ("91 61763031 aa", Tag("av01", FRAME, b"\xaa")),
        ("92 68766331", Tag("hvc1", Packet.END, b"")),
        ("91 76703039 aa", Tag("vp09", FRAME, b"\xaa")),
        # v2: H.264 by its FourCC.
        ("90 61766331 aa", Tag("avc1", Packet.CONFIG, b"\xaa")),
        ("91 61766331 000001 aa", Tag("avc1", FRAME, b"\xaa", composition=1)),
        # ModEx: nanoseconds, an unknown one before it, one with a long size.
        ("97 02 07a120 03 61766331 aa", Tag("avc1", FRAME, b"\xaa", nanoseconds=500_000)),
        (
            "97 00 ff f7 02 00000a 03 61766331 aa",
            Tag("avc1", FRAME, b"\xaa", nanoseconds=10),
        ),
        ("97 ff 0103" + "00" * 260 + "13 61766331 aa", Tag("avc1", FRAME, b"\xaa")),
        # Multitrack: one track.
        ("96 00 61766331 00 aa", Tag("avc1", Packet.CONFIG, b"\xaa")),
        ("96 03 61766331 02 aa", Tag("avc1", FRAME, b"\xaa", track=2)),
        ("97 02 00000a 06 03 61766331 00 aa", Tag("avc1", FRAME, b"\xaa", nanoseconds=10)),
    ],
)
def test_video(body: str, expected: Tag) -> None:
    assert parse_video(hexed(body)) == [expected]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("af 00 1210", Tag("mp4a", Packet.CONFIG, b"\x12\x10")),
        ("af 01 aa", Tag("mp4a", FRAME, b"\xaa")),
        ("90 4f707573 aa", Tag("Opus", Packet.CONFIG, b"\xaa")),
        ("91 4f707573 aa", Tag("Opus", FRAME, b"\xaa")),
        ("92 4f707573", Tag("Opus", Packet.END, b"")),
        ("91 6d703461 aa", Tag("mp4a", FRAME, b"\xaa")),
        ("91 664c6143 aa", Tag("fLaC", FRAME, b"\xaa")),
        ("97 02 00000a 01 4f707573 aa", Tag("Opus", FRAME, b"\xaa", nanoseconds=10)),
        ("95 01 4f707573 01 aa", Tag("Opus", FRAME, b"\xaa", track=1)),
        ("2f ffe0", Tag("FLV audio codec 2", FRAME, b"")),
    ],
)
def test_audio(body: str, expected: Tag) -> None:
    assert parse_audio(hexed(body)) == [expected]


def test_many_tracks_of_one_codec() -> None:
    body = hexed("96 11 61766331 00 000004 000001 aa 01 000005 000002 bbcc")

    assert parse_video(body) == [
        Tag("avc1", FRAME, b"\xaa", composition=1),
        Tag("avc1", FRAME, b"\xbb\xcc", composition=2, track=1),
    ]


def test_many_tracks_of_many_codecs() -> None:
    body = hexed("96 21 61766331 00 000004 000001 aa 61763031 01 000002 bbcc")

    assert parse_video(body) == [
        Tag("avc1", FRAME, b"\xaa", composition=1),
        Tag("av01", FRAME, b"\xbb\xcc", track=1),
    ]
    assert parse_audio(hexed("95 21 4f707573 00 000001 aa 6d703461 01 000001 bb")) == [
        Tag("Opus", FRAME, b"\xaa"),
        Tag("mp4a", FRAME, b"\xbb", track=1),
    ]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "57 00",  # a seek command of old
        "d1 00",  # a seek command in an extended header
        "d4 68766331 020009",  # metadata: its frame type says nothing
        "94 68766331 0200 09 636f6c6f72496e666f 03 000009",  # colorInfo
        "95 61763031 800481000c00",  # an MPEG-2 TS descriptor
        "98 61766331 aa",  # packet types that are yet to come
        "9f 61766331 aa",
        "96 06 61766331 00 aa",  # multitrack within multitrack
        "96 33 61766331 00 aa",  # a multitrack mode that is yet to come
        "17 07 000000 aa",
    ],
)
def test_video_that_is_skipped(body: str) -> None:
    assert parse_video(hexed(body)) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "94 4f707573 01 02 00000003",  # the layout of many channels
        "93 4f707573",
        "af 05 aa",
        "95 05 4f707573 00 aa",
    ],
)
def test_audio_that_is_skipped(body: str) -> None:
    assert parse_audio(hexed(body)) == []


@pytest.mark.parametrize(
    "body",
    [
        "17",
        "17 01 0000",
        "91 6876",
        "91 68766331 00",
        "97",
        "97 ff 01",
        "97 02 0000",
        "96",
        "96 00 61",
    ],
)
def test_a_video_header_cut_short(body: str) -> None:
    with pytest.raises(InvalidBitstream):
        parse_video(hexed(body))


@pytest.mark.parametrize(
    "body", ["96 11 61766331 00", "96 11 61766331 00 000009 aa", "96 21 6176", "96 00 61766331"]
)
def test_tracks_that_lie_about_their_size(body: str) -> None:
    parsed_nothing = hexed("96 00 61766331")
    if hexed(body) == parsed_nothing:
        assert parse_video(parsed_nothing) == []
        return
    with pytest.raises(InvalidBitstream):
        parse_video(hexed(body))


def test_the_number_of_tracks_in_a_message_is_bounded() -> None:
    body = hexed("96 13 61766331") + hexed("00 000000") * 100_000

    assert len(parse_video(body)) == 256


_tags = st.builds(
    Tag,
    fourcc=st.sampled_from(["avc1", "hvc1", "av01"]),
    packet=st.sampled_from([Packet.CONFIG, Packet.FRAME]),
    data=st.binary(max_size=20),
    keyframe=st.booleans(),
    nanoseconds=st.integers(0, 999_999),
    track=st.integers(0, 3),
)


@given(_tags)
def test_extended_tags_are_read_back(tag: Tag) -> None:
    assert parse_video(serialize_video(tag, extended=True)) == [tag]
    sound = Tag("Opus", tag.packet, tag.data, nanoseconds=tag.nanoseconds, track=tag.track)
    assert parse_audio(serialize_audio(sound, extended=True)) == [sound]


@given(st.binary(max_size=60))
def test_random_bytes_are_read_or_refused(body: bytes) -> None:
    for parse in (parse_video, parse_audio):
        try:
            tags = parse(body)
        except InvalidBitstream:
            continue
        assert all(len(tag.data) <= len(body) for tag in tags)
