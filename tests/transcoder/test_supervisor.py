"""With real worker processes: what a stream gains by them, and that nothing is left of them."""

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest

from configs.kernel.clock import SystemClock
from media.hub import Hub, Publication, PublishGrant
from media.stream import AUDIO, AUDIO_AAC, AUDIO_OPUS, VIDEO, VIDEO_WEBRTC, Phase, Publisher
from media.units import AccessUnit, Codec, Track, TrackId
from tests.support.transcoder import pictures, sound, tone
from transcoder.supervisor import Backoff, TranscoderService

PROMISE = 3.0
PATIENCE = 20.0
"""How long to wait for what has no promise, on a machine that is busy."""


class Ears:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.tracks: dict[TrackId, Track] = {}
        self.removed: list[TrackId] = []
        self.units: dict[TrackId, list[AccessUnit]] = {}
        self.phase: Phase | None = None

    def on_track(self, track: Track) -> None:
        self.tracks[track.id] = track

    def on_track_removed(self, track: TrackId) -> None:
        self.removed.append(track)

    def on_unit(self, unit: AccessUnit) -> None:
        self.units.setdefault(unit.track, []).append(unit)

    def on_gap(self) -> None: ...

    def on_reordering(self, track: TrackId) -> None: ...

    def on_phase(self, phase: Phase) -> None:
        self.phase = phase

    def count(self, track: TrackId) -> int:
        return len(self.units.get(track, ()))


class Studio:
    """A hub with a transcoder, and publishers that send in real time."""

    def __init__(self) -> None:
        self.hub = Hub(SystemClock())
        self.service = TranscoderService(clock=SystemClock())
        self.hub.observe(self.service)
        self._tasks: list[asyncio.Task[None]] = []

    def publish(self, room: str = "room") -> tuple[Publication, Ears]:
        publisher = Publisher("test", "nowhere")
        publication = self.hub.publish(PublishGrant(room), publisher, lambda reason: None)
        ears = Ears()
        publication.stream.attach(ears)
        return publication, ears

    def play(self, publication: Publication, *parts: tuple[Track, list[AccessUnit]]) -> None:
        for track, _ in parts:
            publication.set_track(track)
        units = sorted((unit for _, units in parts for unit in units), key=lambda unit: unit.dts)
        self._tasks.append(asyncio.create_task(paced(publication, units)))

    async def pause(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def close(self) -> None:
        await self.pause()
        await self.service.close()


async def paced(publication: Publication, units: Iterable[AccessUnit]) -> None:
    began = time.monotonic()
    for unit in units:
        await asyncio.sleep(unit.dts / 90_000 - (time.monotonic() - began))
        publication.write(unit)


async def until(condition: Callable[[], bool], *, within: float = PATIENCE) -> None:
    """Waits for a condition of processes, which nothing announces."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


def children() -> set[int]:
    """The living and unreaped children of this process."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        # A thread may end between the two looks.
        with contextlib.suppress(FileNotFoundError):
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
async def studio() -> AsyncIterator[Studio]:
    studio = Studio()
    yield studio
    await studio.close()


async def test_aac_is_heard_as_opus(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, sound(tone(seconds=20)))

    await until(lambda: ears.count(AUDIO_OPUS) >= 50)

    opus = ears.units[AUDIO_OPUS]
    assert ears.tracks[AUDIO_OPUS].codec is Codec.OPUS
    assert {later.pts - earlier.pts for earlier, later in itertools.pairwise(opus)} == {1800}
    assert abs(opus[-1].pts - ears.units[AUDIO][-1].pts) < 90_000
    assert publication.stream.notices == ()


async def test_opus_is_heard_as_aac(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, sound(tone(seconds=20), codec=Codec.OPUS))

    await until(lambda: ears.count(AUDIO_AAC) >= 20)

    assert ears.tracks[AUDIO_AAC].codec is Codec.AAC


async def test_sound_is_back_after_the_worker_was_killed(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, sound(tone(seconds=30)))
    await until(lambda: ears.count(AUDIO_OPUS) >= 20)
    (before,) = studio.service.stats
    assert before.pid is not None

    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: studio.service.stats[0].restarts == 1)
    heard = ears.count(AUDIO_OPUS)
    await until(lambda: ears.count(AUDIO_OPUS) > heard + 5, within=PROMISE)

    (after,) = studio.service.stats
    assert after.pid not in (None, before.pid)
    assert AUDIO_OPUS not in ears.removed
    times = [unit.pts for unit in ears.units[AUDIO_OPUS]]
    assert times == sorted(set(times))
    assert publication.active


