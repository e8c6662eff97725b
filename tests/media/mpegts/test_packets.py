import pytest
from hypothesis import given, strategies as st

from media.mpegts.packets import PACKET_SIZE, PacketWriter, PidStream
from tests.support.mpegts import packets

DISCONTINUITY = b"\x80"


class Heard:
    """Writes down what a `PidStream` passes on."""

    def __init__(self) -> None:
        self.payloads: list[tuple[bytes, bool]] = []
        self.losses: list[bool] = []

    def payload(self, data: bytes, start: bool) -> None:
        self.payloads.append((data, start))

    def lost(self, *, counted: bool) -> None:
        self.losses.append(counted)


def hear(*stream: bytes) -> tuple[Heard, PidStream]:
    heard = Heard()
    taker = PidStream(heard)
    for packet in stream:
        taker.take(packet, 0)
    return heard, taker


@given(st.binary(min_size=1, max_size=1000), st.booleans())
def test_what_is_written_reads_back(data: bytes, with_adaptation: bool) -> None:
    adaptation = b"\x40" if with_adaptation else b""

    stream = PacketWriter(0x123).write(data, adaptation)

    heard, taker = hear(*packets(stream))
    assert b"".join(piece for piece, _ in heard.payloads) == data
    assert [start for _, start in heard.payloads] == [True] + [False] * (len(heard.payloads) - 1)
    assert (taker.errors, heard.losses) == (0, [])
    assert len(stream) % PACKET_SIZE == 0


@pytest.mark.parametrize("size", [182, 183, 184, 185, 367, 368, 369])
def test_sizes_around_a_packets_edge(size: int) -> None:
    data = bytes(index % 256 for index in range(size))

    heard, _ = hear(*packets(PacketWriter(1).write(data)))

    assert b"".join(piece for piece, _ in heard.payloads) == data


def twenty() -> list[bytes]:
    writer = PacketWriter(0x40)
    return [writer.write(bytes((index,)) * 184) for index in range(20)]


def test_a_gap_is_an_error_and_told() -> None:
    stream = twenty()

    heard, taker = hear(*stream[:3], *stream[5:])

    assert taker.errors == 1
    assert heard.losses == [True]
    assert len(heard.payloads) == 18


def test_a_repeated_packet_is_left_out() -> None:
    stream = twenty()

    heard, taker = hear(stream[0], stream[0], *stream[1:])

    assert taker.errors == 0
    assert len(heard.payloads) == 20


def test_the_same_count_with_another_content_is_an_error() -> None:
    stream = twenty()

    heard, taker = hear(stream[0], stream[16], stream[17])

    assert taker.errors == 1
    assert len(heard.payloads) == 3


def test_a_gap_that_is_announced_is_told_but_no_error() -> None:
    writer = PacketWriter(0x40)
    before = writer.write(b"a" * 184)
    writer.write(b"b" * 184)
    after = writer.write(b"c" * 180, DISCONTINUITY)

    heard, taker = hear(before, after)

    assert taker.errors == 0
    assert heard.losses == [False]


def test_an_announcement_without_payload_forgives_the_next_gap() -> None:
    writer = PacketWriter(0x40)
    before = writer.write(b"a" * 184)
    writer.write(b"b" * 184)
    announcement = writer.write_adaptation(DISCONTINUITY)

    _, taker = hear(before, announcement, writer.write(b"c" * 184))

    assert taker.errors == 0


@pytest.mark.parametrize(("index", "bit"), [(1, 0x80), (3, 0x40), (3, 0x80)])
def test_damaged_and_scrambled_packets_are_dropped(index: int, bit: int) -> None:
    stream = twenty()
    bad = bytearray(stream[1])
    bad[index] |= bit

    heard, taker = hear(stream[0], bytes(bad), stream[2])

    assert [piece for piece, _ in heard.payloads] == [stream[0][4:], stream[2][4:]]
    assert taker.errors == 1
    assert taker.scrambled == (index == 3)


def test_an_adaptation_field_longer_than_the_packet_leaves_no_payload() -> None:
    packet = bytes((0x47, 0, 0x40, 0x30, 255)) + bytes(183)

    heard, _ = hear(packet)

    assert heard.payloads == []


def test_packets_without_payload_do_not_count() -> None:
    writer = PacketWriter(0x40)
    stream = [writer.write(b"a" * 184), writer.write_adaptation(b"\x00"), writer.write(b"b" * 184)]

    heard, taker = hear(*stream)

    assert [len(packet) for packet in stream] == [188, 188, 188]
    assert (len(heard.payloads), taker.errors) == (2, 0)
