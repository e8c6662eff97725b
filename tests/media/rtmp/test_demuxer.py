"""From messages to tracks and units."""

import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.codecs.nal import join_length_prefixed
from media.codecs.opus import OpusConfig
from media.rtmp.chunks import Message, MessageType
from media.rtmp.demuxer import MAX_DAMAGED, FlvDemuxer, Item, split_aggregate
from media.rtmp.flv import Packet, Tag, serialize_audio, serialize_video
from media.stream import AUDIO, VIDEO, Notice
from media.units import AccessUnit, Codec, Track
from tests.support.rtmp import (
    AAC_FRAME,
    ASC,
    AV1_INTER,
    AV1_KEY,
    AV1C,
    AVCC,
    HEVC_IDR,
    HVCC,
    IDR,
    OPUS_PACKET,
    PPS,
    SLICE,
    SPS,
    audio,
    avc,
    opening,
    video,
)


def demux(*messages: Message, demuxer: FlvDemuxer | None = None) -> list[Item]:
    demuxer = demuxer or FlvDemuxer()
    return [item for message in messages for item in demuxer.receive(message)]


def units(items: list[Item]) -> list[AccessUnit]:
    return [item for item in items if isinstance(item, AccessUnit)]


def tracks(items: list[Item]) -> list[Track]:
    return [item for item in items if isinstance(item, Track)]


def notices(items: list[Item]) -> list[str]:
    return [item.code for item in items if isinstance(item, Notice)]


def test_h264_and_aac() -> None:
    items = demux(*opening()[1:], avc(IDR, 40, composition=80), audio(AAC_FRAME, 46))

    picture, sound = tracks(items)
    assert (picture.id, picture.codec, picture.width, picture.height) == (
        VIDEO,
        Codec.H264,
        320,
        180,
    )
    assert picture.config == AVCC
    assert (sound.id, sound.codec, sound.config) == (AUDIO, Codec.AAC, ASC)
    assert (sound.sample_rate, sound.channels) == (44100, 2)
    assert units(items) == [
        AccessUnit(VIDEO, 120 * 90, 40 * 90, True, join_length_prefixed([IDR])),
        AccessUnit(AUDIO, 46 * 90, 46 * 90, True, AAC_FRAME),
    ]


@pytest.mark.parametrize("extended", [False, True])
def test_h264_by_number_and_by_fourcc_are_the_same(extended: bool) -> None:
    items = demux(
        video(AVCC, 0, packet=Packet.CONFIG, extended=extended),
        video(join_length_prefixed([SLICE]), 0, composition=33, extended=extended),
    )

    assert [unit.pts for unit in units(items)] == [33 * 90]
    assert [track.codec for track in tracks(items)] == [Codec.H264]


def test_hevc_and_av1() -> None:
    hevc = demux(
        video(HVCC, 0, fourcc="hvc1", packet=Packet.CONFIG),
        video(join_length_prefixed([HEVC_IDR]), 7, fourcc="hvc1", keyframe=True),
    )
    av1 = demux(
        video(AV1C, 0, fourcc="av01", packet=Packet.CONFIG),
        video(b"\x12\x00" + AV1_KEY, 0, fourcc="av01", keyframe=True),
        video(AV1_INTER, 33, fourcc="av01"),
    )

    assert [(t.codec, t.width, t.height) for t in tracks(hevc)] == [(Codec.HEVC, 320, 192)]
    assert [(u.keyframe, u.dts) for u in units(hevc)] == [(True, 630)]
    assert tracks(av1)[-1].codec is Codec.AV1
    assert [(u.keyframe, u.payload) for u in units(av1)] == [(True, AV1_KEY), (False, AV1_INTER)]


def test_hevc_by_the_number_that_no_specification_has() -> None:
    config = b"\x1c\x00\x00\x00\x00" + HVCC

    items = demux(Message(MessageType.VIDEO, 1, 0, config))

    assert [track.codec for track in tracks(items)] == [Codec.HEVC]


@pytest.mark.parametrize("head", [OpusConfig(channels=2).to_head(), b""])
def test_opus_with_and_without_a_header(head: bytes) -> None:
    items = demux(
        audio(head, 0, fourcc="Opus", packet=Packet.CONFIG),
        audio(OPUS_PACKET, 0, fourcc="Opus"),
        audio(OPUS_PACKET, 21, fourcc="Opus"),
    )

    assert [(track.codec, track.channels) for track in tracks(items)] == [(Codec.OPUS, 2)]
    assert [unit.dts for unit in units(items)] == [0, 1800]


