"""Readers that cut the sound of a transport stream into frames, each with its own time."""

from collections.abc import Callable

from media.codecs import aac, opus
from media.codecs.aac import AudioConfig, split_adts
from media.errors import InvalidBitstream
from media.mpegts.latm import LatmReader
from media.mpegts.opus_units import split_opus
from media.mpegts.times import Unwrapper
from media.units import CLOCK_RATE, AccessUnit, Track, TrackId

Emit = Callable[[Track | AccessUnit], None]
Split = Callable[[bytes], tuple[list[tuple[AudioConfig, bytes]], bytes]]


class _FrameClock:
    """The time of each frame: a PES packet tells that of the first that begins in it, and the
    others follow by their samples, without rounding errors that add up."""

    def __init__(self, clock: Unwrapper) -> None:
        self._clock = clock
        self._start: int | None = None
        self._samples = 0
        self._rate = 1

    def set(self, pts: int | None) -> None:
        if pts is not None:
            self._start, _ = self._clock.unwrap(pts, pts)
            self._samples = 0

    def take(self, samples: int, rate: int) -> int | None:
        """The time of the next frame, which lasts so long; None before there was any."""
        if self._start is None:
            return None
        if rate != self._rate:
            self._start, self._samples, self._rate = self._now(), 0, rate
        now = self._now()
        self._samples += samples
        return now

    def _now(self) -> int:
        assert self._start is not None
        return self._start + (self._samples * CLOCK_RATE + self._rate // 2) // self._rate


class AacReader:
    """AAC in ADTS frames or in LATM. Frames may go on in the next PES packet."""

    def __init__(self, track: TrackId, clock: Unwrapper, emit: Emit, split: Split) -> None:
        self._track = track
        self._clock = _FrameClock(clock)
        self._emit = emit
        self._split = split
        self._config: AudioConfig | None = None
        self._rest = b""
        self.damaged = 0

    def head(self, payload: bytes) -> None:
        """Frames are given with their packet; the next one's beginning says nothing new."""

    def pes(self, pts: int | None, dts: int | None, payload: bytes) -> None:
        before = len(self._rest)
        frames, rest = self._split(self._rest + payload)
        # A frame that began in the packet before has its time from there.
        if before and frames:
            self._frame(*frames.pop(0))
        if not before or len(rest) <= len(payload):
            self._clock.set(pts)
        for config, raw in frames:
            self._frame(config, raw)
        self._rest = rest

    def lost(self) -> None:
        self._rest = b""

    def finish(self) -> None:
        self._rest = b""

    def _frame(self, config: AudioConfig, raw: bytes) -> None:
        if config != self._config:
            try:
                track = aac.track(self._track, config.serialize())
            except InvalidBitstream:
                self.damaged += 1
                return
            self._config = config
            self._emit(track)
        pts = self._clock.take(config.frame_samples, config.sample_rate)
        if pts is not None:
            self._emit(AccessUnit(self._track, pts, pts, True, raw))


def adts_reader(track: TrackId, clock: Unwrapper, emit: Emit) -> AacReader:
    return AacReader(track, clock, emit, split_adts)


def latm_reader(track: TrackId, clock: Unwrapper, emit: Emit) -> AacReader:
    return AacReader(track, clock, emit, LatmReader().split)


class OpusReader:
    """Opus, whose channels the programme map table tells (`config`)."""

    def __init__(
        self, track: TrackId, clock: Unwrapper, emit: Emit, config: opus.OpusConfig
    ) -> None:
        self._track = track
        self._clock = _FrameClock(clock)
        self._emit = emit
        self._config: opus.OpusConfig | None = config
        self.damaged = 0

    def head(self, payload: bytes) -> None:
        """Packets are given with their PES packet."""

    def pes(self, pts: int | None, dts: int | None, payload: bytes) -> None:
        self._clock.set(pts)
        try:
            for packet in split_opus(payload):
                self._packet(packet, opus.packet_samples(packet))
        except InvalidBitstream:
            self.damaged += 1

    def lost(self) -> None:
        """Nothing of a packet is kept for the next."""

    def finish(self) -> None:
        """Nothing of a packet is kept for the next."""

    def _packet(self, packet: bytes, samples: int) -> None:
        if self._config is not None:
            self._emit(opus.track(self._track, self._config.serialize()))
            self._config = None
        pts = self._clock.take(samples, opus.SAMPLE_RATE)
        if pts is not None:
            self._emit(AccessUnit(self._track, pts, pts, True, packet))
