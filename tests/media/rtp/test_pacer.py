"""How fast a group of pictures is fed."""

from hypothesis import given, settings, strategies as st

from media.rtp.pacer import MIN_RATE, TICK, Pacer


def feed(pacer: Pacer, *, seconds: float, frame: int, step: float = TICK) -> int:
    """Bytes that go in this time."""
    total = 0
    for turn in range(round(seconds / step) + 1):
        while pacer.may_send(turn * step):
            pacer.sent(frame)
            total += frame
    return total


def test_the_first_frame_goes_at_once_and_the_next_waits_for_it() -> None:
    pacer = Pacer(bitrate=0)

    assert pacer.may_send(5.0)
    pacer.sent(100_000)

    assert not pacer.may_send(5.0)
    assert not pacer.may_send(5.079)
    assert pacer.may_send(5.081)


@given(st.floats(0, 50_000_000), st.integers(500, 30_000))
@settings(max_examples=30)
def test_the_rate_is_the_larger_of_a_floor_and_three_times_the_streams(
    bitrate: float, frame: int
) -> None:
    rate = max(MIN_RATE, 3 * bitrate) / 8

    sent = feed(Pacer(bitrate=bitrate), seconds=2.0, frame=frame)

    assert 2.0 * rate - frame <= sent <= 2.0 * rate + 2 * frame


def test_time_that_was_not_used_does_not_make_a_burst() -> None:
    pacer = Pacer(bitrate=0)
    assert pacer.may_send(0.0)

    assert pacer.may_send(60.0)
    burst = 0
    while pacer.may_send(60.0):
        pacer.sent(1000)
        burst += 1000

    assert burst <= 2 * TICK * MIN_RATE / 8 + 1000
