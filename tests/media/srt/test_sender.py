import pytest
from hypothesis import given, strategies as st

from media.srt.packets import DataPacket
from media.srt.sender import MAX_PENDING, PACE_PACKETS, PACE_S, Sender

START = 0x7FFF_FFFE
PROBE_S = 9.0


def sender(*, window: int = 8192, latency: float = 0.12) -> Sender:
    return Sender(
        initial_sequence=START,
        window=window,
        latency=latency,
        destination=5,
        encrypt=None,
        timestamp=lambda now: int(now * 1e6),
    )


def sent(half: Sender, count: int, *, now: float = 0.0) -> list[DataPacket]:
    for number in range(count):
        half.queue(bytes([number & 0xFF]))
    return half.transmit(now=now, probe_after=PROBE_S)


def test_packets_leave_at_once_with_the_time_of_leaving() -> None:
    packets = sent(sender(), 3, now=1.5)

    assert [packet.sequence for packet in packets] == [START, START + 1, 0]
    assert {packet.timestamp for packet in packets} == {1_500_000}
    assert [packet.message for packet in packets] == [1, 2, 3]


def test_a_burst_is_spread() -> None:
    half = sender()

    first = sent(half, 3 * PACE_PACKETS)

    assert PACE_PACKETS <= len(first) < 2 * PACE_PACKETS
    assert half.transmit(now=PACE_S / 2, probe_after=PROBE_S) == []
    assert half.next_timer(probe_after=PROBE_S) == pytest.approx(PACE_S)
    assert len(half.transmit(now=PACE_S, probe_after=PROBE_S)) >= PACE_PACKETS


def test_a_lost_packet_is_sent_again_but_not_too_often() -> None:
    half = sender()
    sent(half, 3)

    again, gone = half.retransmit([(START, START)], now=0.2, interval=0.1)
    assert [(packet.sequence, packet.retransmitted) for packet in again] == [(START, True)]
    assert again[0].timestamp == 0
    assert gone == []
    assert half.retransmit([(START, START)], now=0.25, interval=0.1) == ([], [])
    assert len(half.retransmit([(START, 0)], now=0.31, interval=0.1)[0]) == 3


def test_acknowledged_packets_are_forgotten_and_asked_for_in_vain() -> None:
    half = sender()
    sent(half, 3)

    half.acknowledge(START + 1)

    again, gone = half.retransmit([(START, START + 1)], now=1.0, interval=0.1)
    assert [packet.sequence for packet in again] == [START + 1]
    assert gone == [(START, START)]


def test_an_acknowledgement_of_what_was_never_sent_changes_nothing() -> None:
    half = sender()
    sent(half, 1)

    half.acknowledge(100)

    assert len(half.retransmit([(START, START)], now=1.0, interval=0.1)[0]) == 1


def test_packets_that_would_come_too_late_are_given_up() -> None:
    half = sender(latency=2.0)
    sent(half, 2)
    assert half.next_timer(probe_after=PROBE_S) == pytest.approx(2.5)

    half.transmit(now=2.5, probe_after=PROBE_S)

    assert half.retransmit([(START, START + 1)], now=2.5, interval=0.1) == (
        [],
        [(START, START + 1)],
    )
    assert half.dropped == 2


def test_no_more_is_in_flight_than_the_peer_allows() -> None:
    half = sender(window=4)

    assert len(sent(half, 10)) == 4
    half.acknowledge(0)
    assert len(half.transmit(now=0.1, probe_after=PROBE_S)) == 2


def test_what_waits_is_bounded() -> None:
    half = sender(window=1)

    sent(half, MAX_PENDING + 10)

    assert half.dropped == 10
    assert half.transmit(now=0.5, probe_after=PROBE_S) == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ack"), st.integers(-10, 60), st.just(0)),
            st.tuples(st.just("nak"), st.integers(-100, 60), st.integers(0, 10_000)),
            st.tuples(st.just("send"), st.integers(0, 20), st.just(0)),
        ),
        max_size=50,
    )
)
def test_any_reports_leave_it_sound(steps: list[tuple[str, int, int]]) -> None:
    half = sender()
    now = 0.0
    for what, number, length in steps:
        now += 0.05
        first = (START + number) & 0x7FFF_FFFF
        if what == "ack":
            half.acknowledge(first)
        elif what == "send":
            sent(half, number, now=now)
        else:
            last = (first + length) & 0x7FFF_FFFF
            again, gone = half.retransmit([(first, last)] * 9, now=now, interval=0.01)
            assert len({packet.sequence for packet in again}) == len(again)
            assert len(gone) <= 8


def test_the_last_packet_is_sent_again_when_nobody_acknowledges_it() -> None:
    half = sender(latency=9.0)
    sent(half, 2)
    assert half.next_timer(probe_after=0.3) == pytest.approx(0.3)
    assert half.transmit(now=0.2, probe_after=0.3) == []

    (again,) = half.transmit(now=0.3, probe_after=0.3)

    assert (again.sequence, again.retransmitted) == (START + 1, True)
    half.acknowledge(0)
    assert half.next_timer(probe_after=0.3) is None
