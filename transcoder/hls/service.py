"""All presentations of this process, by room: the hub's observer that HTTP asks."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from configs.kernel.clock import Clock
from configs.kernel.metrics import Sample
from media.stream import Stream
from transcoder.hls.packager import Packager
from transcoder.hls.presentation import HlsConfig, Presentation

LONGEST_SLEEP: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Ended:
    room: str
    presentation: Presentation
    until: float


class HlsService:
    """A `HubObserver`. What has ended can be fetched for `config.ended_keep_s` more seconds;
    `run` (or a call of `handle_timer` when `next_timer` is due) lets it go."""

    def __init__(
        self,
        clock: Clock,
        config: HlsConfig | None = None,
        *,
        new_id: Callable[[], str] = lambda: secrets.token_hex(6),
    ) -> None:
        self._clock = clock
        self.config = config or HlsConfig()
        self._new_id = new_id
        self._packagers: dict[str, Packager] = {}
        self._ended: list[_Ended] = []
        self._changed = asyncio.Event()
        self.presentations_started = 0

    # Called by the hub

    def stream_started(self, stream: Stream) -> None:
        room = stream.room

        def left(presentation: Presentation) -> None:
            until = self._clock.monotonic() + self.config.ended_keep_s
            self._ended.append(_Ended(room, presentation, until))
            self._changed.set()

        packager = Packager(stream, self.config, new_id=self._next_id, left=left)
        self._packagers[room] = packager
        stream.attach(packager)

    def stream_ended(self, stream: Stream) -> None:
        packager = self._packagers.pop(stream.room, None)
        if packager is not None:
            stream.detach(packager)

    # Asked by HTTP

    def packager(self, room: str) -> Packager | None:
        """That of a room whose stream is live or in its grace period."""
        return self._packagers.get(room)

    def presentation(self, room: str) -> Presentation | None:
        """The newest of a room: of its stream, or one that has ended not long ago."""
        packager = self._packagers.get(room)
        if packager is not None and packager.presentation is not None:
            return packager.presentation
        for ended in reversed(self._ended):
            if ended.room == room:
                return ended.presentation
        return None

    def find(self, room: str, identity: str) -> Presentation | None:
        packager = self._packagers.get(room)
        current = packager.presentation if packager else None
        if current is not None and current.id == identity:
            return current
        for ended in self._ended:
            if ended.room == room and ended.presentation.id == identity:
                return ended.presentation
        return None

    # Time

    def next_timer(self) -> float | None:
        return min((ended.until for ended in self._ended), default=None)

    def handle_timer(self) -> None:
        now = self._clock.monotonic()
        self._ended = [ended for ended in self._ended if ended.until > now]

    async def run(self) -> None:
        """Forgets what has ended, in time; for ever."""
        while True:
            self._changed.clear()
            self.handle_timer()
            due = self.next_timer()
            delay = LONGEST_SLEEP if due is None else max(0.0, due - self._clock.monotonic())
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

    # Figures

    def samples(self) -> Iterable[Sample]:
        live = [p.presentation for p in self._packagers.values() if p.presentation is not None]
        held = live + [ended.presentation for ended in self._ended]
        yield Sample("hls_presentations", "Presentations being packaged", len(live))
        yield Sample("hls_bytes", "Bytes of media held", sum(one.size for one in held))
        yield Sample("hls_waiting", "Requests held until a part", sum(one.waiting for one in held))
        started = self.presentations_started
        yield Sample("hls_presentations_started", "Presentations since start", started, "counter")

    def _next_id(self) -> str:
        self.presentations_started += 1
        return self._new_id()
