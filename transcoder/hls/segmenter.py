"""Access units of one track into segments and parts; no I/O, no clock.

The picture leads. A segment ends at the first keyframe at or after `segment` seconds, or at an
earlier one when the next is not expected before the segment would outgrow the target duration. That
is settled when the first segment ends, with headroom, and never changes. Where a source lets more
than that pass without a keyframe, the segment is cut between two other pictures and is marked as
not independent, so that the playlist stops promising it. A picture that stands still for longer
than `STILL_LIMIT` is a hole in time: a discontinuity.

The sound follows: it is cut where the picture was, at the frame nearest to the boundary; a stream
without a picture is cut by its own length.

Times. A picture's decoding times are the stream's, moved so that the first picture of a segment
is shown at its decoding time; its length is the distance to the next one, so the milliseconds of
RTMP never add up. Sound counts samples: its frames follow each other while the source's timestamps
agree within `HOLE`, and are stretched by one sample a frame when the two clocks drift
apart. Missing frames are made up for with silence, so that a lost packet does not stop the player.
"""

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from media.units import CLOCK_RATE, AccessUnit, Kind, Track
from transcoder.hls import cmaf
from transcoder.hls.cutter import Cutter, Event

FIRST_LIMIT: Final = 12
"""Seconds within which the first segment must end, keyframe or not."""

HEADROOM: Final = Fraction(5, 4)
LEEWAY: Final = 0.4
"""Seconds: a segment is as long as the target duration if it is so when rounded (4.4.3.1), and the
milliseconds of RTMP make keyframes four seconds apart come a little later."""
SOUND_LEEWAY: Final = 0.48
"""The sound is cut where the picture was, give or take half a frame at either end."""
LONGEST_DELAY: Final = 10 * CLOCK_RATE
"""Between the decoding and the showing of a picture; what is more is an error of the source."""

STILL_LIMIT: Final = 2 * CLOCK_RATE
HOLE: Final = 0.06
LATE: Final = 0.25
DRIFT: Final = 0.01
LONGEST_FILL: Final = 6.0


@dataclass(frozen=True, slots=True)
class Lengths:
    """Seconds: the part target of this track, the least length of a segment, and the least target
    duration."""

    part: float
    segment: float = 2.0
    target_duration: int = 4


