import pytest
from hypothesis import given, strategies as st

from media.codecs import av1
from media.codecs.av1 import Av1Config, Obu, parse_sequence_header, split_obus
from media.errors import InvalidBitstream
from media.stream import VIDEO
from tests.support.bitstreams import AV1_INTER_FRAME, AV1_KEY_FRAME, av1_sequence

obus = st.lists(
    st.builds(
        Obu,
        type=st.integers(0, 15),
        payload=st.binary(max_size=300),
        extension=st.none() | st.integers(0, 255),
    ),
    max_size=6,
)


@given(obus)
def test_obus_with_sizes_read_back(units: list[Obu]) -> None:
    assert split_obus(b"".join(obu.serialize() for obu in units)) == units


@given(obus.filter(bool))
def test_the_last_obu_needs_no_size(units: list[Obu]) -> None:
    *head, last = units
    data = b"".join(obu.serialize() for obu in head) + last.without_size()

    assert split_obus(data) == units


@pytest.mark.parametrize("data", [b"\x80", b"\x0c", b"\x0a", b"\x0a\x05ab", b"\x0a" + b"\xff" * 9])
def test_refuses_broken_obus(data: bytes) -> None:
    with pytest.raises(InvalidBitstream):
        split_obus(data)


def test_refuses_endless_obus() -> None:
    with pytest.raises(InvalidBitstream):
        split_obus(b"\x0a\x00" * (av1.MAX_OBUS + 1))


def test_reads_a_sequence_header() -> None:
    head = parse_sequence_header(av1_sequence(1920, 1080, ten_bit=True, level=9, tier=1))

    assert (head.width, head.height, head.bit_depth) == (1920, 1080, 10)
    assert (head.profile, head.level_idx, head.tier) == (0, 9, 1)
    assert head.frame_rate == 25
    assert (head.subsampling_x, head.subsampling_y, head.chroma_sample_position) == (1, 1, 1)


@given(st.binary(max_size=60))
def test_garbage_sequence_headers_are_refused_or_read(data: bytes) -> None:
    try:
        head = parse_sequence_header(data)
    except InvalidBitstream:
        return
    assert head.width > 0
    assert head.bit_depth in (8, 10, 12)


def test_record_reads_back() -> None:
    config = Av1Config(Obu(1, av1_sequence(ten_bit=True)), (Obu(5, b"\x01\x02"),))

    record = config.serialize()

    assert record[:4].hex() == "81054d00"
    assert Av1Config.parse(record) == config


@given(st.binary(max_size=60))
def test_garbage_records_are_refused(data: bytes) -> None:
    try:
        Av1Config.parse(b"\x81" + data).serialize()
    except InvalidBitstream:
        return


@pytest.mark.parametrize("record", [b"", b"\x81\x00\x00\x00", b"\x01\x00\x00\x00\x0a\x00"])
def test_refuses_records_without_sequence_header(record: bytes) -> None:
    with pytest.raises(InvalidBitstream):
        Av1Config.parse(record)


def test_track_has_the_size() -> None:
    track = av1.track(VIDEO, Av1Config(Obu(1, av1_sequence(640, 360))).serialize())

    assert (track.width, track.height, track.frame_rate) == (640, 360, 25)


def test_keyframes() -> None:
    assert av1.is_keyframe([Obu(1, av1_sequence()), Obu(6, AV1_KEY_FRAME)])
    assert av1.is_keyframe([Obu(3, AV1_KEY_FRAME), Obu(4, b"x")])
    assert not av1.is_keyframe([Obu(6, AV1_INTER_FRAME)])
    assert not av1.is_keyframe([Obu(6, b"\x90")])
    assert not av1.is_keyframe([Obu(6, b"")])
    assert not av1.is_keyframe([Obu(5, b"\x10")])
