"""Playlists as text: multivariant and media, draft-pantos-hls-rfc8216bis. Pure; every URI relative.

Layout below `/hls/ROOM/`: `index.m3u8`, `ID/NAME.m3u8`, and `ID/NAME/` with `init-N.mp4`,
`MSN.m4s` and `MSN.PART.m4s`. ID is new with every presentation, so a cache that keeps media
for a year never answers with the bytes of an older one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Final

from media.codecs.strings import codec_string
from media.units import Kind, Track
from transcoder.hls.store import Rendition, Segment

VERSION: Final = 9
VERSION_SKIPPING_RANGES: Final = 10
AUDIO_GROUP: Final = "sound"
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Skip(StrEnum):
    """What a delta update leaves out (`_HLS_skip`)."""

    NOTHING = ""
    SEGMENTS = "YES"
    SEGMENTS_AND_RANGES = "v2"


@dataclass(frozen=True, slots=True)
class Variant:
    """A rendition of the picture, or of the sound alone, with the sound that goes with it.

    `frame_rate` in frames a second, 0 when unknown or without a picture.
    """

    rendition: Rendition
    frame_rate: float = 0.0
    sound: Rendition | None = None


def initialization_name(index: int) -> str:
    return f"init-{index}.mp4"


def segment_name(msn: int) -> str:
    return f"{msn}.m4s"


def part_name(msn: int, part: int) -> str:
    return f"{msn}.{part}.m4s"


def hold_back(renditions: Sequence[Rendition]) -> float:
    """PART-HOLD-BACK: three of the longest part target, and rounded up."""
    return ceil(300 * max(rendition.part_target for rendition in renditions)) / 100


def multivariant(prefix: str, variants: Sequence[Variant]) -> str:
    """`prefix` is the presentation's id; all renditions must be `ready`."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
    renditions = [variant.rendition for variant in variants]
    if all(segment.independent for one in renditions for segment in one.listed):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    sounds = {variant.sound.name: variant.sound for variant in variants if variant.sound}
    for position, sound in enumerate(sounds.values()):
        channels = sound.track.channels if sound.track else 2
        default = "YES" if position == 0 else "NO"
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{AUDIO_GROUP}",NAME="{sound.name}",'
            f'DEFAULT={default},AUTOSELECT=YES,CHANNELS="{channels}",'
            f'URI="{prefix}/{sound.name}.m3u8"'
        )
    for variant in variants:
        lines += [_stream_inf(variant), f"{prefix}/{variant.rendition.name}.m3u8"]
    return "\n".join(lines) + "\n"


def media(
    rendition: Rendition,
    *,
    wall_origin: float,
    others: Sequence[Rendition] = (),
    skip: Skip = Skip.NOTHING,
) -> str:
    """The playlist of a rendition that is `ready`; `others` are all the presentation's further
    ones, `wall_origin` the UTC time in seconds of the stream's tick 0."""
    target = rendition.target_duration
    segments = [segment for segment in rendition.listed if segment.closed or segment.parts]
    skipped = 0
    if skip and not rendition.ended:
        skipped = len(segments) - _newest(segments, 6 * target)
    ranges = skip is Skip.SEGMENTS_AND_RANGES and skipped > 0
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{VERSION_SKIPPING_RANGES if ranges else VERSION}",
        f"#EXT-X-TARGETDURATION:{target}",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
        f"PART-HOLD-BACK={hold_back((rendition, *others)):.2f},"
        f"HOLD-BACK={3 * target},CAN-SKIP-UNTIL={6 * target}",
        f"#EXT-X-PART-INF:PART-TARGET={rendition.part_target:.3f}",
        f"#EXT-X-MEDIA-SEQUENCE:{rendition.media_sequence}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{rendition.discontinuity_sequence}",
    ]
    if all(segment.independent for segment in segments):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    if skipped:
        recently = ',RECENTLY-REMOVED-DATERANGES=""' if ranges else ""
        lines.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}{recently}")
    without_parts = len(segments) - _newest(segments, 3 * target)
    initialization = -1
    for position, segment in enumerate(segments[skipped:], skipped):
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.initialization != initialization:
            initialization = segment.initialization
            name = initialization_name(initialization)
            lines.append(f'#EXT-X-MAP:URI="{rendition.name}/{name}"')
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date_time(wall_origin + segment.start)}")
        if position >= without_parts:
            lines += _parts(rendition.name, segment)
        if segment.closed:
            lines.append(f"#EXTINF:{segment.duration:.5f},")
            lines.append(f"{rendition.name}/{segment_name(segment.msn)}")
    if rendition.ended:
        lines.append("#EXT-X-ENDLIST")
    else:
        name = part_name(*rendition.next_part)
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{rendition.name}/{name}"')
    for other in others:
        msn, part = other.last
        lines.append(
            f'#EXT-X-RENDITION-REPORT:URI="{other.name}.m3u8",LAST-MSN={msn},LAST-PART={part}'
        )
    return "\n".join(lines) + "\n"


def _newest(segments: Sequence[Segment], seconds: float) -> int:
    """How many segments from the end lie, wholly or in part, in the last so many seconds."""
    count, length = 0, 0.0
    for segment in reversed(segments):
        if length >= seconds:
            break
        count, length = count + 1, length + segment.duration
    return count


def _parts(name: str, segment: Segment) -> list[str]:
    return [
        f"#EXT-X-PART:DURATION={part.duration:.5f},"
        f'URI="{name}/{part_name(segment.msn, index)}"'
        f"{',INDEPENDENT=YES' if part.independent else ''}"
        for index, part in enumerate(segment.parts)
    ]


def _date_time(wall: float) -> str:
    moment = EPOCH + timedelta(milliseconds=round(wall * 1000))
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _stream_inf(variant: Variant) -> str:
    picture, sound = variant.rendition, variant.sound
    both = [rendition for rendition in (picture, sound) if rendition is not None]
    tracks: list[Track] = [rendition.track for rendition in both if rendition.track is not None]
    attributes = [
        f"BANDWIDTH={_rounded(sum(rendition.peak_bandwidth for rendition in both))}",
        f"AVERAGE-BANDWIDTH={_rounded(sum(rendition.average_bandwidth for rendition in both))}",
        f'CODECS="{",".join(codec_string(track) for track in tracks)}"',
    ]
    if picture.kind is Kind.VIDEO and picture.track is not None:
        if picture.track.width and picture.track.height:
            attributes.append(f"RESOLUTION={picture.track.width}x{picture.track.height}")
        if variant.frame_rate:
            attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
        attributes.append("CLOSED-CAPTIONS=NONE")
    if sound is not None:
        attributes.append(f'AUDIO="{AUDIO_GROUP}"')
    return "#EXT-X-STREAM-INF:" + ",".join(attributes)


def _rounded(bits: int) -> int:
    """Up to the next thousand: never less than what was measured, and not another with each bit."""
    return ceil(bits / 1000) * 1000