class PictureSegmenter:
    """One video track. `target_duration` is 0 until the first segment is complete."""

    def __init__(self, track: Track, lengths: Lengths) -> None:
        self._cutter = Cutter(Kind.VIDEO, part_limit=round(lengths.part * CLOCK_RATE))
        self._track = track
        self._least = round(0.9 * lengths.segment * CLOCK_RATE)
        self._least_target = lengths.target_duration
        self._limit = FIRST_LIMIT * CLOCK_RATE
        self._shift: int | None = None
        self._held: AccessUnit | None = None
        self._frame = CLOCK_RATE // 30
        self._keyframe_at = 0
        self._interval = 0
        self._longest = 0.0
        self._changed = False
        self._discontinuity = False
        self.target_duration = 0

    @property
    def time(self) -> int | None:
        """Where the newest picture stands; None while a keyframe is waited for."""
        if self._held is None or self._shift is None:
            return None
        return self._held.dts + self._shift

    @property
    def keyframe_interval(self) -> float:
        """Seconds between the last two keyframes, 0 while unknown."""
        return self._interval / CLOCK_RATE

    def next_event(self) -> Event | None:
        return self._cutter.next_event()

    def announce(self, track: Track) -> None:
        """Other parameters hold from the next keyframe on."""
        self._track = track
        self._changed = True

    def receive(self, unit: AccessUnit) -> None:
        held, shift = self._held, self._shift
        if held is None or shift is None:
            if unit.keyframe:
                self._begin(unit)
            return
        if unit.dts - held.dts > STILL_LIMIT:
            self.interrupt()
            self.receive(unit)
            return
        self._finish(held, shift, unit.dts - held.dts)
        if unit.keyframe:
            self._interval = unit.dts - self._keyframe_at
            self._keyframe_at = unit.dts
            self._longest = max(self._interval, 0.9 * self._longest)
        if self._must_cut(unit, shift):
            self._cut(unit.dts + shift, unit)
        self._held = unit

    def interrupt(self) -> None:
        """What follows is no continuation: ends the segment, waits for a keyframe."""
        if self._held is not None and self._shift is not None:
            self._finish(self._held, self._shift, self._frame)
        self._close()
        self._held = None
        self._discontinuity = True

    def _begin(self, unit: AccessUnit) -> None:
        delay = min(unit.pts - unit.dts, LONGEST_DELAY)
        self._shift = max(delay, self._cutter.end - unit.dts)
        self._keyframe_at = unit.dts
        self._held = unit
        self._open(unit.dts + self._shift, unit)

    def _finish(self, held: AccessUnit, shift: int, duration: int) -> None:
        """The held picture's length is known: it goes into the segment."""
        time = held.dts + shift
        start = self._cutter.start
        if start is not None and time > start and time + duration - start > self._limit:
            self._cut(time, held)
        if duration <= STILL_LIMIT // 4:
            self._frame = duration
        offset = max(-LONGEST_DELAY, min(held.pts - time, LONGEST_DELAY))
        self._cutter.add(cmaf.Sample(time, duration, offset, held.keyframe, held.payload))

    def _must_cut(self, unit: AccessUnit, shift: int) -> bool:
        start = self._cutter.start
        if start is None:
            return False
        length = unit.dts + shift - start
        if not unit.keyframe:
            return length + self._frame > self._limit
        return length >= self._least or self._changed or length + self._longest > self._limit

    def _cut(self, time: int, first: AccessUnit) -> None:
        self._close()
        self._open(time, first)

    def _open(self, time: int, first: AccessUnit) -> None:
        # other parameters are another encoding, of which the draft wants to be told
        broken = self._discontinuity or (self._changed and first.keyframe)
        self._cutter.open(time, self._track, discontinuity=broken, independent=first.keyframe)
        self._discontinuity = False
        self._changed = self._changed and not first.keyframe

    def _close(self) -> None:
        start = self._cutter.start
        if start is None:
            return
        self._cutter.close()
        if not self.target_duration:
            length = Fraction(self._cutter.end - start, CLOCK_RATE)
            roomy = math.ceil(length * HEADROOM) if length > self._least_target else 0
            self.target_duration = max(self._least_target, roomy)
            self._limit = round((self.target_duration + LEEWAY) * CLOCK_RATE)