async def test_b_frames_are_re_encoded_and_the_publisher_is_told(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, pictures(seconds=20, b_frames=2))

    await until(lambda: ears.count(VIDEO_WEBRTC) >= 30)

    made = ears.units[VIDEO_WEBRTC]
    assert made[0].keyframe
    assert all(unit.pts == unit.dts for unit in made)
    source = {unit.pts for unit in ears.units[VIDEO]}
    assert {unit.pts for unit in made} <= source
    assert [notice.code for notice in publication.stream.notices] == ["b_frames"]


async def test_pictures_are_back_without_waiting_for_a_keyframe(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, pictures(seconds=30, b_frames=2, keyframe_every=900))
    await until(lambda: ears.count(VIDEO_WEBRTC) >= 10)
    (before,) = studio.service.stats
    assert before.pid is not None

    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: studio.service.stats[0].restarts == 1)
    seen = ears.count(VIDEO_WEBRTC)
    await until(lambda: ears.count(VIDEO_WEBRTC) > seen, within=PROMISE)

    assert ears.units[VIDEO_WEBRTC][seen].keyframe
    assert sum(unit.keyframe for unit in ears.units[VIDEO]) == 1


async def test_without_b_frames_any_more_the_rendition_and_the_notice_go(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, pictures(seconds=20, b_frames=2))
    await until(lambda: ears.count(VIDEO_WEBRTC) >= 5)
    await studio.pause()
    publication.close("changes its settings")

    again, _ = studio.publish()
    studio.play(again, pictures(seconds=20, b_frames=0, width=480, height=270))
    await until(lambda: VIDEO_WEBRTC in ears.removed)

    assert again.stream is publication.stream
    assert again.stream.notices == ()
    assert again.stream.track(VIDEO_WEBRTC) is None
    await until(lambda: studio.service.stats[0].pid is None)
    assert studio.service.stats[0].restarts == 0


async def test_hevc_is_re_encoded(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, pictures(seconds=10, codec=Codec.HEVC))

    await until(lambda: ears.count(VIDEO_WEBRTC) >= 5)

    assert ears.tracks[VIDEO_WEBRTC].codec is Codec.H264
    assert [notice.code for notice in publication.stream.notices] == ["video_codec"]


async def test_a_stopped_worker_is_replaced(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, sound(tone(seconds=40)))
    await until(lambda: ears.count(AUDIO_OPUS) >= 5)
    (before,) = studio.service.stats
    assert before.pid is not None

    os.kill(before.pid, signal.SIGSTOP)
    await until(lambda: studio.service.stats[0].restarts == 1)
    heard = ears.count(AUDIO_OPUS)
    await until(lambda: ears.count(AUDIO_OPUS) > heard)

    assert before.pid not in children()


async def test_the_worker_stays_in_the_grace_period_and_leaves_with_the_stream(
    studio: Studio,
) -> None:
    publication, ears = studio.publish()
    studio.play(publication, sound(tone(seconds=20)))
    await until(lambda: ears.count(AUDIO_OPUS) >= 5)
    (before,) = studio.service.stats
    assert before.pid in children()

    await studio.pause()
    publication.close("left")
    again, _ = studio.publish()
    heard = ears.count(AUDIO_OPUS)
    studio.play(again, sound(tone(seconds=20)))
    await until(lambda: ears.count(AUDIO_OPUS) > heard + 20)

    assert studio.service.stats[0].pid == before.pid
    studio.hub.end("room", "over")
    await until(lambda: before.pid not in children())
    assert studio.service.stats == ()


async def test_a_stream_that_needs_nothing_has_no_worker(studio: Studio) -> None:
    publication, ears = studio.publish()
    studio.play(publication, pictures(seconds=3))

    await until(lambda: ears.count(VIDEO) >= 45)

    assert studio.service.stats[0].pid is None
    assert set(ears.tracks) == {VIDEO}


async def test_ten_streams_one_after_another_leave_nothing_behind(studio: Studio) -> None:
    track, units = sound(tone(seconds=5))
    before: tuple[int, set[int]] | None = None
    for number in range(10):
        room = f"room-{number}"
        publication, ears = studio.publish(room)
        studio.play(publication, (track, units))
        await until(lambda ears=ears: ears.count(AUDIO_OPUS) >= 1)  # type: ignore[misc]
        (running,) = studio.service.stats
        await studio.pause()
        studio.hub.end(room, "over")
        await until(lambda pid=running.pid: pid not in children())  # type: ignore[misc]
        await until(lambda: len(asyncio.all_tasks()) <= 2)
        if before is None:
            before = (open_files(), children())

    assert before == (open_files(), children())


def test_backoff_doubles_and_forgets() -> None:
    backoff = Backoff()
    waits = []
    previous: float | None = None
    for lived in [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 11.0, 0.1]:
        previous = backoff.next(previous, lived=lived)
        waits.append(previous)

    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 0.2, 0.4]
