"""What can be begun with and sent again, and what is forgotten."""

from media.rtp.packet_cache import Cut, PacketCache
from media.units import CLOCK_RATE


def cache(*, retention: float = 1.0, max_bytes: int = 1 << 20) -> PacketCache:
    return PacketCache(marks=True, retention=retention, max_bytes=max_bytes)


def add(to: PacketCache, seconds: float, *, keyframe: bool = False, packets: int = 2) -> Cut:
    ticks = round(seconds * CLOCK_RATE)
    fragments = tuple(bytes(100) for _ in range(packets))
    return to.add(fragments, timestamp=ticks, dts=ticks, keyframe=keyframe)


def test_numbers_cuts_and_packets_without_gaps() -> None:
    kept = cache()

    cuts = [add(kept, n / 30, packets=n + 1) for n in range(4)]

    assert [(cut.number, cut.first) for cut in cuts] == [(0, 0), (1, 1), (2, 3), (3, 6)]
    assert (kept.next_number, kept.next_packet) == (4, 10)
    assert all(kept.cut(cut.number) is cut for cut in cuts)
    assert kept.packet(5) == (cuts[2], 2)
    assert kept.packet(9) == (cuts[3], 3)
    assert kept.packet(10) is None


def test_forgets_what_is_older_than_its_time() -> None:
    kept = cache(retention=1.0)

    for n in range(60):
        add(kept, n / 30)

    assert kept.cut(28) is None
    assert kept.packet(57) is None
    assert kept.cut(29) is not None
    assert kept.bytes == 31 * 200


def test_keeps_the_newest_group_however_old() -> None:
    kept = cache(retention=1.0)
    keyframe = add(kept, 0, keyframe=True)

    for n in range(1, 300):
        add(kept, n / 30)

    assert kept.keyframe == keyframe.number
    assert kept.cut(keyframe.number) is keyframe


def test_the_group_before_the_newest_goes_with_its_time() -> None:
    kept = cache(retention=1.0)
    add(kept, 0, keyframe=True)
    add(kept, 1, keyframe=True)
    assert kept.cut(0) is not None

    add(kept, 2.1)

    assert kept.cut(0) is None
    assert kept.keyframe == 1


def test_a_group_that_outgrows_the_bound_cannot_be_begun_with() -> None:
    kept = cache(max_bytes=1000)
    add(kept, 0, keyframe=True)

    for n in range(1, 10):
        add(kept, n / 30)

    assert kept.keyframe is None
    assert kept.bytes <= 1000


def test_after_a_gap_nobody_begins_with_the_old_group() -> None:
    kept = cache()
    add(kept, 0, keyframe=True)

    kept.forget_group()

    assert kept.keyframe is None
    assert kept.packet(0) is not None


def test_tells_the_bitrate() -> None:
    kept = cache()
    assert kept.bitrate() == 0.0

    for n in range(31):
        add(kept, n / 30)

    assert kept.bitrate() == 31 * 200 * 8
