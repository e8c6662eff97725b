import pytest
from hypothesis import given, strategies as st

from media.mpegts.packets import CLOCK_WRAP
from media.mpegts.pes import MAX_PES, STREAM_VIDEO, PesAssembler, PesHeader, parse_header, pes

times = st.integers(0, CLOCK_WRAP - 1)
Packet = tuple[int | None, int | None, bytes]


class Heard:
    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self.heads: list[bytes] = []
        self.losses = 0

    def head(self, payload: bytes) -> None:
        self.heads.append(payload)

    def pes(self, pts: int | None, dts: int | None, payload: bytes) -> None:
        self.packets.append((pts, dts, payload))

    def lost(self) -> None:
        self.losses += 1

    def finish(self) -> None:
        self.losses += 1000


def unbounded(pts: int, payload: bytes) -> bytes:
    packet = bytearray(pes(STREAM_VIDEO, pts, pts, payload))
    packet[4:6] = b"\x00\x00"
    return bytes(packet)


@given(times, times, st.binary(max_size=300))
def test_headers_read_back(pts: int, dts: int, payload: bytes) -> None:
    packet = pes(STREAM_VIDEO, pts, dts, payload)

    header = parse_header(packet)

    assert header == PesHeader(pts, dts, 14 if pts == dts else 19)
    assert packet[header.size :] == payload


def test_times_wrap() -> None:
    header = parse_header(pes(STREAM_VIDEO, CLOCK_WRAP + 5, CLOCK_WRAP - 5, b""))

    assert header == PesHeader(5, CLOCK_WRAP - 5, 19)


def test_long_payloads_leave_their_length_open() -> None:
    assert pes(STREAM_VIDEO, 0, 0, bytes(70_000))[4:6] == b"\x00\x00"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x01\xe0\x00\x00\x80\x80",
        b"\x00\x00\x02\xe0\x00\x00\x80\x00\x00",
        b"\x00\x00\x01\xe0\x00\x00\x40\x00\x00",
        b"\x00\x00\x01\xbe\x00\x00\x80\x00\x00",
        b"\x00\x00\x01\xe0\x00\x00\x80\x80\x05abcd",
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    assert parse_header(data) is None


def test_a_header_whose_times_do_not_fit_has_none() -> None:
    assert parse_header(b"\x00\x00\x01\xe0\x00\x00\x80\xc0\x00") == PesHeader(None, None, 9)


@given(st.binary(min_size=1, max_size=400), st.lists(st.integers(1, 184), min_size=1))
def test_a_packet_with_its_length_is_given_as_soon_as_it_is_whole(
    payload: bytes, cuts: list[int]
) -> None:
    heard = Heard()
    assembler = PesAssembler(heard)
    rest, start = pes(STREAM_VIDEO, 9, 9, payload), True

    while rest:
        assert heard.packets == []
        size = cuts.pop() if cuts else 184
        assembler.payload(rest[:size], start)
        rest, start = rest[size:], False

    assert heard.packets == [(9, 9, payload)]
    assert (heard.losses, assembler.damaged) == (0, 0)


def test_a_packet_without_length_ends_where_the_next_begins() -> None:
    heard = Heard()
    assembler = PesAssembler(heard)

    assembler.payload(unbounded(1, b"first"), True)
    assembler.payload(b" goes on", False)
    assert heard.packets == []
    assembler.payload(unbounded(2, b"second"), True)

    assert heard.packets == [(1, 1, b"first goes on")]
    assert heard.heads == [b"first", b"second"]


def test_what_follows_a_loss_is_dropped_up_to_the_next_packet() -> None:
    heard = Heard()
    assembler = PesAssembler(heard)

    assembler.payload(unbounded(1, b"first"), True)
    assembler.lost(counted=True)
    assembler.payload(b"rest", False)
    assembler.payload(unbounded(2, b"second"), True)
    assembler.payload(unbounded(3, b"third"), True)

    assert heard.packets == [(2, 2, b"second")]
    assert (heard.losses, assembler.damaged) == (1, 1)


def test_a_loss_between_packets_damages_none() -> None:
    heard = Heard()
    assembler = PesAssembler(heard)

    assembler.payload(pes(STREAM_VIDEO, 1, 1, b"whole"), True)
    assembler.lost(counted=True)

    assert (heard.losses, assembler.damaged) == (1, 0)


def test_a_packet_shorter_than_it_says_is_dropped() -> None:
    heard = Heard()
    assembler = PesAssembler(heard)

    assembler.payload(pes(STREAM_VIDEO, 1, 1, bytes(100))[:50], True)
    assembler.payload(unbounded(2, b"second"), True)
    assembler.finish()

    assert heard.packets == [(2, 2, b"second")]
    assert assembler.damaged == 1


def test_what_follows_the_length_is_no_payload() -> None:
    heard = Heard()

    PesAssembler(heard).payload(pes(STREAM_VIDEO, 1, 1, b"whole") + b"\xff\xff", True)

    assert heard.packets == [(1, 1, b"whole")]


def test_endless_packets_are_dropped_and_forgotten() -> None:
    heard = Heard()
    assembler = PesAssembler(heard)

    assembler.payload(unbounded(1, b""), True)
    for _ in range(MAX_PES // 65_536 + 1):
        assembler.payload(bytes(65_536), False)
    assembler.payload(b"more", False)
    assembler.payload(unbounded(2, b"next"), True)
    assembler.finish()

    assert heard.packets == [(2, 2, b"next")]
    assert assembler.damaged == 1
