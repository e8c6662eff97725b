"""The codec work itself, and the only package that calls PyAV's codecs.

A pipeline takes the units of one source track and gives the units of one rendition, on the same
clock. The rules about time:

- A rendition's times are computed from the source's. Sound is counted in samples from an anchor, so
  that its times never jitter; a source that drifts away from its own sample rate is followed by
  stretching, small holes are filled with silence, and only a hole of a second sets a new anchor.
  A picture keeps its pts.
- What an encoder keeps back (pre-skip, priming) is subtracted, so that what is *heard* keeps its
  time.
- A picture that comes too late is decoded but not encoded: the rendition loses frames, never time.

Damaged input is counted and skipped; `CodecError` comes of a codec that cannot be used at all.
"""

from typing import Final, Protocol

from av.error import FFmpegError

from media.units import AccessUnit, Codec, Track, TrackId
from transcoder.pipeline.picture import PicturePipeline
from transcoder.pipeline.sound import SoundPipeline

CodecError: Final = FFmpegError
"""What a codec that cannot go on raises."""


class Pipeline(Protocol):
    @property
    def errors(self) -> int:
        """Damaged units so far."""
        ...

    @property
    def skipped(self) -> int:
        """Pictures that were left out to keep up."""
        ...

    def configure(self, track: Track) -> None:
        """The source's parameters: before its first unit, and whenever they change."""

    def transcode(self, unit: AccessUnit, *, behind: int) -> list[Track | AccessUnit]:
        """What the rendition gains by this unit. `behind` says how many ticks newer than this one
        the newest unit is that waits already."""
        ...

    def gap(self) -> None:
        """What follows is no continuation."""


def make_pipeline(target: TrackId, codec: Codec, *, after: int = -1) -> Pipeline:
    """A pipeline for a rendition in OPUS, AAC or H264, of what is later than the tick `after`."""
    match codec:
        case Codec.OPUS | Codec.AAC:
            return SoundPipeline(target, codec, after=after)
        case Codec.H264:
            return PicturePipeline(target, after=after)
        case _:
            raise ValueError(f"there is no pipeline for {codec}")
