import pytest
from hypothesis import given, strategies as st

from configs.kernel.errors import PeerError
from media.srt.packets import (
    HEADER,
    MAX_LOSS_WORDS,
    Acknowledgement,
    ControlPacket,
    ControlType,
    DataPacket,
    pack_losses,
    pack_range,
    parse,
    parse_losses,
    parse_range,
    unwrap_sequence,
    unwrap_timestamp,
)

SEQUENCES = st.integers(0, 0x7FFF_FFFF)
WORDS = st.integers(0, 0xFFFF_FFFF)


@given(
    st.builds(
        DataPacket,
        SEQUENCES,
        WORDS,
        WORDS,
        st.binary(max_size=1456),
        st.integers(0, 2),
        st.integers(0, (1 << 26) - 1),
        st.booleans(),
    )
)
def test_data_packets_survive_the_wire(packet: DataPacket) -> None:
    assert parse(packet.serialize()) == packet


@given(
    st.builds(
        ControlPacket,
        st.sampled_from(ControlType),
        WORDS,
        WORDS,
        WORDS,
        st.binary(max_size=1456),
        st.integers(0, 0xFFFF),
    )
)
def test_control_packets_survive_the_wire(packet: ControlPacket) -> None:
    assert parse(packet.serialize()) == packet


@given(st.binary(max_size=1600))
def test_random_datagrams_are_packets_or_peer_errors(data: bytes) -> None:
    try:
        packet = parse(data)
    except PeerError:
        return
    assert packet.serialize()[8:] == data[8:]


def test_a_data_packet_has_the_layout_of_section_3_1() -> None:
    packet = DataPacket(0x0102_0304, 0x0506_0708, 0x090A_0B0C, b"x", 2, 5, retransmitted=True)

    assert packet.serialize() == bytes.fromhex("01020304 d4000005 05060708 090a0b0c") + b"x"


@given(st.lists(st.tuples(SEQUENCES, st.integers(0, 100)), max_size=MAX_LOSS_WORDS // 2))
def test_loss_lists_survive_the_wire(pairs: list[tuple[int, int]]) -> None:
    ranges = [(first, (first + length) & 0x7FFF_FFFF) for first, length in pairs]

    assert parse_losses(pack_losses(ranges)) == ranges


def test_a_loss_list_is_cut_where_the_packet_ends() -> None:
    assert len(pack_losses([(n, n + 1) for n in range(0, 4000, 3)])) <= 1456


@pytest.mark.parametrize(
    "words",
    ["80000001", "80000001 80000002", "80000005 00000001"],
    ids=["open", "two starts", "backwards"],
)
def test_broken_loss_lists_are_refused(words: str) -> None:
    with pytest.raises(PeerError):
        parse_losses(bytes.fromhex(words))


@given(st.binary(max_size=1456))
def test_random_bodies_are_lists_or_peer_errors(body: bytes) -> None:
    for parser in (parse_losses, parse_range, Acknowledgement.parse):
        try:
            parser(body)
        except PeerError:
            continue


@given(SEQUENCES, st.integers(0, 1000))
def test_drop_requests_survive_the_wire(first: int, length: int) -> None:
    last = (first + length) & 0x7FFF_FFFF

    assert parse_range(pack_range(first, last)) == (first, last)


@given(
    st.builds(Acknowledgement, SEQUENCES, st.just(True), WORDS, WORDS, WORDS, WORDS, WORDS, WORDS)
)
def test_acknowledgements_survive_the_wire(acknowledgement: Acknowledgement) -> None:
    assert Acknowledgement.parse(acknowledgement.serialize()) == acknowledgement


def test_a_light_acknowledgement_is_the_sequence_number_alone() -> None:
    light = Acknowledgement(7, full=False)

    assert light.serialize() == b"\0\0\0\7"
    assert Acknowledgement.parse(light.serialize()) == light


@given(st.integers(0, 1 << 40), st.integers(-(1 << 30) + 1, (1 << 30) - 1))
def test_sequence_numbers_are_unwrapped_to_the_nearest(near: int, distance: int) -> None:
    assert unwrap_sequence((near + distance) & 0x7FFF_FFFF, near) == near + distance


@given(st.integers(0, 1 << 40), st.integers(-(1 << 31) + 1, (1 << 31) - 1))
def test_timestamps_are_unwrapped_to_the_nearest(near: int, distance: int) -> None:
    assert unwrap_timestamp((near + distance) & 0xFFFF_FFFF, near) == near + distance


def test_a_datagram_longer_than_an_ethernet_frame_is_refused() -> None:
    with pytest.raises(PeerError):
        parse(HEADER.pack(0, 0, 0, 1) + bytes(1485))
