"""RTP packets, with aiortc's parser as the other opinion."""

import pytest
from aiortc.rtp import RtpPacket as AiortcPacket, unpack_header_extensions
from hypothesis import given, strategies as st

from media.rtp.packet import (
    ONE_BYTE,
    TWO_BYTE,
    RtpError,
    RtpPacket,
    is_rtcp,
    nearest,
    parse_extensions,
    serialize_extensions,
)

words = st.integers(0, 0xFFFFFFFF)
extensions = st.one_of(
    st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=8),
    st.dictionaries(st.integers(1, 255), st.binary(max_size=255), max_size=4),
)
packets = st.builds(
    RtpPacket,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=words,
    ssrc=words,
    payload=st.binary(max_size=100),
    marker=st.booleans(),
    csrcs=st.lists(words, max_size=15).map(tuple),
    extensions=extensions,
)


@given(packets)
def test_parses_what_it_writes(packet: RtpPacket) -> None:
    assert RtpPacket.parse(packet.serialize()) == packet


@given(packets)
def test_aiortc_reads_the_same(packet: RtpPacket) -> None:
    other = AiortcPacket.parse(packet.serialize())

    assert other.payload_type == packet.payload_type
    assert other.sequence_number == packet.sequence
    assert other.timestamp == packet.timestamp
    assert other.ssrc == packet.ssrc
    assert other.marker == packet.marker
    assert tuple(other.csrc) == packet.csrcs
    assert other.payload == packet.payload


@given(extensions.filter(bool))
def test_aiortc_reads_the_same_extensions(elements: dict[int, bytes]) -> None:
    data = serialize_extensions(elements)

    profile = int.from_bytes(data[:2], "big")

    assert dict(unpack_header_extensions(profile, data[4:])) == elements


def test_takes_padding_off() -> None:
    plain = RtpPacket(96, 1, 2, 3, b"payload").serialize()
    padded = bytes((plain[0] | 0x20,)) + plain[1:] + b"\0\0\3"

    assert RtpPacket.parse(padded).payload == b"payload"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(11),
        bytes(12),
        bytes.fromhex("8f60000100000002000000030000"),
        bytes.fromhex("906000010000000200000003"),
        bytes.fromhex("906000010000000200000003bede0001"),
        bytes.fromhex("a0600001000000020000000300"),
        bytes.fromhex("a0600001000000020000000309"),
    ],
)
def test_refuses_what_is_cut_off(data: bytes) -> None:
    with pytest.raises(RtpError):
        RtpPacket.parse(data)


@given(st.binary(max_size=80))
def test_random_bytes_are_a_packet_or_the_peers_fault(data: bytes) -> None:
    try:
        packet = RtpPacket.parse(data)
    except RtpError:
        return
    assert len(packet.payload) <= len(data) - 12


@given(st.sampled_from((ONE_BYTE, TWO_BYTE, 0x1234)), st.binary(max_size=60))
def test_broken_extensions_end_the_list(profile: int, data: bytes) -> None:
    elements = parse_extensions(profile, data)

    assert sum(len(value) for value in elements.values()) <= len(data)


@pytest.mark.parametrize(
    ("second", "control"), [(191, False), (192, True), (200, True), (223, True), (224, False)]
)
def test_tells_control_packets_by_their_type(second: int, control: bool) -> None:
    assert is_rtcp(bytes((0x80, second))) is control


@given(st.integers(0, 1 << 48), st.integers(-0x7FFF, 0x7FFF))
def test_finds_the_nearest_number(index: int, distance: int) -> None:
    assert nearest(index, (index + distance) & 0xFFFF) == index + distance
