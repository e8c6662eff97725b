"""AMF0 and AMF3: what is written is read back, and what a peer writes is bounded."""

import math

import pytest
from hypothesis import given, strategies as st

from media.rtmp import amf0, amf3
from media.rtmp.values import MAX_DEPTH, MAX_VALUES, AmfDate, AmfError, EcmaArray, Value

_plain = (
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.floats(allow_nan=False).map(AmfDate)
)
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_values: st.SearchStrategy[Value] = st.recursive(
    _plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4)
)


@given(st.lists(_values, max_size=5))
def test_amf0_reads_back_what_it_wrote(values: list[Value]) -> None:
    assert amf0.parse(amf0.serialize(*values)) == values


@given(_values | st.binary() | st.integers(-(1 << 28), (1 << 28) - 1))
def test_amf3_reads_back_what_it_wrote(value: Value) -> None:
    assert amf3.parse(amf3.serialize(value)) == value


@given(_values)
def test_an_amf3_value_stands_within_amf0(value: Value) -> None:
    body = amf0.serialize("before") + b"\x11" + amf3.serialize(value) + amf0.serialize("after")

    assert amf0.parse(body) == ["before", value, "after"]


@pytest.mark.parametrize(
    ("hexed", "expected"),
    [
        ("00 40 59 00 00 00 00 00 00", 100.0),
        ("01 01", True),
        ("02 00 03 66 6f 6f", "foo"),
        ("03 00 01 61 05 00 00 09", {"a": None}),
        ("05", None),
        ("06", None),
        ("08 ff ff ff ff 00 01 61 01 00 00 00 09", {"a": False}),
        ("0a 00 00 00 02 05 01 01", [None, True]),
        ("0b 42 70 00 00 00 00 00 00 00 00", AmfDate(float(1 << 40))),
        ("0c 00 00 00 02 68 69", "hi"),
        ("0d", None),
        ("0f 00 00 00 04 3c 78 2f 3e", "<x/>"),
        ("10 00 01 43 00 01 61 05 00 00 09", {"a": None}),
        ("11 04 05", 5),
    ],
)
def test_amf0_markers(hexed: str, expected: Value) -> None:
    assert amf0.parse(bytes.fromhex(hexed)) == [expected]


@pytest.mark.parametrize(
    ("hexed", "expected"),
    [
        ("00", None),
        ("04 ff ff ff ff", -1),
        ("04 80 c0 80 00", 1 << 21),
        ("06 07 66 6f 6f", "foo"),
        ("07 09 3c 78 2f 3e", "<x/>"),
        ("09 05 01 04 01 04 02", [1, 2]),
        ("09 03 03 61 04 01 01 04 02", {"a": 1, "0": 2}),
        ("0a 13 01 03 61 04 07", {"a": 7}),
        ("0a 0b 01 03 61 06 03 62 01", {"a": "b"}),
        ("0c 05 01 02", b"\x01\x02"),
        ("0d 05 00 ff ff ff ff 00 00 00 02", [-1, 2]),
        ("0e 03 00 ff ff ff ff", [0xFFFFFFFF]),
        ("0f 03 00 3f f0 00 00 00 00 00 00", [1.0]),
        ("10 03 00 01 03", [True]),
        ("11 03 00 06 03 61 04 01", {"a": 1}),
        # Strings, traits and objects by reference.
        ("09 05 01 06 03 61 06 00", ["a", "a"]),
        ("09 05 01 0a 13 01 03 61 04 01 0a 01 04 02", [{"a": 1}, {"a": 2}]),
        ("09 05 01 09 01 01 09 02", [[], []]),
    ],
)
def test_amf3_markers(hexed: str, expected: Value) -> None:
    assert amf3.parse(bytes.fromhex(hexed)) == expected


def test_amf0_refers_to_an_object_that_is_complete() -> None:
    body = bytes.fromhex("0a 00 00 00 02 03 00 01 61 05 00 00 09 07 00 01")

    assert amf0.parse(body) == [[{"a": None}, {"a": None}]]


@pytest.mark.parametrize(
    "hexed",
    [
        "00 40",
        "02 00 05 61",
        "03 00 01 61 05",
        "0a ff ff ff ff",
        "07 00 00",
        "03 00 01 61 07 00 00 00 00 09",
        "04",
        "12",
        "11 11 ff",
        "11 0a 07 01",
        "11 06 02",
        "11 09 02",
        "11 0a 05",
        "11 0d 80 80 81 01 00",
        "11 11 03 00 01 01",
    ],
)
def test_broken_amf_is_the_peers_fault(hexed: str) -> None:
    with pytest.raises(AmfError):
        amf0.parse(bytes.fromhex(hexed))


def test_nesting_is_bounded() -> None:
    deepest: Value = None
    for _ in range(MAX_DEPTH - 1):
        deepest = [deepest]
    assert amf0.parse(amf0.serialize(deepest)) == [deepest]

    with pytest.raises(AmfError):
        amf0.parse(bytes.fromhex("0a 00 00 00 01") * 1000)
    with pytest.raises(AmfError):
        amf3.parse(bytes.fromhex("09 03 01") * 1000)


def test_the_number_of_values_is_bounded() -> None:
    assert len(amf0.parse(b"\x05" * MAX_VALUES)) == MAX_VALUES
    with pytest.raises(AmfError):
        amf0.parse(b"\x05" * (MAX_VALUES + 1))
    with pytest.raises(AmfError):
        amf3.parse(b"\x0d\xa0\x01\x00" + bytes(4 * 5000))


def test_what_amf0_cannot_say_is_refused() -> None:
    with pytest.raises(AmfError):
        amf0.serialize(b"bytes")
    with pytest.raises(AmfError):
        amf0.serialize({"x" * 70_000: None})
    with pytest.raises(AmfError):
        amf3.serialize({"": None})


def test_long_strings_and_associative_arrays_keep_their_kind() -> None:
    body = amf0.serialize("x" * 70_000, EcmaArray(a=1.0))

    text, array = amf0.parse(body)
    assert text == "x" * 70_000
    assert isinstance(array, EcmaArray)
    assert array == {"a": 1.0}


def test_metadata_are_taken_as_far_as_they_can_be_read() -> None:
    body = amf0.serialize("onMetaData", {"width": 320.0}) + b"\xfe\xfe"

    assert amf0.parse_prefix(body) == ["onMetaData", {"width": 320.0}]


def test_a_number_may_be_no_number() -> None:
    (value,) = amf0.parse(amf0.serialize(math.nan))

    assert isinstance(value, float)
    assert math.isnan(value)


@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(data: bytes) -> None:
    for parse in (amf0.parse, amf3.parse):
        try:
            parse(data)
        except AmfError:
            continue
    amf0.parse_prefix(data)
