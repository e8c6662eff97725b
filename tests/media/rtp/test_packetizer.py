"""Cutting frames: whatever the sizes, the other end gets the same bitstream back."""

import itertools
import random

import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor
from hypothesis import example, given, strategies as st

from media.codecs import av1, hevc, opus
from media.errors import InvalidBitstream, UnsupportedCodec
from media.rtp.av1 import Av1Cutter
from media.rtp.layout import MAX_PAYLOAD
from media.rtp.packetizer import H264Cutter, HevcCutter, OpusCutter, cutter_for
from media.units import AccessUnit, Codec, Track, TrackId
from tests.support.rtp import (
    PPS,
    SPS,
    depacketize_av1,
    depacketize_h264,
    depacketize_hevc,
    h264_track,
    unit,
)

BODY = random.Random(5).randbytes(9000)
sizes = st.one_of(
    st.integers(2, 60), st.integers(MAX_PAYLOAD - 5, MAX_PAYLOAD + 5), st.integers(2, 8000)
)


@st.composite
def h264_nals(draw: st.DrawFn) -> list[bytes]:
    heads = st.builds(lambda nri, kind: nri << 5 | kind, st.integers(0, 3), st.integers(1, 12))
    count = draw(st.integers(1, 12))
    return [bytes((draw(heads),)) + BODY[: draw(sizes) - 1] for _ in range(count)]


@st.composite
def hevc_nals(draw: st.DrawFn) -> list[bytes]:
    nals = []
    for _ in range(draw(st.integers(1, 12))):
        kind, temporal = draw(st.integers(0, 40)), draw(st.integers(1, 7))
        nals.append(bytes((kind << 1, temporal)) + BODY[: draw(sizes)])
    return nals


@given(h264_nals())
def test_h264_comes_back_as_it_was(nals: list[bytes]) -> None:
    payloads = H264Cutter(h264_track()).cut(unit(*nals))

    assert depacketize_h264(payloads) == nals
    assert max(map(len, payloads)) <= MAX_PAYLOAD


@given(h264_nals())
def test_aiortc_reads_our_h264(nals: list[bytes]) -> None:
    payloads = H264Cutter(h264_track()).cut(unit(*nals))

    stream = b"".join(H264PayloadDescriptor.parse(payload)[1] for payload in payloads)

    assert stream == b"".join(b"\0\0\0\1" + nal for nal in nals)


@given(hevc_nals())
def test_hevc_comes_back_as_it_was(nals: list[bytes]) -> None:
    payloads = HevcCutter(hevc_track()).cut(unit(*nals))

    assert depacketize_hevc(payloads) == nals
    assert max(map(len, payloads)) <= MAX_PAYLOAD


@given(st.lists(st.tuples(st.sampled_from((3, 4, 5, 6)), sizes), min_size=1, max_size=12))
@example([(3, n) for n in (2, 2, 2626, 8000, 127, 289, 1169, 475, 60, 60)])  # four in a packet
def test_av1_comes_back_as_it_was(shapes: list[tuple[int, int]]) -> None:
    obus = [av1.Obu(kind, BODY[:size]) for kind, size in shapes]

    payloads = Av1Cutter(av1_track()).cut(
        AccessUnit(TrackId("video"), 0, 0, False, av1.join_obus(obus))
    )

    assert depacketize_av1(payloads) == [obu.without_size() for obu in obus]
    assert max(map(len, payloads)) <= MAX_PAYLOAD


