from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from media.codecs import h264
from media.codecs.h264 import AvcConfig, parse_sps
from media.codecs.vui import Colour
from media.errors import InvalidBitstream
from media.stream import VIDEO
from tests.support.bitstreams import AvcSequence, avc_config, avc_pps, avc_track

BASELINE = bytes.fromhex("6742c00dd901519e226c0440000003004000000c83c50a92")
INTERLACED = bytes.fromhex("67640015acd941533c45e022000003000200000300643e28532c")
"""By x264: 322x182, and 322x184 in fields with scaling lists; 25 frames a second."""

sequences = st.builds(
    AvcSequence,
    width=st.integers(1, 2000).map(lambda half: 2 * half),
    height=st.integers(1, 600).map(lambda quarter: 4 * quarter),
    profile=st.sampled_from([66, 77, 88, 100, 110, 122, 244]),
    constraints=st.integers(0, 255),
    level=st.sampled_from([10, 31, 40, 62]),
    id=st.integers(0, 31),
    chroma=st.integers(0, 3),
    separate_planes=st.booleans(),
    luma_depth=st.integers(8, 14),
    chroma_depth=st.integers(8, 14),
    scaling_lists=st.booleans(),
    poc_type=st.integers(0, 2),
    frames_only=st.booleans(),
    vui=st.booleans(),
    aspect=st.none() | st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    full_range=st.none() | st.booleans(),
    fps=st.none() | st.tuples(st.integers(1, 240_000), st.sampled_from([1000, 1001])),
    hrd=st.booleans(),
    reorder=st.none() | st.integers(0, 16),
)


@given(sequences)
def test_reads_back_every_sequence_parameter_set(sequence: AvcSequence) -> None:
    sps = parse_sps(sequence.nal())

    high = sequence.profile not in (66, 77, 88)
    assert (sps.width, sps.height) == (sequence.width, sequence.height)
    assert (sps.profile_idc, sps.constraint_flags, sps.level_idc, sps.id) == (
        sequence.profile,
        sequence.constraints,
        sequence.level,
        sequence.id,
    )
    assert sps.chroma_format_idc == (sequence.chroma if high else 1)
    assert sps.bit_depth_luma == (sequence.luma_depth if high else 8)
    assert sps.bit_depth_chroma == (sequence.chroma_depth if high else 8)
    assert sps.poc_type == sequence.poc_type
    assert sps.frames_only == sequence.frames_only
    if sequence.vui:
        rate = sequence.fps[0] / sequence.fps[1] if sequence.fps else 0
        assert sps.frame_rate == rate
        assert sps.max_reorder_frames == sequence.reorder
        assert sps.vui.sample_aspect == (sequence.aspect or (0, 1))
        colour = Colour() if sequence.full_range is None else Colour(1, 13, 6, sequence.full_range)
        assert sps.vui.colour == colour
    else:
        assert (sps.frame_rate, sps.max_reorder_frames) == (0, None)


@pytest.mark.parametrize(
    ("nal", "height", "reorder", "frames_only"),
    [(BASELINE, 182, 0, True), (INTERLACED, 184, 2, False)],
)
def test_reads_an_encoders_own(nal: bytes, height: int, reorder: int, frames_only: bool) -> None:
    sps = parse_sps(nal)

    assert (sps.width, sps.height, sps.frame_rate) == (322, height, 25.0)
    assert sps.max_reorder_frames == reorder
    assert sps.frames_only == frames_only
    assert sps.vui.sample_aspect == (1, 1)


def test_a_vui_cut_short_leaves_the_size() -> None:
    whole = AvcSequence(width=640, height=360, hrd=True).nal()

    sps = parse_sps(whole[:-12])

    assert (sps.width, sps.height) == (640, 360)
    assert sps.frame_rate == 0


def test_a_clock_is_no_frame_rate() -> None:
    assert parse_sps(AvcSequence(fps=(90_000, 1)).nal()).frame_rate == 0


@pytest.mark.parametrize("size", [1, 3, 4, 6, 8])
def test_refuses_one_that_ends_before_the_size(size: int) -> None:
    with pytest.raises(InvalidBitstream):
        parse_sps(AvcSequence().nal()[:size])


def test_refuses_another_kind_of_nal_unit() -> None:
    for nal in (b"", avc_pps()):
        with pytest.raises(InvalidBitstream):
            parse_sps(nal)


@given(st.binary(max_size=80))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        sps = parse_sps(b"\x67" + data)
    except InvalidBitstream:
        return
    assert 0 < sps.width <= h264.MAX_SIDE
    assert 0 < sps.height <= h264.MAX_SIDE


@given(sequences)
def test_record_reads_back(sequence: AvcSequence) -> None:
    config = AvcConfig(
        (sequence.nal(), replace(sequence, id=sequence.id ^ 1).nal()),
        (avc_pps(0, sequence.id), avc_pps(1, sequence.id)),
    )

    record = config.serialize()

    assert AvcConfig.parse(record) == config
    assert AvcConfig.parse(record).serialize() == record


def test_record_keeps_sequence_extensions() -> None:
    config = replace(avc_config(), sps_ext=(b"\x6d\xc0\x80",))

    assert AvcConfig.parse(config.serialize()).sps_ext == (b"\x6d\xc0\x80",)


def test_record_without_its_tail_is_taken() -> None:
    """Some encoders leave chroma format and bit depth out, though the profile asks for them."""
    record = avc_config().serialize()

    assert AvcConfig.parse(record[:-4]) == avc_config()


def test_record_tells_the_peers_length_size_and_is_written_for_ours() -> None:
    record = bytearray(avc_config().serialize())
    record[4] = 0xFD

    config = AvcConfig.parse(bytes(record))

    assert config.length_size == 2
    assert config.serialize()[4] == 0xFF


@given(st.binary(max_size=120))
def test_garbage_records_are_refused(data: bytes) -> None:
    try:
        AvcConfig.parse(b"\x01" + data).serialize()
    except InvalidBitstream:
        return


@pytest.mark.parametrize("cut", [0, 5, 6, 7, 20, -5])
def test_refuses_a_record_cut_short(cut: int) -> None:
    with pytest.raises(InvalidBitstream):
        AvcConfig.parse(avc_config().serialize()[:cut])


def test_refuses_a_record_without_parameter_sets() -> None:
    with pytest.raises(InvalidBitstream):
        AvcConfig.parse(b"\x01\x64\x00\x1f\xff\xe0\x00")


def test_track_and_its_profile_level_id() -> None:
    track = avc_track(AvcSequence(width=1920, height=1080, profile=66, constraints=0xE0, level=31))

    assert (track.id, track.width, track.height, track.frame_rate) == (VIDEO, 1920, 1080, 30)
    assert h264.profile_level_id(track) == "42e01f"
