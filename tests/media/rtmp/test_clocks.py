from hypothesis import given, strategies as st

from media.rtmp.clocks import TOLERANCE_TICKS, MillisecondClock, SampleClock


@given(st.integers(0, 2**40), st.lists(st.integers(-(2**29), 2**29), max_size=50))
def test_steps_survive_the_wrap(start: int, steps: list[int]) -> None:
    clock = MillisecondClock()
    real = start + 2**40
    offset = clock.unwrap(real % 2**32) - real

    for step in steps:
        real += step
        assert clock.unwrap(real % 2**32) - real == offset


def test_frames_in_tolerance_are_put_one_behind_the_other() -> None:
    clock = SampleClock()

    placed = [
        clock.place(index * 1800 + (index % 3 - 1) * 80, samples=960, rate=48000)
        for index in range(9)
    ]

    assert placed == [-80 + index * 1800 for index in range(9)]


def test_a_gap_starts_anew() -> None:
    clock = SampleClock()
    clock.place(0, samples=960, rate=48000)

    assert clock.place(1800 + TOLERANCE_TICKS, samples=960, rate=48000) == 1800
    assert clock.place(3600 + TOLERANCE_TICKS + 1, samples=960, rate=48000) == (
        3600 + TOLERANCE_TICKS + 1
    )
    assert clock.place(0, samples=960, rate=48000) == 0


def test_another_rate_starts_anew() -> None:
    clock = SampleClock()
    clock.place(0, samples=1024, rate=48000)

    assert clock.place(1900, samples=1024, rate=44100) == 1900
