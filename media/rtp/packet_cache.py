"""What a track sent of late: the group of pictures to begin with, and packets to send again.

One cache serves every viewer of the track. A viewer keeps a number where it is, never a packet.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Final

from media.units import CLOCK_RATE

RETENTION: Final = 1.5
"""Seconds for which a packet can be sent again; a browser's jitter buffer gives up before."""

MAX_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Cut:
    """One access unit as RTP payloads, cut once for all viewers.

    `number` counts the track's cuts and `first` its packets, both without gaps. `timestamp` is on
    the codec's RTP clock, not yet offset nor cut to 32 bits; `dts` is ticks of the stream clock;
    `marks` tells whether the last packet carries the marker bit.
    """

    number: int
    first: int
    timestamp: int
    dts: int
    keyframe: bool
    marks: bool
    fragments: tuple[bytes, ...]
    size: int


class PacketCache:
    """Cuts since the newest keyframe, and all of the last `retention` seconds.

    When `max_bytes` is outgrown the oldest go first, a group's keyframe among them; nobody can
    begin then before the next keyframe.
    """

    def __init__(
        self, *, marks: bool, retention: float = RETENTION, max_bytes: int = MAX_BYTES
    ) -> None:
        self._marks = marks
        self._retention = round(retention * CLOCK_RATE)
        self._max_bytes = max_bytes
        self._cuts: deque[Cut] = deque()
        self._keyframe: int | None = None
        self.bytes = 0
        self.next_number = 0
        self.next_packet = 0

    def add(self, fragments: tuple[bytes, ...], *, timestamp: int, dts: int, keyframe: bool) -> Cut:
        cut = Cut(
            self.next_number,
            self.next_packet,
            timestamp,
            dts,
            keyframe,
            self._marks,
            fragments,
            sum(map(len, fragments)),
        )
        self.next_number += 1
        self.next_packet += len(fragments)
        self._cuts.append(cut)
        self.bytes += cut.size
        if keyframe:
            self._keyframe = cut.number
        self._trim(cut.dts)
        return cut

    def forget_group(self) -> None:
        """What follows is no continuation of the group: nobody may begin with it any more."""
        self._keyframe = None

    @property
    def keyframe(self) -> int | None:
        """The number of the cut that a decoder can begin with."""
        return self._keyframe

    @property
    def newest(self) -> Cut | None:
        return self._cuts[-1] if self._cuts else None

    def cut(self, number: int) -> Cut | None:
        """The cut of this number, if it is still here."""
        place = number - (self.next_number - len(self._cuts))
        return self._cuts[place] if 0 <= place < len(self._cuts) else None

    def packet(self, packet: int) -> tuple[Cut, int] | None:
        """The cut that holds the track's packet of this number, and which of its fragments it
        is."""
        place = bisect_right(self._cuts, packet, key=lambda cut: cut.first) - 1
        if place < 0:
            return None
        cut = self._cuts[place]
        fragment = packet - cut.first
        return (cut, fragment) if fragment < len(cut.fragments) else None

    def bitrate(self) -> float:
        """Bits a second over what is held; 0 while that is too short to tell."""
        if len(self._cuts) < 2:
            return 0.0
        ticks = self._cuts[-1].dts - self._cuts[0].dts
        return self.bytes * 8 * CLOCK_RATE / ticks if ticks > 0 else 0.0

    def _trim(self, now: int) -> None:
        cuts = self._cuts
        while len(cuts) > 1:
            oldest = cuts[0]
            wanted = self._keyframe is not None and oldest.number >= self._keyframe
            expired = oldest.dts < now - self._retention and not wanted
            if not expired and self.bytes <= self._max_bytes:
                return
            cuts.popleft()
            self.bytes -= oldest.size
            if oldest.number == self._keyframe:
                self._keyframe = None
