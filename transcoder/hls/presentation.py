"""One presentation: the renditions of a stream for as long as its set of tracks is the same.

Routes units to the segmenters and what those cut to the renditions, and keeps the playlists: each
is written once for each state, whoever asks how often. The sound waits for the picture (up to
`LONGEST_LEAD`), so that both are cut at the same places; when it falls more than `LONGEST_LAG`
behind, silence stands in for it, so that a lost sound track does not stop the picture.
"""

import gzip
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from media.units import CLOCK_RATE, AccessUnit, Codec, Kind, Track, TrackId
from transcoder.hls import cmaf, playlist
from transcoder.hls.cutter import SegmentOpened
from transcoder.hls.doorbell import Doorbell
from transcoder.hls.playlist import Skip, Variant
from transcoder.hls.segmenter import Lengths, PictureSegmenter, SoundSegmenter
from transcoder.hls.store import Rendition

LONGEST_LEAD: Final = 1 * CLOCK_RATE
LONGEST_LAG: Final = 2 * CLOCK_RATE
LONGEST_QUEUE: Final = 1024
"""Frames of sound that may wait for a picture: some 20 s."""
LONGEST_SEGMENT: Final = 6.0
"""What Apple recommends; the first segment must find its keyframe within `FIRST_LIMIT`."""
LONGEST_KEPT: Final = 3600.0

_RATES: Final = (24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60, 120)


@dataclass(frozen=True, slots=True)
class HlsConfig:
    """Seconds. `target_duration` is the least that is announced; it grows when the first segment
    is longer. `start_wait_s` is how long a request waits for a stream that has only just begun.

    Raises `ValueError`, which begins with the name of what does not work.
    """

    part_s: float = 0.5
    segment_s: float = 2.0
    window_s: float = 60.0
    ended_keep_s: float = 60.0
    target_duration: int = 4
    start_wait_s: float = 10.0
    max_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if not 0.1 <= self.part_s <= min(2.0, self.segment_s):
            raise ValueError("part_s: must be from 0.1 to 2, and not more than segment_s")
        if not self.segment_s <= LONGEST_SEGMENT:
            raise ValueError(f"segment_s: must not be more than {LONGEST_SEGMENT:g}")
        for name in ("window_s", "ended_keep_s"):
            if not 0 <= getattr(self, name) <= LONGEST_KEPT:
                raise ValueError(f"{name}: must be from 0 to {LONGEST_KEPT:g}")

    @property
    def lengths(self) -> Lengths:
        return Lengths(self.part_s, self.segment_s, self.target_duration)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A playlist's bytes, plain and compressed, and their entity tag without quotes."""

    body: bytes
    compressed: bytes
    etag: str


@dataclass(slots=True)
class Output:
    """A rendition, and the bell that rings when it has grown."""

    rendition: Rendition
    bell: Doorbell = field(default_factory=Doorbell)


def nearest_rate(measured: float, stated: float) -> float:
    """Frames a second: what the bitstream states if the timestamps agree with it, else the usual
    rate that is nearest, else what was measured."""
    if stated and abs(measured / stated - 1) < 0.02:
        return stated
    usual = min(_RATES, key=lambda rate: abs(measured / rate - 1))
    return usual if abs(measured / usual - 1) < 0.01 else measured


def part_target(unit: float, wanted: float, *, margin: float = 0.0) -> float:
    """The part target, in whole milliseconds, for units of `unit` seconds each: as many as make
    about `wanted` seconds, so that parts come out even."""
    count = max(1, math.ceil(wanted / unit - 0.1))
    return math.ceil((count * unit + margin) * 1000 - 1e-6) / 1000


