"""Keeps one codec worker for each stream that needs one, and publishes what it makes.

Theory of operation. For each stream a `StreamTranscoder` listens as a sink and compares what
renditions the stream needs (`transcoder.renditions`) with what is being made:

    nothing needed ──(a rendition is needed)──► RUNNING ──(worker lost)──► backoff ──► RUNNING
          ▲                                        │
          └────────(none is needed any more)───────┘

A lost worker takes nothing with it: the renditions' tracks stay, and the next process is given the
source's cached group of pictures, so that it need not wait for a keyframe. What it makes is mapped
through the source's own times; a unit that would go back in time is left out.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from configs.kernel.clock import Clock
from media.stream import VIDEO, Phase, Stream
from media.units import CLOCK_RATE, AccessUnit, Kind, Track, TrackId
from transcoder.process import Outlet, running_worker
from transcoder.renditions import B_FRAMES, VIDEO_NOTICES, Rendition, needed
from transcoder.wire import (
    Finish,
    Heartbeat,
    JobStats,
    Message,
    Remark,
    SourceGap,
    StartJob,
    StopJob,
)

log = structlog.get_logger(__name__)

IN_ORDER_TICKS: Final = 2 * CLOCK_RATE
"""After a change of the source's video, so much of it without B-frames ends their re-encoding."""
PRESENT_TICKS: Final = CLOCK_RATE // 10


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds to wait before a lost worker is replaced: doubling, and from the start again after
    one that lived for `healthy_after`."""

    first: float = 0.2
    longest: float = 5.0
    healthy_after: float = 10.0

    def next(self, previous: float | None, *, lived: float) -> float:
        if previous is None or lived >= self.healthy_after:
            return self.first
        return min(previous * 2, self.longest)


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """A stream's worker as it was at its last heartbeat. `pid` is None while none runs; `restarts`
    and `cpu_seconds` count over all processes of the stream; `unsent` units did not reach a worker
    that was too slow."""

    room: str
    pid: int | None
    restarts: int
    cpu_seconds: float
    resident_bytes: int
    unsent: int
    jobs: tuple[JobStats, ...]


class TranscoderService:
    """An observer of the hub (`hub.observe(service)`). `close` ends all workers."""

    def __init__(self, *, clock: Clock, backoff: Backoff | None = None) -> None:
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._streams: dict[Stream, StreamTranscoder] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def stream_started(self, stream: Stream) -> None:
        transcoder = StreamTranscoder(stream, clock=self._clock, backoff=self._backoff)
        self._streams[stream] = transcoder
        task = asyncio.create_task(transcoder.run(), name=f"transcoder:{stream.room}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def stream_ended(self, stream: Stream) -> None:
        self._streams.pop(stream, None)

    @property
    def stats(self) -> Sequence[WorkerStats]:
        return tuple(transcoder.stats for transcoder in self._streams.values())

    async def close(self) -> None:
        """Ends every worker and waits until they are gone."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._streams.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("transcoder.failed", task=task.get_name(), exc_info=error)


