import pytest
from hypothesis import given, strategies as st

from media.codecs.opus import OpusConfig
from media.errors import InvalidBitstream
from media.mpegts.opus_units import config_of, control_header, descriptors, split_opus
from media.mpegts.tables import Descriptor, Entry

REGISTRATION = Descriptor(0x05, b"Opus")


def entry(*found: Descriptor) -> Entry:
    return Entry(0x06, 0x100, found)


@pytest.mark.parametrize("code", [*range(9), *range(0x83, 0x89)])
def test_arrangements_of_channels_read_back(code: int) -> None:
    extension = Descriptor(0x7F, bytes((0x80, code)))

    config = config_of(entry(REGISTRATION, extension))

    assert config is not None
    assert config.channels == (code & 0x7F or 2)
    assert descriptors(config) == (REGISTRATION, extension)


def test_two_separate_channels_have_two_codes() -> None:
    separate = config_of(entry(REGISTRATION, Descriptor(0x7F, b"\x80\x82")))

    assert separate == config_of(entry(REGISTRATION, Descriptor(0x7F, b"\x80\x00")))


def test_without_the_extension_it_is_stereo() -> None:
    assert config_of(entry(REGISTRATION)) == OpusConfig(2, 0)


@pytest.mark.parametrize("code", [9, 0x80, 0x81, 0x89, 0xFF])
def test_unknown_arrangements_are_none(code: int) -> None:
    assert config_of(entry(REGISTRATION, Descriptor(0x7F, bytes((0x80, code))))) is None


def test_other_private_streams_are_none() -> None:
    assert config_of(entry(Descriptor(0x05, b"AC-3"))) is None
    assert config_of(entry()) is None
    assert config_of(entry(REGISTRATION, Descriptor(0x7F, b"\x80"))) is None
    assert config_of(Entry(0x0F, 0x100, (REGISTRATION,))) is None


def test_an_arrangement_without_a_code_is_refused() -> None:
    config = OpusConfig(3, mapping_family=255, streams=3, coupled=0, mapping=b"\x02\x01\x00")

    with pytest.raises(InvalidBitstream):
        descriptors(config)


@given(st.lists(st.binary(min_size=1, max_size=1200), max_size=5))
def test_packets_read_back(packets: list[bytes]) -> None:
    data = b"".join(control_header(len(packet)) + packet for packet in packets)

    assert split_opus(data) == packets


def test_trims_and_extensions_are_skipped() -> None:
    trimmed = b"\x7f\xfc\x04" + b"\x01\x38" + b"\x00\x20" + b"\x02ex" + b"opus"

    assert split_opus(trimmed) == [b"opus"]


@pytest.mark.parametrize(
    "data", [b"\x7f", b"\x7f\xe0", b"\x7f\xe0\x00", b"\x7f\xe0\x05ab", b"\x7f\xe0\xff", b"opus"]
)
def test_refuses_broken_control_headers(data: bytes) -> None:
    with pytest.raises(InvalidBitstream):
        split_opus(data)


def test_refuses_endless_packets() -> None:
    with pytest.raises(InvalidBitstream):
        split_opus(b"\x7f\xe0\x01a" * 300)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        split_opus(b"\x7f" + data)
    except InvalidBitstream:
        return
