"""One rendition being made inside a worker: a bounded backlog and a thread that works it off.

Each job has its own thread, so that a slow picture never delays the sound.
"""

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from media.units import CLOCK_RATE, AccessUnit, Kind, Track
from transcoder.pipeline import CodecError, make_pipeline
from transcoder.wire import JobStats, Message, Remark, SourceGap, StartJob

MAX_BACKLOG_BYTES: Final = 24 << 20
MAX_BACKLOG_TICKS: Final = 2 * CLOCK_RATE
PICTURE_NICENESS: Final = 5
"""Re-encoding pictures gives way to sound and to the main process when the machine is full."""
REMARK_INTERVAL: Final = 5.0

Item = AccessUnit | Track | SourceGap


class Backlog:
    """Units that wait, in order, with the track changes and gaps between them.

    When the oldest is `MAX_BACKLOG_TICKS` behind, the newest keyframe that came takes the place of
    all units before it; when the bytes are too many, all units go until the next keyframe. Sound
    has a keyframe at every unit, so it only ever loses its oldest.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._await_keyframe = False
        self.newest_dts = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        if isinstance(item, AccessUnit):
            if self._await_keyframe and not item.keyframe:
                self.dropped += 1
                return
            self._await_keyframe = False
            self.newest_dts = item.dts
            if item.keyframe and self._oldest_dts(item.dts) < item.dts - MAX_BACKLOG_TICKS:
                self._forget_units()
            self._bytes += len(item.payload)
        self._items.append(item)
        if self._bytes > MAX_BACKLOG_BYTES:
            self._forget_units()
            self._await_keyframe = True

    def take(self) -> Item | None:
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, AccessUnit):
            self._bytes -= len(item.payload)
        return item

    def _oldest_dts(self, default: int) -> int:
        return next((item.dts for item in self._items if isinstance(item, AccessUnit)), default)

    def _forget_units(self) -> None:
        kept = [item for item in self._items if not isinstance(item, AccessUnit)]
        self.dropped += len(self._items) - len(kept)
        # What is behind a hole is no continuation for a decoder; the newest parameters count.
        tracks = [item for item in kept if isinstance(item, Track)]
        self._items = deque([*tracks[-1:], SourceGap()])
        self._bytes = 0


class Job:
    """Makes `order.target` out of the units that are offered, and hands them to `send`, which may
    block. An error that is not the input's fault ends the thread through `threading.excepthook`."""

    def __init__(self, order: StartJob, send: Callable[[Message], None]) -> None:
        self.order = order
        self._send = send
        self._pipeline = make_pipeline(order.target, order.codec, after=order.after)
        self._backlog = Backlog()
        self._ready = threading.Condition()
        self._stopped = False
        self._busy_since: float | None = None
        self._units_in = 0
        self._units_out = 0
        self._errors = 0
        self._newest_out: int | None = None
        self._last_remark = float("-inf")
        self._thread = threading.Thread(target=self._run, name=order.target, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, item: Item) -> None:
        with self._ready:
            self._units_in += isinstance(item, AccessUnit)
            self._backlog.put(item)
            self._ready.notify()

    def stop(self) -> None:
        with self._ready:
            self._stopped = True
            self._ready.notify()

    def busy_for(self, now: float) -> float:
        """Seconds that the thread has spent on the unit it is at."""
        since = self._busy_since
        return now - since if since is not None else 0.0

    def stats(self) -> JobStats:
        with self._ready:
            newest_out = self._newest_out
            lag = 0 if newest_out is None else self._backlog.newest_dts - newest_out
            return JobStats(
                target=self.order.target,
                units_in=self._units_in,
                units_out=self._units_out,
                dropped=self._backlog.dropped + self._pipeline.skipped,
                errors=self._errors + self._pipeline.errors,
                queued=len(self._backlog),
                lag_ms=min(max(lag * 1000 // CLOCK_RATE, 0), 1 << 30),
            )

    def _run(self) -> None:
        if self.order.codec.kind is Kind.VIDEO:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PICTURE_NICENESS)
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._stopped or len(self._backlog))
                if self._stopped:
                    return
                item = self._backlog.take()
                assert item is not None
                newest = self._backlog.newest_dts
            self._busy_since = time.monotonic()
            for made in self._process(item, newest):
                self._deliver(made)
            self._busy_since = None

    def _process(self, item: Item, newest: int) -> list[Track | AccessUnit]:
        match item:
            case AccessUnit():
                return self._transcode(item, behind=newest - item.dts)
            case Track():
                self._pipeline.configure(item)
            case SourceGap():
                self._pipeline.gap()
        return []

    def _transcode(self, unit: AccessUnit, behind: int) -> list[Track | AccessUnit]:
        try:
            return self._pipeline.transcode(unit, behind=behind)
        except CodecError as error:
            self._errors += 1
            self._pipeline.gap()
            now = time.monotonic()
            if now - self._last_remark > REMARK_INTERVAL:
                self._last_remark = now
                self._send(Remark("transcoder.codec_failed", f"{self.order.target}: {error}"))
            return []

    def _deliver(self, made: Track | AccessUnit) -> None:
        if isinstance(made, AccessUnit):
            self._units_out += 1
            self._newest_out = made.pts
        if not self._stopped:
            self._send(made)