class SoundSegmenter:
    """One audio track; `leads` when there is no picture that says where to cut."""

    def __init__(self, track: Track, lengths: Lengths, *, leads: bool) -> None:
        self._format = cmaf.sound_format(track)
        rate = self._format.rate
        self._cutter = Cutter(Kind.AUDIO, part_limit=round(lengths.part * rate))
        self._track = track
        self._silence = cmaf.silence(track)
        self._leads = leads
        self._least = round(lengths.segment * rate) - self._format.frame // 2
        self._boundaries: deque[tuple[int, bool]] = deque(maxlen=64)
        self._held: cmaf.Sample | None = None
        self._next: int | None = None
        self._error = 0.0
        self._dropping = False
        self._changed = False
        self._discontinuity = False
        self.target_duration = lengths.target_duration if leads else 0
        """Set by whoever leads."""

    @property
    def rate(self) -> int:
        """The timescale."""
        return self._format.rate

    def next_event(self) -> Event | None:
        return self._cutter.next_event()

    def announce(self, track: Track) -> bool:
        """Other parameters hold from now on; False if that cannot be: the timescale of a track does
        not change, and in the midst of a segment nothing does."""
        changed = track.config != self._track.config
        if cmaf.sound_format(track).rate != self.rate or (
            changed and self._cutter.start is not None
        ):
            return False
        self._format = cmaf.sound_format(track)
        self._silence = cmaf.silence(track)
        self._changed = self._changed or changed
        self._track = track
        return True

    def boundary(self, time: int, *, discontinuity: bool) -> None:
        """The picture's segment began at `time`, in ticks of 90 kHz."""
        self._boundaries.append((self._at(time), discontinuity))

    def receive(self, unit: AccessUnit) -> None:
        due = self._at(unit.dts)
        if self._next is None and not self._begin(due):
            return
        assert self._next is not None
        error = due - self._next
        if error > HOLE * self.rate:
            self._bridge(error)
            error = due - self._next
        if self._is_late(error):
            return
        self._error += (error - self._error) / 16
        slack = DRIFT * self.rate
        stretch = 1 if self._error > slack else -1 if self._error < -slack else 0
        self._emit(unit.payload, self._format.frame + stretch)

    def fill_to(self, time: int) -> None:
        """Silence up to `time` (90 kHz): the source owes sound, and the player must not wait."""
        until = self._at(time)
        if self._silence is None or (self._next is None and not self._begin(until)):
            return
        while self._next is not None and self._next + self._format.frame <= until:
            self._emit(self._silence, self._format.frame)

    def interrupt(self) -> None:
        """What follows is no continuation: ends the segment, waits for a boundary."""
        self._flush()
        self._cutter.close()
        self._boundaries.clear()
        self._next = None
        self._discontinuity = True

    def _at(self, time: int) -> int:
        return (time * self.rate + CLOCK_RATE // 2) // CLOCK_RATE

    def _begin(self, due: int) -> bool:
        """Places the first frame; False if it comes before the picture does."""
        frame = self._format.frame
        self._error = 0.0
        self._dropping = False
        if self._leads:
            self._next = max(due, self._cutter.end)
            return True
        if not self._boundaries or due + frame // 2 < self._boundaries[0][0]:
            return False
        wanted = self._boundaries[0][0]
        owed = due - wanted
        if self._silence is None or not HOLE * self.rate < owed <= LONGEST_FILL * self.rate:
            owed = 0
        self._next = max(due - owed // frame * frame, self._cutter.end)
        return True

    def _bridge(self, error: int) -> None:
        assert self._next is not None
        if self._silence is None or error > LONGEST_FILL * self.rate:
            self._flush()
            self._next += error
        else:
            for _ in range(error // self._format.frame):
                self._emit(self._silence, self._format.frame)
        self._error = 0.0

    def _is_late(self, error: int) -> bool:
        """A frame for a time that has been filled, or that the source gave twice."""
        self._dropping = error < (-self._format.frame // 2 if self._dropping else -LATE * self.rate)
        return self._dropping

    def _emit(self, payload: bytes, duration: int) -> None:
        assert self._next is not None
        self._flush()
        time = self._next
        broken = self._is_due(time)
        if broken is not None:
            self._cutter.close()
            changed, self._changed = self._changed, False
            self._cutter.open(time, self._track, discontinuity=broken or changed, independent=True)
            self._discontinuity = False
        self._held = cmaf.Sample(time, duration, 0, True, payload)
        self._next = time + duration

    def _flush(self) -> None:
        if self._held is not None:
            self._cutter.add(self._held)
            self._held = None

    def _is_due(self, time: int) -> bool | None:
        """Whether a segment begins with the frame at `time`, and if so, as a discontinuity."""
        passed = False
        broken = self._discontinuity
        middle = time + self._format.frame // 2
        while self._boundaries and self._boundaries[0][0] <= middle:
            broken = self._boundaries.popleft()[1] or broken
            passed = True
        start = self._cutter.start
        if passed or start is None:
            return broken
        limit = ((self.target_duration or FIRST_LIMIT) + SOUND_LEEWAY) * self.rate
        long = time + self._format.frame - start > limit
        return broken if long or (self._leads and time - start >= self._least) else None
