import pytest
from hypothesis import given, strategies as st

from media.codecs.nal import (
    MAX_NALS,
    join_annexb,
    join_length_prefixed,
    rbsp,
    split_annexb,
    split_length_prefixed,
)
from media.errors import InvalidBitstream
from tests.support.bitstreams import escaped

nals = st.lists(
    st.binary(min_size=1, max_size=60).map(lambda raw: b"\x65" + escaped(raw) + b"\x80"),
    max_size=8,
)


@given(nals)
def test_annexb_and_lengths_carry_the_same_nal_units(units: list[bytes]) -> None:
    assert split_annexb(join_annexb(units)) == units
    assert split_length_prefixed(join_length_prefixed(units)) == units


@given(st.binary())
def test_emulation_prevention_comes_off_as_it_was_put_on(raw: bytes) -> None:
    assert rbsp(escaped(raw)) == raw


def test_takes_short_start_codes_and_zeros_between() -> None:
    data = b"\x00\x00\x00\x00\x01\x09\xf0\x00\x00\x01\x65\x88\x00\x00\x00\x00\x00\x01\x41\x9a"

    assert split_annexb(data) == [b"\x09\xf0", b"\x65\x88", b"\x41\x9a"]


def test_what_stands_before_the_first_start_code_is_no_nal_unit() -> None:
    assert split_annexb(b"rest\x00\x00\x01\x65\x01") == [b"\x65\x01"]
    assert split_annexb(b"nothing") == []


def test_lengths_of_other_sizes() -> None:
    assert split_length_prefixed(b"\x00\x02ab\x00\x01c", 2) == [b"ab", b"c"]
    assert split_length_prefixed(b"\x02ab\x00\x01c", 1) == [b"ab", b"c"]


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x05ab", b"\x00\x00", b"\xff\xff\xff\xff"])
def test_refuses_lengths_that_lie(data: bytes) -> None:
    with pytest.raises(InvalidBitstream):
        split_length_prefixed(data)


def test_refuses_endless_nal_units() -> None:
    with pytest.raises(InvalidBitstream):
        split_annexb(b"\x00\x00\x01\x65" * (MAX_NALS + 1))
    with pytest.raises(InvalidBitstream):
        split_length_prefixed(b"\x00\x00\x00\x01\x65" * (MAX_NALS + 1))
