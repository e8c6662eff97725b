from media.gop import GopCache
from tests.support.streams import seconds, unit


def test_a_keyframe_starts_the_group_anew() -> None:
    cache = GopCache()
    for dts, keyframe in [(0, False), (1, True), (2, False), (3, True), (4, False)]:
        cache.add(unit(dts, keyframe=keyframe))

    assert [u.dts for u in cache.units] == [3, 4]


def test_a_group_too_large_is_forgotten_until_the_next_keyframe() -> None:
    cache = GopCache(max_bytes=10)
    cache.add(unit(0, keyframe=True, payload=b"x" * 8))
    cache.add(unit(1, payload=b"x" * 8))
    cache.add(unit(2))
    assert (list(cache.units), cache.size) == ([], 0)

    cache.add(unit(3, keyframe=True))
    assert len(cache.units) == 1


def test_a_group_too_long_is_forgotten() -> None:
    cache = GopCache(max_seconds=2)
    cache.add(unit(0, keyframe=True))
    cache.add(unit(seconds(2)))
    assert len(cache.units) == 2

    cache.add(unit(seconds(2) + 1))
    assert len(cache.units) == 0


def test_a_group_of_very_many_tiny_units_is_forgotten() -> None:
    cache = GopCache(max_units=3)
    for dts in range(4):
        cache.add(unit(dts, keyframe=dts == 0))

    assert len(cache.units) == 0