def test_lengths_of_two_bytes_become_four() -> None:
    record = AVCC[:4] + b"\xfd" + AVCC[5:]
    nals = b"".join(len(nal).to_bytes(2, "big") + nal for nal in (b"\x09\xf0", IDR))

    items = demux(video(record, 0, packet=Packet.CONFIG), video(nals, 0, keyframe=True))

    assert tracks(items)[0].config == AVCC
    assert [unit.payload for unit in units(items)] == [join_length_prefixed([IDR])]


def test_parameter_sets_among_the_pictures() -> None:
    """Without a configuration, and with an empty one."""
    in_band = video(join_length_prefixed([SPS, PPS, IDR]), 0, keyframe=True)

    for messages in ([in_band], [video(b"", 0, packet=Packet.CONFIG), in_band]):
        items = demux(*messages)
        assert [track.config for track in tracks(items)] == [AVCC]
        assert [unit.payload for unit in units(items)] == [join_length_prefixed([IDR])]


def test_a_track_is_announced_again_only_when_it_changed() -> None:
    other = AVCC.replace(PPS, PPS[:-1] + b"\xc9")

    items = demux(
        *opening(), *opening(), avc(IDR, 0), video(other, 40, packet=Packet.CONFIG), avc(IDR, 40)
    )

    assert [track.config for track in tracks(items)] == [AVCC, ASC, other]


def test_metadata_fill_in_the_frame_rate_that_the_bitstream_does_not_tell() -> None:
    demuxer = FlvDemuxer()
    demuxer.describe({"framerate": 25.0})

    av1 = demux(video(AV1C, 0, fourcc="av01", packet=Packet.CONFIG), demuxer=demuxer)
    h264 = demux(*opening()[1:], demuxer=demuxer)

    assert tracks(av1)[0].frame_rate == 25.0
    assert tracks(h264)[0].frame_rate == 30.0


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0, 0.0, "25", None, 1e9])
def test_metadata_without_sense_are_ignored(rate: float | str | None) -> None:
    demuxer = FlvDemuxer()
    demuxer.describe({"framerate": rate})

    items = demux(video(AV1C, 0, fourcc="av01", packet=Packet.CONFIG), demuxer=demuxer)

    assert tracks(items)[0].frame_rate == 0


def test_the_rounding_to_milliseconds_is_taken_out_of_sound() -> None:
    messages = [audio(AAC_FRAME, round(index * 1024 / 44.1)) for index in range(200)]

    items = demux(audio(ASC, 0, packet=Packet.CONFIG), *messages)

    expected = [index * 1024 * 90_000 // 44_100 for index in range(200)]
    assert [unit.dts for unit in units(items)] == expected


def test_nanoseconds_are_added() -> None:
    picture = Tag("avc1", Packet.FRAME, join_length_prefixed([SLICE]), False, nanoseconds=500_000)
    message = Message(MessageType.VIDEO, 1, 10, serialize_video(picture, extended=True))

    items = demux(*opening(), message)

    assert [unit.dts for unit in units(items)] == [945]


def test_49_days_and_24_days_go_on() -> None:
    """RTMP wraps at 2**32 ms; OBS masks the highest bit away and wraps at 2**31."""
    for wrap in (1 << 32, 1 << 31):
        demuxer = FlvDemuxer()
        demux(*opening(), demuxer=demuxer)
        start = wrap - 100
        moments = [start + step for step in range(0, 200, 20)]

        items = demux(*(avc(SLICE, at % wrap) for at in moments), demuxer=demuxer)

        first = units(items)[0].dts
        assert [unit.dts - first for unit in units(items)] == [20 * 90 * n for n in range(10)]


def test_sound_a_little_behind_the_picture_at_the_wrap() -> None:
    items = demux(*opening(), avc(IDR, 0xFFFFFFFF), avc(SLICE, 40), audio(AAC_FRAME, 0xFFFFFFFE))

    first, second, sound = units(items)
    assert second.dts - first.dts == 41 * 90
    assert sound.dts - first.dts == -90


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (video(b"x", 0, fourcc="vp09"), "unsupported_codec_video"),
        (video(b"x", 0, fourcc="mp4a"), "unsupported_codec_video"),
        (video(b"x", 0, fourcc="\xff\xff\x00\n"), "unsupported_codec_video"),
        (Message(MessageType.VIDEO, 1, 0, b"\x12x"), "unsupported_codec_video"),
        (audio(b"x", 0, fourcc="fLaC"), "unsupported_codec_audio"),
        (Message(MessageType.AUDIO, 1, 0, b"\x2fx"), "unsupported_codec_audio"),
    ],
)
def test_what_cannot_be_carried_is_skipped_with_one_notice(message: Message, code: str) -> None:
    items = demux(*opening(), *[message] * 500, avc(IDR, 0))

    assert notices(items) == [code]
    assert len(units(items)) == 1