class Presentation:
    """`id` is never used again; `wall_origin` is the UTC time in seconds of the stream's tick 0.

    At least one of `picture` and `sound` is given; `frame_rate` is the picture's.
    Raises `InvalidBitstream` when the sound's configuration makes no sense.
    """

    def __init__(
        self,
        identity: str,
        config: HlsConfig,
        *,
        wall_origin: float,
        picture: Track | None,
        sound: Track | None,
        frame_rate: float = 0.0,
    ) -> None:
        self.id = identity
        self.picture_codec = picture.codec if picture else None
        self._wall_origin = wall_origin
        self._config = config
        self._picture: PictureSegmenter | None = None
        self._sound: SoundSegmenter | None = None
        self._picture_id = picture.id if picture else None
        self._sound_id = sound.id if sound else None
        self._queue: deque[AccessUnit] = deque(maxlen=LONGEST_QUEUE)
        self.outputs: dict[str, Output] = {}
        self.ended = False
        self.started = Doorbell()
        self._cache: dict[tuple[str, Skip], tuple[int, Rendered]] = {}
        lengths = config.lengths
        if picture is not None:
            part = part_target(1 / frame_rate if frame_rate else 0.01, config.part_s)
            self._picture = PictureSegmenter(
                picture, Lengths(part, lengths.segment, lengths.target_duration)
            )
            self._picture_output = self._add("video", Kind.VIDEO, part)
        if sound is not None:
            form = cmaf.sound_format(sound)
            part = part_target(form.frame / form.rate, config.part_s, margin=0.001)
            self._sound = SoundSegmenter(
                sound, Lengths(part, lengths.segment, lengths.target_duration), leads=not picture
            )
            self._sound_output = self._add("audio", Kind.AUDIO, part)
        leading, *rest = [output.rendition for output in self.outputs.values()]
        self._variants = [Variant(leading, frame_rate, *rest)]

    # What goes in

    @property
    def has_sound(self) -> bool:
        return self._sound is not None

    @property
    def keyframe_interval(self) -> float:
        """Seconds between the last two keyframes, 0 while unknown."""
        return self._picture.keyframe_interval if self._picture else 0.0

    def announce(self, track: Track) -> bool:
        """New parameters; False if only another presentation can carry them. Raises
        `InvalidBitstream`."""
        if track.kind is Kind.VIDEO:
            if self._picture is None or track.codec is not self.picture_codec:
                return False
            self._picture.announce(track)
            return True
        if self._sound is None or track.codec is not Codec.AAC:
            return False
        self._release(everything=True)
        return self._sound.announce(track)

    def listen(self, source: TrackId | None) -> None:
        """Takes the sound from this track from now on; None: silence until there is one again."""
        self._sound_id = source

    def receive(self, unit: AccessUnit) -> None:
        if unit.track == self._picture_id and self._picture is not None:
            self._picture.receive(unit)
            self._drain()
            self._release()
        elif unit.track == self._sound_id:
            self._queue.append(unit)
            self._release()

    def interrupt(self) -> None:
        """A gap: what follows is no continuation. Both renditions end together, with silence where
        the source owes sound: a player waits for the one that is shorter."""
        self._release(everything=True)
        if self._sound is not None and self._picture is not None and self._picture.time is not None:
            self._sound.fill_to(self._picture.time)
        for segmenter in (self._picture, self._sound):
            if segmenter is not None:
                segmenter.interrupt()
        self._drain()

    def finish(self) -> list[AccessUnit]:
        """Ends the playlists; gives back the sound that has found no picture."""
        waiting = [] if self._picture is None or self._picture.time is not None else [*self._queue]
        if waiting:
            self._queue.clear()
        self.interrupt()
        self.ended = True
        for output in self.outputs.values():
            output.rendition.end()
            output.bell.ring()
        self.started.ring()
        return waiting

    # What comes out

    @property
    def ready(self) -> bool:
        """True once every rendition has a whole segment."""
        return all(output.rendition.ready for output in self.outputs.values())

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(output.rendition.size for output in self.outputs.values())

    @property
    def waiting(self) -> int:
        """Requests that wait for a part."""
        return self.started.waiting + sum(o.bell.waiting for o in self.outputs.values())

    def index(self) -> Rendered:
        return self._render("", Skip.NOTHING)

    def media(self, name: str, skip: Skip) -> Rendered:
        return self._render(name, skip)

    def _render(self, name: str, skip: Skip) -> Rendered:
        version = sum(output.rendition.version for output in self.outputs.values())
        known = self._cache.get((name, skip))
        if known is not None and known[0] == version:
            return known[1]
        text = self._text(name, skip).encode()
        compressed = gzip.compress(text, compresslevel=6, mtime=0)
        rendered = Rendered(text, compressed, blake2b(text, digest_size=9).hexdigest())
        self._cache[name, skip] = (version, rendered)
        return rendered

    def _text(self, name: str, skip: Skip) -> str:
        if not name:
            return playlist.multivariant(self.id, self._variants)
        others = [o.rendition for other, o in self.outputs.items() if other != name]
        return playlist.media(
            self.outputs[name].rendition, wall_origin=self._wall_origin, others=others, skip=skip
        )

    # How it gets there

    def _add(self, name: str, kind: Kind, part: float) -> Output:
        rendition = Rendition(
            name,
            kind,
            part_target=part,
            window=self._config.window_s,
            max_bytes=self._config.max_bytes,
        )
        self.outputs[name] = Output(rendition)
        return self.outputs[name]

    def _release(self, *, everything: bool = False) -> None:
        """Lets the sound go up to where the picture is."""
        if self._sound is None:
            return
        queue = self._queue
        horizon = self._picture.time if self._picture is not None else None
        while queue:
            waits = self._picture is not None and not everything
            if waits and (horizon is None or queue[0].dts > horizon):
                lead = 0 if horizon is None else queue[-1].dts - queue[0].dts
                if lead <= LONGEST_LEAD:
                    break
            self._sound.receive(queue.popleft())
        if horizon is not None and not everything:
            self._sound.fill_to(horizon - LONGEST_LAG)
        self._drain()

    def _drain(self) -> None:
        ready = self.ready
        if self._picture is not None:
            self._drain_picture(self._picture)
        if self._sound is not None:
            self._drain_sound(self._sound)
        if not ready and self.ready:
            self.started.ring()

    def _drain_picture(self, picture: PictureSegmenter) -> None:
        output = self._picture_output
        version = output.rendition.version
        while (event := picture.next_event()) is not None:
            output.rendition.target_duration = picture.target_duration
            output.rendition.apply(event)
            if isinstance(event, SegmentOpened) and self._sound is not None:
                self._sound.boundary(event.time, discontinuity=event.discontinuity)
        if self._sound is not None:
            self._sound.target_duration = picture.target_duration
        if output.rendition.version != version:
            output.bell.ring()

    def _drain_sound(self, sound: SoundSegmenter) -> None:
        output = self._sound_output
        version = output.rendition.version
        output.rendition.target_duration = sound.target_duration
        while (event := sound.next_event()) is not None:
            output.rendition.apply(event)
        if output.rendition.version != version:
            output.bell.ring()


def frame_rate(units: Sequence[AccessUnit], track: Track, picture: TrackId) -> float:
    """Of a picture track, from its units so far; what the bitstream states while there are too
    few."""
    times = [unit.dts for unit in units if unit.track == picture]
    if len(times) < 2 or times[-1] == times[0]:
        return track.frame_rate
    return nearest_rate((len(times) - 1) * CLOCK_RATE / (times[-1] - times[0]), track.frame_rate)