@given(st.integers(MAX_PAYLOAD + 1, 60_000))
def test_the_packets_of_a_slice_are_equal_but_for_the_last(size: int) -> None:
    payloads = H264Cutter(h264_track()).cut(unit(b"\x41" + bytes(size - 1)))

    lengths = [len(payload) for payload in payloads]
    assert len(set(lengths[:-1])) == 1
    assert 2 < lengths[-1] <= lengths[0]
    assert len(lengths) == -(-(size - 1) // (MAX_PAYLOAD - 2))


def test_an_av1_frame_fills_equal_packets() -> None:
    obus = [av1.Obu(5, bytes(20)), av1.Obu(6, BODY[:8000])]
    payloads = Av1Cutter(av1_track()).cut(
        AccessUnit(TrackId("video"), 0, 0, False, av1.join_obus(obus))
    )

    lengths = [len(payload) for payload in payloads]
    assert max(lengths) - min(lengths[:-1]) <= 1
    assert lengths[-1] <= max(lengths)


@pytest.mark.parametrize("sei", [b"\x06abc", b"\x06" + BODY[:500], b"\x06" + BODY[:3000]])
def test_parameter_sets_go_before_every_keyframe_whatever_sei_is_there(sei: bytes) -> None:
    slices = [b"\x65" + BODY[:4000], b"\x65" + BODY[:3000]]

    payloads = H264Cutter(h264_track()).cut(unit(sei, *slices, keyframe=True))

    assert depacketize_h264(payloads) == [SPS, PPS, sei, *slices]
    assert payloads[0][0] == 0x60 | 24
    assert payloads[0][3] & 0x1F == 7


def test_small_units_share_the_packet_of_the_parameter_sets() -> None:
    payloads = H264Cutter(h264_track()).cut(unit(b"\x06abc", b"\x65" + BODY[:4000], keyframe=True))

    assert depacketize_h264(payloads[:1]) == [SPS, PPS, b"\x06abc"]
    assert all(payload[0] & 0x1F == 28 for payload in payloads[1:])


@pytest.mark.parametrize("importance", [0, 1, 2, 3])
def test_fragments_keep_the_true_importance(importance: int) -> None:
    nal = bytes((importance << 5 | 1,)) + BODY[:5000]

    payloads = H264Cutter(h264_track()).cut(unit(nal))

    assert {payload[0] >> 5 for payload in payloads} == {importance}
    assert [payload[1] & 0xC0 for payload in payloads] == [0x80, 0, 0, 0, 0x40]


def test_new_parameter_sets_are_used_from_the_next_keyframe_on() -> None:
    cutter = H264Cutter(h264_track())
    other = PPS + b"\x80"
    config = h264_track().config.replace(len(PPS).to_bytes(2, "big") + PPS, b"\0\6" + other)
    cutter.set_track(Track(TrackId("video"), Codec.H264, config))

    payloads = cutter.cut(unit(b"\x65abc", keyframe=True))

    assert depacketize_h264(payloads) == [SPS, other, b"\x65abc"]


def test_hevc_parameter_sets_go_before_every_keyframe() -> None:
    track = hevc_track()
    config = hevc.HvcConfig.parse(track.config)
    nal = b"\x26\x01" + BODY[:5000]

    payloads = HevcCutter(track).cut(unit(nal, keyframe=True))

    assert depacketize_hevc(payloads) == [*config.vps, *config.sps, *config.pps, nal]
    assert payloads[0][0] >> 1 == 48


def test_a_sequence_header_goes_before_an_av1_keyframe_that_has_none() -> None:
    track = av1_track()
    frame = av1.Obu(6, BODY[:3000])

    payloads = Av1Cutter(track).cut(
        AccessUnit(TrackId("video"), 0, 0, True, av1.join_obus([frame]))
    )

    header, *rest = depacketize_av1(payloads)
    assert header[0] >> 3 == 1
    assert rest == [frame.without_size()]
    assert [payload[0] & 0x08 for payload in payloads] == [8, 0, 0]


def test_a_unit_that_lies_about_its_lengths_is_refused() -> None:
    with pytest.raises(InvalidBitstream):
        H264Cutter(h264_track()).cut(AccessUnit(TrackId("video"), 0, 0, False, b"\0\0\0\x09abc"))


def test_an_empty_unit_gives_no_packet() -> None:
    assert H264Cutter(h264_track()).cut(unit()) == ()
    assert OpusCutter().cut(AccessUnit(TrackId("audio"), 0, 0, True, b"")) == ()


def opus_unit(pts: int) -> AccessUnit:
    return AccessUnit(TrackId("audio"), pts, pts, True, b"\xfcabc")


def test_opus_timestamps_count_samples_through_a_jittering_clock() -> None:
    cutter = OpusCutter()
    jitter = random.Random(1)
    exact = [1800 * number + jitter.randint(-90, 90) for number in range(1000)]

    times = [cutter.timestamp(opus_unit(pts)) for pts in exact]

    assert [b - a for a, b in itertools.pairwise(times)] == [960] * 999
    assert abs(times[-1] - exact[-1] * 48 // 90) <= 480


def test_opus_timestamps_follow_a_true_gap() -> None:
    cutter = OpusCutter()
    cutter.timestamp(opus_unit(0))

    assert cutter.timestamp(opus_unit(90_000)) == 48_000


def test_opus_is_stereo_and_goes_through_whole() -> None:
    track = opus.track(TrackId("audio"), opus.OpusConfig(channels=2).serialize())

    assert cutter_for(track).cut(opus_unit(0)) == (b"\xfcabc",)


def test_aac_cannot_be_sent() -> None:
    with pytest.raises(UnsupportedCodec):
        cutter_for(Track(TrackId("audio"), Codec.AAC, b"\x12\x10"))


def hevc_track() -> Track:
    vps = bytes.fromhex("40010c01ffff01600000030090000003000003005d959809")
    sps = bytes.fromhex(
        "42010101600000030090000003000003005da00280802d165959a4932bc05a0200000300020000030079"
    )
    pps = bytes.fromhex("4401c172b46240")
    return hevc.track(TrackId("video"), hevc.HvcConfig((vps,), (sps,), (pps,)))


def av1_track() -> Track:
    header = bytes.fromhex("0a0b00000004473b7efffc0008")
    return Track(TrackId("video"), Codec.AV1, bytes.fromhex("81000c00") + header)
