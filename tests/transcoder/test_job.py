import queue

import pytest

from media.stream import AUDIO, AUDIO_OPUS, VIDEO
from media.units import CLOCK_RATE, AccessUnit, Codec, Track
from tests.support.transcoder import sound, tone
from transcoder.job import MAX_BACKLOG_BYTES, Backlog, Item, Job
from transcoder.wire import Message, SourceGap, StartJob

TRACK = Track(VIDEO, Codec.H264, b"")


def unit(seconds: float, *, keyframe: bool = False, size: int = 10) -> AccessUnit:
    ticks = round(seconds * CLOCK_RATE)
    return AccessUnit(VIDEO, ticks, ticks, keyframe, bytes(size))


def taken(backlog: Backlog) -> list[Item]:
    items = []
    while (item := backlog.take()) is not None:
        items.append(item)
    return items


def test_gives_items_in_order() -> None:
    items: list[Item] = [TRACK, unit(0, keyframe=True), SourceGap(), unit(0.1)]
    backlog = Backlog()

    for item in items:
        backlog.put(item)

    assert taken(backlog) == items
    assert backlog.dropped == 0
    assert backlog.newest_dts == CLOCK_RATE // 10


def test_a_group_that_is_too_late_gives_way_to_the_newest_keyframe() -> None:
    backlog = Backlog()
    backlog.put(TRACK)
    backlog.put(unit(0, keyframe=True))
    for index in range(1, 30):
        backlog.put(unit(index / 10))

    backlog.put(unit(3, keyframe=True))
    backlog.put(unit(3.1))

    assert taken(backlog) == [TRACK, SourceGap(), unit(3, keyframe=True), unit(3.1)]
    assert backlog.dropped == 30


def test_too_many_bytes_go_until_the_next_keyframe() -> None:
    backlog = Backlog()
    backlog.put(unit(0, keyframe=True, size=MAX_BACKLOG_BYTES))
    backlog.put(unit(0.1))
    backlog.put(unit(0.2))
    backlog.put(unit(0.3, keyframe=True))

    assert taken(backlog) == [SourceGap(), unit(0.3, keyframe=True)]
    assert backlog.dropped == 3


def test_parameters_that_wait_are_not_lost_with_the_units() -> None:
    newer = Track(VIDEO, Codec.H264, b"newer")
    backlog = Backlog()
    backlog.put(TRACK)
    backlog.put(unit(0, keyframe=True, size=MAX_BACKLOG_BYTES // 2))
    backlog.put(newer)
    backlog.put(unit(1, size=MAX_BACKLOG_BYTES))

    assert taken(backlog) == [newer, SourceGap()]


def test_a_job_makes_what_it_was_ordered_and_counts() -> None:
    sent: queue.Queue[Message] = queue.Queue()
    track, units = sound(tone(seconds=1))
    job = Job(StartJob(AUDIO, AUDIO_OPUS, Codec.OPUS, -1), sent.put)
    job.offer(track)
    for item in units:
        job.offer(item)

    job.start()
    made = [sent.get(timeout=10) for _ in range(40)]
    job.stop()

    assert isinstance(made[0], Track)
    assert all(isinstance(item, AccessUnit) and item.track == AUDIO_OPUS for item in made[1:])
    stats = job.stats()
    assert stats.target == AUDIO_OPUS
    assert stats.units_in == len(units)
    assert stats.units_out >= 39
    assert (stats.dropped, stats.errors) == (0, 0)


def test_a_stopped_job_is_not_busy() -> None:
    job = Job(StartJob(AUDIO, AUDIO_OPUS, Codec.OPUS, -1), lambda message: None)
    job.start()
    job.stop()

    assert job.busy_for(1e9) == 0


def test_there_is_no_job_for_what_no_pipeline_makes() -> None:
    with pytest.raises(ValueError, match="no pipeline"):
        Job(StartJob(VIDEO, VIDEO, Codec.AV1, -1), lambda message: None)
