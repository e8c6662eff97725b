"""Sound of any rate and layout to 48 kHz stereo, in Opus for browsers or AAC for HLS."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import CodecContext, Flags
from av.error import BlockingIOError as TryAgain
from av.filter import Graph
from av.packet import Packet

from media.codecs import aac, opus
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId
from transcoder.pipeline.source import TICK, SourceDecoder

SAMPLE_RATE: Final = 48_000
BIT_RATE: Final = 128_000
OPUS_FRAME: Final = 960
"""20 ms, what WebRTC expects."""
AAC_FRAME: Final = 1024
REANCHOR_TICKS: Final = 1 * CLOCK_RATE
"""A hole that is jumped over instead of being filled with silence."""

# Stretch at most 1000 samples a second, and only for more than 5 ms of drift, which leaves the
# millisecond rounding of RTMP alone; from 60 ms on, fill or cut at once. Resample in any case
# (flags=res), since the filter would lose its count of samples when it begins to.
_ALIGNMENT: Final = "flags=res:async=1000:min_comp=0.005:min_hard_comp=0.06:comp_duration=1"
# What is mixed down must not clip, in floating point neither.
_MIXING: Final = "out_chlayout=stereo:rematrix_maxval=1.0"


class SoundChain:
    """From decoded sound of one format to packets of one encoder, counted from one anchor."""

    def __init__(self, first: AudioFrame, codec: Codec) -> None:
        self.layout = (first.sample_rate, first.format.name, first.layout.name)
        self.encoder = _sound_encoder(codec)
        frame_size = OPUS_FRAME if codec is Codec.OPUS else AAC_FRAME
        self._graph = Graph()
        source = self._graph.add_abuffer(
            sample_rate=first.sample_rate,
            format=first.format.name,
            layout=first.layout.name,
            time_base=TICK,
        )
        steps = [
            self._graph.add(
                "aresample",
                f"{SAMPLE_RATE}:out_sample_fmt={self.encoder.format.name}:{_MIXING}:{_ALIGNMENT}",
            ),
            self._graph.add("asetnsamples", f"n={frame_size}:p=0"),
            self._graph.add("abuffersink"),
        ]
        if first.layout.nb_channels == 1:
            # Resampling alone would put one channel into two at 3 dB less.
            steps.insert(0, self._graph.add("pan", "stereo|c0=c0|c1=c0"))
        for step in steps:
            source.link_to(step)
            source = step
        self._graph.configure()

    def fits(self, frame: AudioFrame) -> bool:
        return self.layout == (frame.sample_rate, frame.format.name, frame.layout.name)

    def push(self, frame: AudioFrame) -> "Iterator[Packet[AudioStream]]":
        frame.time_base = TICK
        self._graph.push(frame)
        while True:
            try:
                ready = self._graph.pull()
            except TryAgain:
                return
            assert isinstance(ready, AudioFrame)
            yield from self.encoder.encode(ready)


def _sound_encoder(codec: Codec) -> AudioCodecContext:
    encoder = CodecContext.create("libopus" if codec is Codec.OPUS else "aac", "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate = SAMPLE_RATE
    encoder.layout = "stereo"
    encoder.bit_rate = BIT_RATE
    encoder.time_base = Fraction(1, SAMPLE_RATE)
    if codec is Codec.OPUS:
        encoder.format = "flt"
        # Complexity 10 costs 0.15 % of a core more than 5: the best there is, then. No in-band FEC:
        # at this rate Opus carries none, and asking for it would turn speech to its narrow mode.
        encoder.options = {"application": "audio", "frame_duration": "20", "vbr": "constrained"}
    else:
        encoder.format = "fltp"
        encoder.flags |= Flags.global_header
    encoder.open()
    return encoder


class SoundPipeline:
    """Sound of any rate and layout to 48 kHz stereo, in Opus or AAC."""

    def __init__(self, target: TrackId, codec: Codec, *, after: int = -1) -> None:
        self.skipped = 0
        self._target = target
        self._codec = codec
        self._decoder = SourceDecoder()
        self._chain: SoundChain | None = None
        self._announced = False
        self._expected = 0
        self._newest = after

    @property
    def errors(self) -> int:
        return self._decoder.errors

    def configure(self, track: Track) -> None:
        if self._decoder.configure(track):
            self._chain = None

    def gap(self) -> None:
        self._decoder.restart()
        self._chain = None

    def transcode(self, unit: AccessUnit, *, behind: int) -> list[Track | AccessUnit]:
        made: list[Track | AccessUnit] = []
        for frame in self._decoder.decode(unit):
            if isinstance(frame, AudioFrame) and frame.samples:
                made += self._encode(frame)
        return made

    def _encode(self, frame: AudioFrame) -> Iterator[Track | AccessUnit]:
        pts = frame.pts if frame.pts is not None else self._expected
        jumped = abs(pts - self._expected) > REANCHOR_TICKS
        self._expected = pts + frame.samples * CLOCK_RATE // frame.sample_rate
        if self._chain is None or jumped or not self._chain.fits(frame):
            self._chain = SoundChain(frame, self._codec)
            if not self._announced:
                self._announced = True
                yield self._track(self._chain.encoder.extradata or b"")
        frame.pts = pts
        for packet in self._chain.push(frame):
            assert packet.pts is not None
            at = packet.pts * CLOCK_RATE // SAMPLE_RATE
            # A new anchor may overlap what the old one still gave, and priming reaches back.
            if at > self._newest:
                self._newest = at
                yield AccessUnit(self._target, at, at, True, bytes(packet))

    def _track(self, extradata: bytes) -> Track:
        if self._codec is Codec.OPUS:
            return opus.track(self._target, opus.OpusConfig.from_head(extradata).serialize())
        return aac.track(self._target, extradata)