def test_tracks_other_than_the_first_are_ignored() -> None:
    second = Tag("avc1", Packet.FRAME, join_length_prefixed([IDR]), track=1)
    message = Message(MessageType.VIDEO, 1, 0, serialize_video(second))

    assert demux(*opening(), message) == demux(*opening())


def test_sound_before_its_configuration_is_dropped() -> None:
    assert demux(audio(AAC_FRAME, 0)) == []


def test_broken_packets_are_dropped_with_one_notice() -> None:
    broken = video(b"\0\0\xff\xff", 0)

    items = demux(*opening(), broken, broken, avc(IDR, 0))

    assert notices(items) == ["damaged"]
    assert len(units(items)) == 1


def test_nothing_but_broken_packets_is_the_peers_fault() -> None:
    demuxer = FlvDemuxer()
    broken = video(b"\0\0\xff\xff", 0)
    demux(*opening(), *[broken] * (MAX_DAMAGED - 1), demuxer=demuxer)

    with pytest.raises(PeerError):
        demux(broken, demuxer=demuxer)


def aggregate(*parts: Message, timestamp: int, base: int = 0) -> Message:
    body = b""
    for part in parts:
        moment = base + part.timestamp
        body += bytes((part.type,)) + len(part.payload).to_bytes(3, "big")
        body += (moment & 0xFFFFFF).to_bytes(3, "big") + bytes((moment >> 24 & 0xFF, 0, 0, 0))
        body += part.payload + (11 + len(part.payload)).to_bytes(4, "big")
    return Message(MessageType.AGGREGATE, 1, timestamp, body)


def test_an_aggregate_is_its_messages_at_its_time() -> None:
    parts = [*opening(), avc(IDR, 0), audio(AAC_FRAME, 23), avc(SLICE, 40)]

    items = demux(aggregate(*parts, timestamp=5000, base=0x01FFFFFE))

    assert [unit.dts for unit in units(items)] == [5000 * 90, 5023 * 90, 5040 * 90]


@pytest.mark.parametrize("cut", [1, 5, 14, 16])
def test_an_aggregate_cut_short_is_the_peers_fault(cut: int) -> None:
    whole = aggregate(avc(IDR, 0), timestamp=0)
    short = Message(whole.type, whole.stream, 0, whole.payload[:-cut])
    if cut < 5:
        assert list(split_aggregate(short)) == list(split_aggregate(whole))
        return

    with pytest.raises(PeerError):
        demux(short)


_bodies = st.binary(max_size=40) | st.builds(
    lambda head, tail: head + tail,
    st.sampled_from(
        [
            *(message.payload for message in opening()[1:]),
            serialize_video(Tag("hvc1", Packet.CONFIG, HVCC)),
            serialize_video(Tag("av01", Packet.CONFIG, AV1C)),
            serialize_video(Tag("av01", Packet.FRAME, AV1_KEY)),
            serialize_audio(Tag("Opus", Packet.FRAME, OPUS_PACKET)),
            avc(IDR, 0).payload,
        ]
    ),
    st.binary(max_size=6),
)


@given(st.lists(st.tuples(st.sampled_from([8, 9, 22]), _bodies, st.integers(0, 2**32 - 1))))
def test_random_messages_are_carried_or_refused(sent: list[tuple[int, bytes, int]]) -> None:
    demuxer = FlvDemuxer()
    known: set[str] = set()
    try:
        for kind, body, timestamp in sent:
            for item in demuxer.receive(Message(kind, 1, timestamp, body)):
                if isinstance(item, Track):
                    known.add(item.id)
                elif isinstance(item, AccessUnit):
                    assert item.track in known
    except PeerError:
        return
