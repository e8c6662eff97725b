from hypothesis import given, strategies as st

from media.mpegts.packets import CLOCK_WRAP
from media.mpegts.times import Unwrapper

HOUR = 3600 * 90_000


@given(
    st.integers(0, CLOCK_WRAP - 1),
    st.lists(st.tuples(st.integers(-HOUR, HOUR), st.integers(0, HOUR)), max_size=50),
)
def test_times_go_on_past_33_bits(start: int, steps: list[tuple[int, int]]) -> None:
    clock = Unwrapper()
    assert clock.unwrap(start, start) == (start, start)

    now = start
    for step, reorder in steps:
        now += step
        pts, dts = clock.unwrap((now + reorder) % CLOCK_WRAP, now % CLOCK_WRAP)
        assert (pts, dts) == (now + reorder, now)


def test_two_tracks_pass_the_end_together() -> None:
    clock = Unwrapper()
    end = CLOCK_WRAP - 10

    video = [clock.unwrap(end, end), clock.unwrap(20, 20)]
    audio = [clock.unwrap(end + 5, end + 5), clock.unwrap(15, 15)]

    assert [dts - end for _, dts in video] == [0, 30]
    assert [dts - end for _, dts in audio] == [5, 25]


def test_a_pts_may_be_past_the_end_before_its_dts() -> None:
    assert Unwrapper().unwrap(100, CLOCK_WRAP - 100) == (CLOCK_WRAP + 100, CLOCK_WRAP - 100)
