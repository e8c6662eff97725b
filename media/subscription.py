"""A bounded queue between a stream and a reader that may be slow.

A reader that falls behind loses whole groups of pictures, not memory: when the queue is full it is
emptied, and nothing but audio goes in until the next video keyframe.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection

from media.stream import Phase, Stream
from media.units import AccessUnit, Kind, Track, TrackId


class Subscription:
    """Tracks and units of a stream, in order: an asynchronous iterator that ends with it.

    `tracks` limits it to some track ids; `max_bytes` bounds what is queued; `dropped` counts the
    units that a slow reader lost.
    """

    def __init__(
        self,
        stream: Stream,
        *,
        tracks: Collection[TrackId] | None = None,
        max_bytes: int = 8 << 20,
        replay: bool = True,
    ) -> None:
        self._stream = stream
        self._wanted = frozenset(tracks) if tracks is not None else None
        self._max_bytes = max_bytes
        self._queue: deque[AccessUnit | Track] = deque()
        self._bytes = 0
        self._kinds: dict[TrackId, Kind] = {}
        self._await_keyframe: set[TrackId] = set()
        self._wake = asyncio.Event()
        self._ended = stream.phase is Phase.ENDED
        self.dropped = 0
        if not self._ended:
            stream.attach(self, replay=replay)

    def on_track(self, track: Track) -> None:
        if self._wanted is not None and track.id not in self._wanted:
            return
        self._kinds[track.id] = track.kind
        if track.kind is Kind.VIDEO:
            self._await_keyframe.add(track.id)
        self._queue_up(track)

    def on_track_removed(self, track: TrackId) -> None:
        self._kinds.pop(track, None)

    def on_unit(self, unit: AccessUnit) -> None:
        if unit.track not in self._kinds:
            return
        if unit.track in self._await_keyframe:
            if not unit.keyframe:
                self.dropped += 1
                return
            self._await_keyframe.discard(unit.track)
        self._queue_up(unit)

    def on_gap(self) -> None:
        self._await_keyframe = {t for t, kind in self._kinds.items() if kind is Kind.VIDEO}

    def on_reordering(self, track: TrackId) -> None:
        """Nothing to do: whoever reads a subscription takes units as they are."""

    def on_phase(self, phase: Phase) -> None:
        if phase is Phase.ENDED:
            self._ended = True
            self._wake.set()

    def close(self) -> None:
        self._stream.detach(self)
        self._ended = True
        self._queue.clear()
        self._bytes = 0
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[AccessUnit | Track]:
        return self

    async def __anext__(self) -> AccessUnit | Track:
        while not self._queue:
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        item = self._queue.popleft()
        self._bytes -= _size(item)
        return item

    def _queue_up(self, item: AccessUnit | Track) -> None:
        self._queue.append(item)
        self._bytes += _size(item)
        if self._bytes > self._max_bytes:
            self._skip()
        self._wake.set()

    def _skip(self) -> None:
        """Forgets the units, and of each track all but its newest parameters."""
        tracks = {item.id: item for item in self._queue if isinstance(item, Track)}
        self.dropped += sum(isinstance(item, AccessUnit) for item in self._queue)
        self._queue = deque(tracks.values())
        self._bytes = sum(_size(track) for track in tracks.values())
        self.on_gap()


def _size(item: AccessUnit | Track) -> int:
    return len(item.payload if isinstance(item, AccessUnit) else item.config)
