import pytest
from hypothesis import given, strategies as st

from media.codecs import hevc
from media.codecs.hevc import HvcConfig, parse_sps
from media.errors import InvalidBitstream
from tests.support.bitstreams import HEVC_VPS, HevcSequence, hevc_config, hevc_pps

MAIN_10 = bytes.fromhex(
    "42010202200000030090000003000003003c0000a00a480b9c94d965662b349272bc05a02000000300200000030321"
)
"""By x265: 322x182 of 10 bits with a temporal layer, 25 frames a second."""

sequences = st.builds(
    HevcSequence,
    width=st.integers(1, 4000).map(lambda half: 2 * half),
    height=st.integers(1, 4000).map(lambda half: 2 * half),
    profile=st.integers(0, 31),
    compatibility=st.integers(0, (1 << 32) - 1),
    constraints=st.integers(0, (1 << 48) - 1),
    tier=st.integers(0, 1),
    level=st.integers(0, 255),
    id=st.integers(0, 15),
    layers=st.integers(1, 7),
    chroma=st.integers(0, 3),
    separate_planes=st.booleans(),
    luma_depth=st.integers(8, 16),
    chroma_depth=st.integers(8, 16),
    scaling_lists=st.booleans(),
    pcm=st.booleans(),
    reference_sets=st.integers(0, 8),
    long_term=st.booleans(),
    fps=st.none() | st.tuples(st.integers(1, 240_000), st.sampled_from([1000, 1001])),
    full_range=st.none() | st.booleans(),
)


@given(sequences)
def test_reads_back_every_sequence_parameter_set(sequence: HevcSequence) -> None:
    sps = parse_sps(sequence.nal())

    assert (sps.width, sps.height, sps.id) == (sequence.width, sequence.height, sequence.id)
    assert sps.profile == hevc.ProfileTierLevel(
        0,
        sequence.tier,
        sequence.profile,
        sequence.compatibility,
        sequence.constraints,
        sequence.level,
    )
    assert sps.chroma_format_idc == sequence.chroma
    assert (sps.bit_depth_luma, sps.bit_depth_chroma) == (
        sequence.luma_depth,
        sequence.chroma_depth,
    )
    assert sps.temporal_layers == sequence.layers
    assert sps.max_reorder_frames == min(sequence.layers - 1, 2)
    assert sps.frame_rate == (sequence.fps[0] / sequence.fps[1] if sequence.fps else 0)
    assert sps.vui.colour.full_range == bool(sequence.full_range)


def test_reads_an_encoders_own() -> None:
    sps = parse_sps(MAIN_10)

    assert (sps.width, sps.height, sps.frame_rate) == (322, 182, 25.0)
    assert (sps.bit_depth_luma, sps.temporal_layers, sps.max_reorder_frames) == (10, 2, 2)


def test_what_follows_the_size_may_be_cut_short() -> None:
    sps = parse_sps(HevcSequence(width=640, height=360, reference_sets=4).nal()[:-10])

    assert (sps.width, sps.height, sps.frame_rate) == (640, 360, 0)


@given(st.binary(max_size=120))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        sps = parse_sps(b"\x42\x01" + data)
    except InvalidBitstream:
        return
    assert 0 < sps.width <= hevc.MAX_SIDE
    assert 0 < sps.height <= hevc.MAX_SIDE


@given(sequences)
def test_record_reads_back(sequence: HevcSequence) -> None:
    config = HvcConfig((HEVC_VPS,), (sequence.nal(),), (hevc_pps(0), hevc_pps(1)))

    record = config.serialize()

    assert HvcConfig.parse(record) == config
    assert record[21] & 3 == 3


def test_record_may_hold_messages_which_are_left_out() -> None:
    record = bytearray(hevc_config().serialize())
    record[22] += 1
    record += b"\x27\x00\x01\x00\x03\x4e\x01\x05"

    assert HvcConfig.parse(bytes(record)) == hevc_config()


@given(st.binary(max_size=160))
def test_garbage_records_are_refused(data: bytes) -> None:
    try:
        HvcConfig.parse(b"\x01" + data).serialize()
    except InvalidBitstream:
        return


@pytest.mark.parametrize("cut", [0, 22, 24, 40, -3])
def test_refuses_a_record_cut_short(cut: int) -> None:
    with pytest.raises(InvalidBitstream):
        HvcConfig.parse(hevc_config().serialize()[:cut])


def test_random_access_points() -> None:
    assert [kind for kind in range(64) if hevc.is_irap(kind)] == list(range(16, 24))