class StreamTranscoder:
    """One stream's sink, plan and worker. `run` lives as long as the stream."""

    def __init__(self, stream: Stream, *, clock: Clock, backoff: Backoff) -> None:
        self._stream = stream
        self._clock = clock
        self._backoff = backoff
        self._plan: dict[TrackId, Rendition] = {}
        self._sources: frozenset[TrackId] = frozenset()
        self._replan_due = False
        self._wanted = asyncio.Event()
        self._ended = False
        self._over = asyncio.Event()
        self._dismissed = False
        self._outlet: Outlet | None = None
        self._in_order_at: int | None = None
        self._newest: dict[TrackId, int] = {}
        self._pid: int | None = None
        self._restarts = 0
        self._unsent = 0
        self._past_cpu = 0.0
        self._beat = Heartbeat(0.0, 0, ())
        stream.attach(self)

    @property
    def stats(self) -> WorkerStats:
        outlet = self._outlet
        return WorkerStats(
            room=self._stream.room,
            pid=self._pid,
            restarts=self._restarts,
            cpu_seconds=self._past_cpu + self._beat.cpu_seconds,
            resident_bytes=self._beat.resident_bytes,
            unsent=self._unsent + (outlet.dropped if outlet is not None else 0),
            jobs=self._beat.jobs,
        )

    # What the stream says

    def on_track(self, track: Track) -> None:
        if track.id == VIDEO and self._is_made_for(B_FRAMES.code):
            # New parameters say nothing of order yet; the rendition stays until pictures do.
            self._in_order_at = self._stream.newest_dts + IN_ORDER_TICKS
        if self._outlet is not None and track.id in self._sources:
            self._outlet.send(track)
        self._replan_soon()

    def on_track_removed(self, track: TrackId) -> None:
        self._replan_soon()

    def on_unit(self, unit: AccessUnit) -> None:
        if self._outlet is not None and unit.track in self._sources:
            self._outlet.send_unit(unit)
        if self._in_order_at is not None and unit.dts > self._in_order_at:
            self._in_order_at = None
            self._replan_soon()

    def on_gap(self) -> None:
        if self._outlet is not None:
            self._outlet.send(SourceGap())

    def on_reordering(self, track: TrackId) -> None:
        self._in_order_at = None
        self._replan_soon()

    def on_phase(self, phase: Phase) -> None:
        if phase is Phase.ENDED:
            self._ended = self._dismissed = True
            self._plan = {}
            self._sources = frozenset()
            self._wanted.set()
            self._over.set()
            if self._outlet is not None:
                self._outlet.send(Finish())

    # What is to be made

    def _replan_soon(self) -> None:
        """Not at once: a sink that changed the stream's tracks would have the others hear of it
        before they hear of what it answers."""
        if not self._replan_due:
            self._replan_due = True
            asyncio.get_running_loop().call_soon(self._replan)

    def _replan(self) -> None:
        self._replan_due = False
        if self._ended:
            return
        stream = self._stream
        reorders = stream.reorders(VIDEO) or self._in_order_at is not None
        plan = dict(needed({track.id: track for track in stream.tracks}, reorders=reorders))
        old, self._plan = self._plan, plan
        self._sources = frozenset(rendition.source for rendition in plan.values())
        for target in old.keys() - plan.keys():
            if self._outlet is not None:
                self._outlet.send(StopJob(target))
            self._newest.pop(target, None)
            stream.remove_track(target)
        self._tell_publisher()
        if self._outlet is not None:
            self._order(self._outlet, [plan[target] for target in plan.keys() - old.keys()])
            if not plan:
                self._outlet.send(Finish())
                self._outlet = None
                self._dismissed = True
        if plan:
            self._wanted.set()
        else:
            self._wanted.clear()

    def _order(self, outlet: Outlet, renditions: Sequence[Rendition]) -> None:
        """Has the worker begin these, each with its source's track and cached pictures."""
        for rendition in renditions:
            track = self._stream.track(rendition.source)
            if track is None:
                continue
            outlet.send(track)
            outlet.send(self._start_of(rendition))
            for unit in self._stream.gop(rendition.source):
                outlet.send_unit(unit)

    def _start_of(self, rendition: Rendition) -> StartJob:
        """Begins behind what was published already, and with pictures near the present: the cached
        ones are there to be decoded from."""
        after = self._newest.get(rendition.target, -1)
        if rendition.codec.kind is Kind.VIDEO:
            after = max(after, self._stream.newest_dts - PRESENT_TICKS)
        return StartJob(rendition.source, rendition.target, rendition.codec, after)

    def _is_made_for(self, code: str) -> bool:
        notices = (rendition.notice for rendition in self._plan.values())
        return any(notice is not None and notice.code == code for notice in notices)

    def _tell_publisher(self) -> None:
        for notice in VIDEO_NOTICES:
            if self._is_made_for(notice.code):
                self._stream.notify(notice)
            else:
                self._stream.clear_notice(notice.code)

    # The worker

    async def run(self) -> None:
        """Keeps a worker while renditions are needed; returns when the stream has ended."""
        delay: float | None = None
        try:
            while True:
                await self._wanted.wait()
                if self._ended:
                    return
                started = self._clock.monotonic()
                reason = await self._work()
                if self._dismissed:
                    self._dismissed = False
                    continue
                lived = self._clock.monotonic() - started
                delay = self._backoff.next(delay, lived=lived)
                self._restarts += 1
                log.warning(
                    "transcoder.worker_lost",
                    room=self._stream.room,
                    reason=reason,
                    lived_s=round(lived, 3),
                    retry_s=delay,
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._over.wait()
        finally:
            self._stream.detach(self)

    async def _work(self) -> str:
        """One worker, from its start to its end."""
        try:
            async with running_worker(self._stream.room, self._connected) as worker:
                self._pid = worker.pid
                log.info("transcoder.worker_started", room=self._stream.room, pid=worker.pid)
                return await worker.serve(self._on_message)
        except OSError as error:
            return f"could not be started: {error}"
        finally:
            self._disconnected()

    def _connected(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._order(outlet, tuple(self._plan.values()))

    def _disconnected(self) -> None:
        if self._outlet is not None:
            self._unsent += self._outlet.dropped
        self._outlet = None
        self._pid = None
        self._past_cpu += self._beat.cpu_seconds
        self._beat = Heartbeat(0.0, 0, ())

    def _on_message(self, message: Message) -> None:
        match message:
            case AccessUnit():
                self._publish(message)
            case Track():
                if message.id in self._plan:
                    self._stream.set_track(message)
            case Heartbeat():
                self._beat = message
            case Remark():
                log.warning(message.event, room=self._stream.room, detail=message.text)
            case _:
                """Orders go the other way."""

    def _publish(self, unit: AccessUnit) -> None:
        if unit.track in self._plan and unit.dts > self._newest.get(unit.track, -1):
            self._newest[unit.track] = unit.dts
            self._stream.push(unit)
