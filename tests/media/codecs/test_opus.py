import pytest
from hypothesis import given, strategies as st

from media.codecs import opus
from media.codecs.opus import OpusConfig, packet_samples
from media.errors import InvalidBitstream
from media.stream import AUDIO

SURROUND = OpusConfig(6, 312, 48000, 0, 1, 4, 2, b"\x00\x04\x01\x02\x03\x05")

plain = st.builds(
    OpusConfig,
    channels=st.integers(1, 2),
    pre_skip=st.integers(0, 0xFFFF),
    sample_rate=st.integers(0, 0xFFFFFFFF),
    gain=st.integers(-0x8000, 0x7FFF),
)


@given(plain | st.just(SURROUND))
def test_both_shapes_of_the_header_read_back(config: OpusConfig) -> None:
    assert OpusConfig.parse(config.serialize()) == config
    assert OpusConfig.from_head(config.to_head()) == config


def test_the_shapes_differ_in_magic_version_and_byte_order() -> None:
    config = OpusConfig(2, 312, 44100)

    assert config.serialize().hex() == "00 02 0138 0000ac44 0000 00".replace(" ", "")
    assert config.to_head() == b"OpusHead" + bytes.fromhex("01 02 3801 44ac0000 0000 00")


@pytest.mark.parametrize(
    "dops",
    [
        b"",
        bytes(10),
        bytes.fromhex("0203013800bb80 00 0000 00".replace(" ", "")),
        OpusConfig(2).serialize()[:-1],
        SURROUND.serialize()[:-1],
        b"\x00\x00" + OpusConfig(2).serialize()[2:],
        b"\x00\x03" + OpusConfig(2).serialize()[2:],
        SURROUND.serialize()[:-1] + b"\x06",
        SURROUND.serialize()[:11] + b"\x00" + SURROUND.serialize()[12:],
        SURROUND.serialize()[:12] + b"\x05" + SURROUND.serialize()[13:],
    ],
)
def test_refuses_impossible_headers(dops: bytes) -> None:
    with pytest.raises(InvalidBitstream):
        OpusConfig.parse(dops)


def test_refuses_a_head_without_magic() -> None:
    with pytest.raises(InvalidBitstream):
        OpusConfig.from_head(OpusConfig(2).serialize())


@given(st.binary(max_size=40))
def test_garbage_headers_are_refused_or_read(data: bytes) -> None:
    try:
        config = OpusConfig.parse(data)
    except InvalidBitstream:
        return
    assert config.channels > 0


@pytest.mark.parametrize(
    ("packet", "samples"),
    [
        (b"\x00", 480),
        (b"\x18", 2880),
        (b"\x68", 960),
        (b"\x80", 120),
        (b"\xfc", 960),
        (b"\xfd..", 1920),
        (b"\xfe..", 1920),
        (b"\xff\x06......", 5760),
        (b"\x83\x30", 5760),
    ],
)
def test_duration_of_packets(packet: bytes, samples: int) -> None:
    assert packet_samples(packet) == samples


@pytest.mark.parametrize("packet", [b"", b"\xff", b"\xff\x00", b"\xff\x07", b"\x1b\x03"])
def test_refuses_packets_without_or_beyond_their_duration(packet: bytes) -> None:
    with pytest.raises(InvalidBitstream):
        packet_samples(packet)


def test_track() -> None:
    track = opus.track(AUDIO, OpusConfig(1, 312, 16000).serialize())

    assert (track.sample_rate, track.channels) == (48000, 1)
