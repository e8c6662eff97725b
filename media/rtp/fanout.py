"""One track to all its viewers: cut once, sealed and sent to each.

Theory of operation. A downlink is in one of three places:

    add ──► CATCHING ──(has reached the newest frame)──► LIVE
      └───► WAITING ──(a keyframe comes)──────────────────▲ │
               ▲                                            │
               └──(gap, or the process cannot keep up)──────┘     LIVE ──(restart)──► CATCHING

- **Catching up**: the viewer is fed the cached group of pictures, paced, so it sees a picture at
  once. The group's timestamps are drawn together to end at the newest frame's, so to the receiver
  it is a stream in time, whose first frames come quickly; one that sets its clock by the first
  frame would otherwise stay late by the age of the group. When the next keyframe comes first, it
  goes on there. Sound has no group and starts with the next frame.
- **Live**: every frame goes out in the call that brought it, as one `sendmsg` a viewer.
- **Fairness**: no call handles more than about `TURN` packets (2 to 3 ms). What is left of a frame
  is passed to `defer` (`loop.call_soon`), so the loop reads its sockets in between: a keyframe of
  50 kB to 1000 viewers is 43 turns of 2 ms, not one of 90 ms. Frames queue up behind it in order,
  up to `MAX_BEHIND`; beyond that the machine cannot keep up and all wait for the next keyframe.

No I/O and no clock of its own: whoever owns it calls `handle_timer` when `next_timer` is due.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from media.errors import InvalidBitstream
from media.rtp.downlink import Downlink
from media.rtp.layout import Group, SendBuffer
from media.rtp.pacer import TICK, Pacer
from media.rtp.packet_cache import RETENTION, Cut, PacketCache
from media.rtp.packetizer import cutter_for
from media.units import AccessUnit, Kind, Track

log = structlog.get_logger(__name__)

TURN: Final = 1024
"""Packets that one call may send before it lets the loop go on."""

MAX_BEHIND: Final = 64
"""Frames that may wait for their turn."""

STEP: Final = 0.001
"""Seconds of RTP time between two frames of a group that is caught up with."""

RESTART_INTERVAL: Final = 1.0
"""Seconds between two repeats of the group of pictures for a viewer that lost its picture."""

NOWHERE: Final = -1
"""The next cut of a downlink that is sent none."""


@dataclass(slots=True)
class _Pass:
    """A frame on its way through the downlinks that were live when it came."""

    cut: Cut
    downlinks: tuple[Downlink, ...]
    done: int = 0


@dataclass(slots=True)
class _CatchUp:
    """How far a viewer is in the group of pictures."""

    pacer: Pacer
    next_cut: int


class TrackFanout:
    """Sends one track of one stream. `defer` runs a callable soon, once the loop has gone round.

    Attach it (or what owns it) to the stream with `replay`, so that the group of pictures is there
    for the first viewer.
    """

    def __init__(
        self,
        track: Track,
        *,
        defer: Callable[[Callable[[], None]], object],
        retention: float = RETENTION,
        turn: int = TURN,
    ) -> None:
        self.track = track
        self._cutter = cutter_for(track)
        self._defer = defer
        self._turn = turn
        self._cache = PacketCache(marks=self._cutter.marks, retention=retention)
        self._buffer = SendBuffer()
        self._layouts: dict[int, tuple[Group, ...]] = {}
        self._laid_out = -1
        self._live: dict[Downlink, None] = {}
        self._live_now: tuple[Downlink, ...] | None = ()
        self._waiting: dict[Downlink, None] = {}
        self._catching: dict[Downlink, _CatchUp] = {}
        self._arriving: dict[Downlink, None] = {}
        self._passes: deque[_Pass] = deque()
        self._deferred = False
        self._next_tick: float | None = None
        self._sent = 0
        self.overruns = 0
        """How often the machine could not keep up and frames were skipped."""
        self.broken_units = 0

    # The stream's side

    def set_track(self, track: Track) -> None:
        """The same track with other parameters, before the first unit that needs them.

        Raises `InvalidBitstream`, and `ValueError` for another codec: that is another fan-out.
        """
        if track.codec is not self.track.codec:
            raise ValueError("a fan-out keeps its codec")
        self._cutter.set_track(track)
        self.track = track

    def on_unit(self, unit: AccessUnit) -> None:
        """Cuts one unit and sends it to everybody who is live. A broken unit is dropped."""
        try:
            fragments = self._cutter.cut(unit)
            if not fragments:
                return
            timestamp = self._cutter.timestamp(unit)
        except InvalidBitstream as error:
            self._broken(error)
            return
        cut = self._cache.add(fragments, timestamp=timestamp, dts=unit.dts, keyframe=unit.keyframe)
        if len(self._passes) >= MAX_BEHIND:
            self._overrun()
        if cut.keyframe:
            self._begin_group(cut)
        if self._live:
            self._passes.append(_Pass(cut, self._snapshot()))
            if not self._deferred:
                self._run()

    def on_gap(self) -> None:
        """What follows is no continuation: pictures wait for a keyframe, sound goes on."""
        self._cache.forget_group()
        if self.track.kind is Kind.VIDEO:
            self._await_keyframe()

    # The viewers' side

    def add(self, downlink: Downlink, *, now: float) -> None:
        """Begins to send. Call when the path is nominated and DTLS is done, since the first packets
        are the keyframe's; they leave within this call."""
        if downlink.home is not None:
            downlink.home.remove(downlink)
        downlink.home = self
        downlink.restarted_at = now
        self._catch_up(downlink)
        self._feed(downlink, now)

    def remove(self, downlink: Downlink) -> None:
        """Sends no more, and forgets that it was to come; harmless when it is not here."""
        self._arriving.pop(downlink, None)
        if downlink.home is self:
            downlink.home = None
            self._forget(downlink)

    def take_over(
        self, downlink: Downlink, previous: "TrackFanout", *, now: float, at_once: bool = False
    ) -> None:
        """Moves a viewer here from another rendition of the same stream: at the next keyframe, or
        `at_once` with the cached group when the other one has ended. Its numbers and times go on.

        `previous` is where it was, or where it was to go by an earlier call that is overruled now.
        """
        previous.expect_no_more(downlink)
        if downlink.home is self:
            return
        if at_once:
            self.add(downlink, now=now)
        elif downlink.home is not None:
            self._arriving[downlink] = None

    def expect_no_more(self, downlink: Downlink) -> None:
        """Takes back a `take_over` whose keyframe has not come."""
        self._arriving.pop(downlink, None)

    def restart(self, downlink: Downlink, *, now: float) -> None:
        """Sends the group of pictures again to a viewer that lost its picture, once a second at
        most.

        Without a cached group there is nothing to do: the next keyframe repairs it.
        """
        if downlink not in self._live or self._cache.keyframe is None:
            return
        if self.track.kind is not Kind.VIDEO or now - downlink.restarted_at < RESTART_INTERVAL:
            return
        downlink.restarted_at = now
        self._forget(downlink)
        self._catch_up(downlink)
        self._feed(downlink, now)

    def next_timer(self) -> float | None:
        """When `handle_timer` is due, on the clock of `now`; changes with `add` and `restart`
        too."""
        if not self._catching:
            return None
        return self._next_tick if self._next_tick is not None else 0.0

    def handle_timer(self, *, now: float) -> None:
        """Feeds those who catch up, for about `TURN` packets; the rest at once again."""
        before = self._sent
        for downlink in tuple(self._catching):
            self._feed(downlink, now)
            if self._sent - before >= self._turn:
                self._next_tick = now
                return
        self._next_tick = now + TICK

    @property
    def viewers(self) -> int:
        return len(self._live) + len(self._waiting) + len(self._catching)

    @property
    def backlog(self) -> int:
        """Frames that wait for their turn."""
        return len(self._passes)

    # Live

    def _run(self) -> None:
        """Takes the frames through their downlinks until the turn is used up."""
        cache = self._cache
        left = self._turn
        while self._passes:
            current = self._passes[0]
            cut, downlinks = current.cut, current.downlinks
            number, packets, timestamp = cut.number, len(cut.fragments), cut.timestamp
            overhead = -1
            groups: tuple[Group, ...] = ()
            at = current.done
            while at < len(downlinks) and left > 0:
                downlink = downlinks[at]
                at += 1
                # Whoever was moved or removed meanwhile expects another number.
                if downlink.next_cut == number:
                    downlink.next_cut = number + 1
                    if downlink.overhead != overhead:
                        overhead = downlink.overhead
                        groups = self._layout(cut, overhead)
                    downlink.send(cut, groups, cache, timestamp)
                    left -= packets
            if at < len(downlinks):
                current.done = at
                break
            self._passes.popleft()
        self._sent += self._turn - left
        if self._passes:
            self._deferred = True
            self._defer(self._resume)

    def _resume(self) -> None:
        self._deferred = False
        self._run()

    def _snapshot(self) -> tuple[Downlink, ...]:
        if self._live_now is None:
            self._live_now = tuple(self._live)
        return self._live_now

    def _layout(self, cut: Cut, overhead: int) -> tuple[Group, ...]:
        if self._laid_out != cut.number:
            self._laid_out = cut.number
            self._layouts.clear()
        groups = self._layouts.get(overhead)
        if groups is None:
            groups = self._buffer.lay_out(cut.fragments, overhead=overhead, marker=cut.marks)
            self._layouts[overhead] = groups
        return groups

    def _begin_group(self, cut: Cut) -> None:
        """A keyframe: those who wait begin here, those who catch up go on here."""
        for downlink in self._arriving:
            if downlink.home is not None:
                downlink.home.remove(downlink)
                downlink.home = self
                self._waiting[downlink] = None
        self._arriving.clear()
        for downlink in (*self._waiting, *self._catching):
            self._forget(downlink)
            self._go_live(downlink, cut.number)

    def _go_live(self, downlink: Downlink, next_cut: int) -> None:
        downlink.next_cut = next_cut
        self._live[downlink] = None
        self._live_now = None

    def _forget(self, downlink: Downlink) -> None:
        downlink.next_cut = NOWHERE
        self._waiting.pop(downlink, None)
        self._catching.pop(downlink, None)
        if downlink in self._live:
            del self._live[downlink]
            self._live_now = None

    def _await_keyframe(self) -> None:
        for downlink in (*self._live, *self._catching):
            self._forget(downlink)
            self._waiting[downlink] = None

    def _overrun(self) -> None:
        self.overruns += 1
        log.warning("rtp.fanout_overrun", track=self.track.id, viewers=self.viewers)
        self._passes.clear()
        self._await_keyframe()

    def _broken(self, error: InvalidBitstream) -> None:
        if not self.broken_units:
            log.info("rtp.broken_unit", track=self.track.id, reason=str(error))
        self.broken_units += 1

    # Catching up

    def _catch_up(self, downlink: Downlink) -> None:
        """Puts it where it begins: the group of pictures, the next frame of sound, or waiting."""
        cache = self._cache
        if self.track.kind is Kind.AUDIO:
            self._go_live(downlink, cache.next_number)
        elif cache.keyframe is None:
            self._waiting[downlink] = None
        else:
            self._catching[downlink] = _CatchUp(Pacer(bitrate=cache.bitrate()), cache.keyframe)

    def _feed(self, downlink: Downlink, now: float) -> None:
        """As many frames of the group as the pacer lets through."""
        state = self._catching.pop(downlink, None)
        if state is None:
            return
        cache = self._cache
        while state.pacer.may_send(now):
            cut, newest = cache.cut(state.next_cut), cache.newest
            if cut is None or newest is None:
                self._catch_up(downlink)
                return
            behind = round((newest.number - cut.number) * STEP * self._cutter.clock_rate)
            groups = self._layout(cut, downlink.overhead)
            downlink.send(cut, groups, cache, newest.timestamp - behind)
            state.next_cut += 1
            state.pacer.sent(cut.size)
            self._sent += len(cut.fragments)
            if cut is newest:
                self._go_live(downlink, cache.next_number)
                return
        # Taken out and put back: the next turn begins with those who have waited longest.
        self._catching[downlink] = state
        if self._next_tick is None or self._next_tick < now:
            self._next_tick = now + TICK
