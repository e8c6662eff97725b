"""How many bits a second each track of a live room has, measured as the units go by."""

from collections import deque
from typing import Final

from media.stream import Phase, Stream
from media.units import CLOCK_RATE, AccessUnit, Track, TrackId

STEP: Final = CLOCK_RATE
WINDOW_STEPS: Final = 5
"""Seconds that are looked back on: enough to hold some keyframes, which are the big pictures."""


class Bitrates:
    """Observes a hub (`media.hub.HubObserver`)."""

    def __init__(self) -> None:
        self._meters: dict[str, _StreamMeter] = {}

    def stream_started(self, stream: Stream) -> None:
        meter = self._meters[stream.room] = _StreamMeter()
        stream.attach(meter)

    def stream_ended(self, stream: Stream) -> None:
        self._meters.pop(stream.room, None)

    def of(self, room: str, track: TrackId) -> int | None:
        """Bits a second; None while nothing has been measured for a second."""
        meter = self._meters.get(room)
        return None if meter is None else meter.of(track)


class _StreamMeter:
    """Hears one stream (`media.stream.StreamSink`)."""

    def __init__(self) -> None:
        self._tracks: dict[TrackId, _TrackMeter] = {}

    def of(self, track: TrackId) -> int | None:
        meter = self._tracks.get(track)
        return None if meter is None else meter.bitrate

    def on_unit(self, unit: AccessUnit) -> None:
        meter = self._tracks.get(unit.track)
        if meter is None:
            meter = self._tracks[unit.track] = _TrackMeter(unit.dts)
        meter.add(len(unit.payload), unit.dts)

    def on_track(self, track: Track) -> None:
        self._tracks.pop(track.id, None)

    def on_track_removed(self, track: TrackId) -> None:
        self._tracks.pop(track, None)

    def on_gap(self) -> None:
        self._tracks.clear()

    def on_reordering(self, track: TrackId) -> None:
        """Says nothing of sizes."""

    def on_phase(self, phase: Phase) -> None:
        """In the grace period the last figure stands."""


class _TrackMeter:
    """Whole steps of at least a second, the newest `WINDOW_STEPS` of them."""

    __slots__ = ("_bytes", "_since", "_steps")

    def __init__(self, dts: int) -> None:
        self._since = dts
        self._bytes = 0
        self._steps: deque[tuple[int, int]] = deque(maxlen=WINDOW_STEPS)

    def add(self, size: int, dts: int) -> None:
        length = dts - self._since
        if length >= STEP:
            self._steps.append((length, self._bytes))
            self._since, self._bytes = dts, 0
        self._bytes += size

    @property
    def bitrate(self) -> int | None:
        ticks = sum(length for length, _ in self._steps)
        return (
            round(8 * CLOCK_RATE * sum(size for _, size in self._steps) / ticks) if ticks else None
        )
