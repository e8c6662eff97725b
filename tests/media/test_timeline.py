from hypothesis import given, strategies as st

from media.stream import AUDIO, VIDEO
from media.timeline import MAX_FORWARD, Timeline
from media.units import TrackId
from tests.support.streams import seconds, unit


def test_the_first_unit_is_anchored_at_now_and_distances_are_kept() -> None:
    timeline = Timeline()

    first = timeline.map(unit(5000, pts=8000), now=700)
    sound = timeline.map(unit(5100, track=AUDIO), now=705)

    assert (first.unit.dts, first.unit.pts, first.jumped) == (700, 3700, False)
    assert sound.unit.dts == 800


def test_sound_that_began_before_the_first_picture_keeps_its_distance() -> None:
    timeline = Timeline(floor=0)
    timeline.map(unit(9000), now=5000)

    assert timeline.map(unit(8100, track=AUDIO), now=5000).unit.dts == 4100


def test_a_repeated_or_slightly_earlier_dts_is_pushed_on() -> None:
    timeline = Timeline()
    timeline.map(unit(1000), now=0)

    again = timeline.map(unit(1000), now=0)
    earlier = timeline.map(unit(990), now=0)

    assert (again.unit.dts, earlier.unit.dts) == (1, 2)
    assert not earlier.jumped


def test_a_jump_back_is_anchored_anew_at_the_present() -> None:
    timeline = Timeline()
    timeline.map(unit(seconds(100)), now=0)

    mapped = timeline.map(unit(0), now=seconds(5))
    following = timeline.map(unit(3000), now=seconds(5))

    assert mapped.jumped
    assert mapped.unit.dts == seconds(5)
    assert following.unit.dts == seconds(5) + 3000


def test_a_jump_ahead_is_told_once_for_both_tracks() -> None:
    timeline = Timeline()
    timeline.map(unit(0), now=0)
    timeline.map(unit(0, track=AUDIO), now=0)
    far = MAX_FORWARD + 5

    jumps = [
        timeline.map(unit(far), now=seconds(1)).jumped,
        timeline.map(unit(far + 10, track=AUDIO), now=seconds(1)).jumped,
    ]

    assert jumps == [True, False]


def test_a_jump_never_falls_behind_what_was_handed_out() -> None:
    timeline = Timeline()
    timeline.map(unit(0), now=0)
    ahead = timeline.map(unit(seconds(9)), now=0).unit.dts

    mapped = timeline.map(unit(0), now=10)

    assert mapped.unit.dts > ahead


@given(
    st.lists(
        st.tuples(
            st.sampled_from([VIDEO, AUDIO]),
            st.integers(-(2**34), 2**34),
            st.integers(0, 90_000),
            st.integers(0, 9_000),
        ),
        max_size=60,
    ),
    st.integers(0, 2**33),
)
def test_dts_rises_strictly_in_each_track_whatever_comes(
    steps: list[tuple[TrackId, int, int, int]], floor: int
) -> None:
    timeline = Timeline(floor=floor)
    now = 0
    last: dict[TrackId, int] = {}

    for track, dts, composition, elapsed in steps:
        now += elapsed
        mapped = timeline.map(unit(dts, track=track, pts=dts + composition), now=now).unit
        assert mapped.dts > last.get(track, floor - 1)
        assert mapped.pts >= mapped.dts
        last[track] = mapped.dts
