import asyncio

from media.stream import AUDIO, VIDEO, Phase, Stream
from media.subscription import Subscription
from media.units import AccessUnit, Track
from tests.support.streams import audio_track, unit, video_track


def make() -> Stream:
    stream = Stream("demo", clock_origin=0.0, wall_origin=0.0)
    stream.set_track(video_track())
    stream.set_track(audio_track())
    return stream


async def drain(subscription: Subscription) -> list[AccessUnit | Track]:
    return [item async for item in subscription]


async def test_it_starts_with_the_cached_group_and_ends_with_the_stream() -> None:
    stream = make()
    stream.push(unit(0, keyframe=True))
    stream.push(unit(1))
    subscription = Subscription(stream)
    stream.push(unit(2))
    stream.enter(Phase.ENDED)

    items = await drain(subscription)

    assert items == [
        video_track(),
        audio_track(),
        unit(0, keyframe=True),
        unit(1),
        unit(2),
    ]


async def test_a_reader_waits_for_what_comes() -> None:
    stream = make()
    subscription = Subscription(stream, tracks=[AUDIO])
    reader = asyncio.create_task(drain(subscription))
    await asyncio.sleep(0)

    stream.push(unit(0, keyframe=True))
    stream.push(unit(5, track=AUDIO, keyframe=True))
    stream.enter(Phase.ENDED)

    assert await reader == [audio_track(), unit(5, track=AUDIO, keyframe=True)]


async def test_a_slow_reader_loses_whole_groups_and_no_memory() -> None:
    stream = make()
    subscription = Subscription(stream, max_bytes=1500)
    for dts in range(95):
        stream.push(unit(dts, keyframe=dts % 10 == 0, payload=b"x" * 90))
    stream.enter(Phase.ENDED)

    items = await drain(subscription)
    units = [item for item in items if isinstance(item, AccessUnit)]

    assert sum(len(u.payload) for u in units) <= 1500
    assert units[0].keyframe
    assert [u.dts for u in units] == list(range(80, 95))
    assert subscription.dropped == 95 - len(units)
    assert items[:2] == [video_track(), audio_track()]


async def test_parameters_that_change_all_the_time_cost_a_slow_reader_no_memory() -> None:
    stream = make()
    subscription = Subscription(stream, max_bytes=1500)
    for dts in range(100):
        stream.set_track(video_track(config=bytes((dts,)) * 200))
        stream.push(unit(dts, keyframe=True, payload=b"x" * 100))
    stream.enter(Phase.ENDED)

    items = await drain(subscription)

    videos = [item for item in items if isinstance(item, Track) and item.id == VIDEO]
    assert len(videos) <= 1500 // 200
    assert videos[-1] == stream.track(VIDEO)
    assert [item.dts for item in items if isinstance(item, AccessUnit)][-1] == 99


async def test_sound_goes_on_while_the_picture_waits_for_its_keyframe() -> None:
    stream = make()
    subscription = Subscription(stream)
    stream.push(unit(0))
    stream.push(unit(0, track=AUDIO, keyframe=True))
    stream.enter(Phase.ENDED)

    tracks = [item.track for item in await drain(subscription) if isinstance(item, AccessUnit)]

    assert tracks == [AUDIO]


async def test_after_a_gap_the_picture_starts_at_a_keyframe() -> None:
    stream = make()
    subscription = Subscription(stream, tracks=[VIDEO])
    stream.push(unit(0, keyframe=True))
    stream.gap()
    stream.push(unit(1))
    stream.push(unit(2, keyframe=True))
    stream.enter(Phase.ENDED)

    units = [item.dts for item in await drain(subscription) if isinstance(item, AccessUnit)]

    assert units == [0, 2]


async def test_close_leaves_the_stream_and_ends_the_iteration() -> None:
    stream = make()
    subscription = Subscription(stream)
    stream.push(unit(0, keyframe=True))

    subscription.close()

    assert stream.listeners == 0
    assert await drain(subscription) == []
