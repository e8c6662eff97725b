"""The receiving half against a model: whatever comes in, what goes out is in order and once."""

import pytest
from hypothesis import given, strategies as st

from media.srt.delivery import DRIFT_SAMPLES, DeliveryClock
from media.srt.packets import DataPacket
from media.srt.receiver import Receiver

START = 0x7FFF_FFF0
WINDOW = 64
LATENCY = 1.0


def packet(number: int, *, retransmitted: bool = False) -> DataPacket:
    """The `number`-th packet of a stream that sends one each 10 ms and is about to wrap."""
    sequence = (START + number) & 0x7FFF_FFFF
    payload = number.to_bytes(4, "big", signed=True)
    return DataPacket(
        sequence, number * 10_000 & 0xFFFF_FFFF, 1, payload, retransmitted=retransmitted
    )


def receiver() -> Receiver:
    clock = DeliveryClock(arrived=0.0, timestamp=0, latency=LATENCY)
    return Receiver(initial_sequence=START, window=WINDOW, clock=clock)


def numbers(receiver: Receiver, now: float) -> list[int]:
    return [
        int.from_bytes(delivery.packet.payload, "big") for delivery in receiver.take_due(now=now)
    ]


def test_packets_leave_when_their_time_has_come() -> None:
    half = receiver()
    for number in range(3):
        half.store(packet(number), now=number * 0.01)

    assert half.next_due() == pytest.approx(1.0)
    assert numbers(half, 0.999) == []
    assert numbers(half, 1.011) == [0, 1]
    assert numbers(half, 1.021) == [2]
    assert half.next_due() is None


def test_a_gap_is_reported_at_once_and_again() -> None:
    half = receiver()
    for number in (0, 3, 4, 6):
        half.store(packet(number), now=0.1)

    assert half.fresh_losses(now=0.1) == [
        (START + 1, START + 2),
        (START + 5, START + 5),
    ]
    assert half.fresh_losses(now=0.1) == []
    assert half.stale_losses(now=0.12, older_than=0.05) == []
    assert half.stale_losses(now=0.2, older_than=0.05) == [
        (START + 1, START + 2),
        (START + 5, START + 5),
    ]
    assert half.acknowledged == START + 1


def test_a_gap_that_is_filled_moves_the_acknowledgement() -> None:
    half = receiver()
    for number in (0, 2, 1):
        half.store(packet(number, retransmitted=number == 1), now=0.1)

    assert half.acknowledged == START + 3
    assert not half.missing
    assert numbers(half, 2.0) == [0, 1, 2]
    assert half.dropped == 0


def test_a_gap_is_given_up_when_its_successor_is_due() -> None:
    half = receiver()
    for number in (0, 2):
        half.store(packet(number), now=0.1)

    deliveries = list(half.take_due(now=1.02))

    assert [delivery.dropped for delivery in deliveries] == [0, 1]
    assert half.acknowledged == START + 3
    half.store(packet(1, retransmitted=True), now=1.03)
    assert half.next_due() is None


def test_reordering_teaches_patience() -> None:
    half = receiver()
    for number in (0, 2, 3, 1, 4, 6):
        half.store(packet(number), now=0.1)
        half.fresh_losses(now=0.1)

    assert half.fresh_losses(now=0.1) == []
    half.store(packet(7), now=0.1)
    assert half.fresh_losses(now=0.1) == [(START + 5, START + 5)]


def test_a_drop_request_ends_the_waiting() -> None:
    half = receiver()
    half.store(packet(0), now=0.1)
    half.store(packet(5), now=0.1)

    half.forget(START + 1, START + 3)

    assert half.fresh_losses(now=0.1) == [(START + 4, START + 4)]
    assert half.acknowledged == START + 4


def test_a_drop_request_for_the_future_is_bounded() -> None:
    half = receiver()

    half.forget(START, (START + (1 << 29)) & 0x7FFF_FFFF)

    assert half.acknowledged == (START + WINDOW) & 0x7FFF_FFFF
    assert half.available >= 2


def test_packets_past_the_window_wait_for_room() -> None:
    half = receiver()
    half.store(packet(0), now=0.0)
    half.store(packet(WINDOW), now=0.0)

    assert half.acknowledged == START + 1
    assert not half.missing


def test_after_an_outage_longer_than_the_window_the_stream_goes_on() -> None:
    half = receiver()
    half.store(packet(0), now=0.0)
    assert numbers(half, 2.0) == [0]

    half.store(packet(1000), now=10.0)

    assert numbers(half, 12.0) == [1000]
    assert half.dropped == 999


@given(st.lists(st.integers(-5, WINDOW + 20), max_size=200), st.booleans())
def test_what_goes_out_rises_and_is_never_repeated(order: list[int], late: bool) -> None:
    half = receiver()
    out: list[int] = []
    for step, number in enumerate(order):
        now = step * 0.02
        half.store(packet(number), now=now)
        half.fresh_losses(now=now)
        if late:
            half.forget(START + number, START + number + 2)
        out += numbers(half, now)
        assert half.available <= WINDOW

    out += [int.from_bytes(delivery.packet.payload, "big") for delivery in half.take_all()]
    assert out == sorted(set(out))
    assert set(out) <= set(order)


def test_timestamps_wrap_after_71_minutes() -> None:
    clock = DeliveryClock(arrived=0.0, timestamp=0xFFFF_FF00, latency=LATENCY)

    assert clock.due(0xFFFF_FFFF, now=0.0) == pytest.approx(1.000255)
    assert clock.due(256, now=0.0) == pytest.approx(1.000512)


def test_an_encoder_with_another_clock_for_its_data_is_understood() -> None:
    clock = DeliveryClock(arrived=500.0, timestamp=0, latency=LATENCY)

    assert clock.due(3_000_000_000, now=500.1) == pytest.approx(501.1)
    assert clock.due(3_000_010_000, now=500.1) == pytest.approx(501.11)


def test_a_timestamp_from_the_future_does_not_block_the_stream() -> None:
    clock = DeliveryClock(arrived=0.0, timestamp=0, latency=LATENCY)
    clock.due(0, now=0.0)

    assert clock.due(2_000_000_000, now=0.0) == pytest.approx(2.0)


def test_the_clock_follows_the_senders_drift() -> None:
    clock = DeliveryClock(arrived=0.0, timestamp=0, latency=LATENCY)
    clock.due(0, now=0.0)
    for sample in range(DRIFT_SAMPLES):
        clock.observe(sample * 10_000, rtt=0.1, now=sample * 0.01 + 0.004)

    assert clock.due(20_000_000, now=20.0) == pytest.approx(21.004)
