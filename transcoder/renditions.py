"""Which renditions a stream needs besides its source, and what to tell the publisher of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from media.stream import AUDIO, AUDIO_AAC, AUDIO_OPUS, VIDEO, VIDEO_WEBRTC, Notice
from media.units import Codec, Track, TrackId

B_FRAMES: Final = Notice(
    code="b_frames",
    message=(
        "The video has B-frames, which browsers cannot play without delay. It is re-encoded for "
        "them, which costs quality and server power; HLS gets the original. In OBS: Settings, "
        "Output, Output Mode: Advanced, Streaming; with a hardware encoder set B-Frames to 0, "
        "with x264 set Tune to zerolatency."
    ),
)
VIDEO_CODEC: Final = Notice(
    code="video_codec",
    message=(
        "Not every browser can play this video codec in real time. It is re-encoded to H.264 for "
        "them, which costs quality and server power; HLS gets the original. In OBS: Settings, "
        "Output, Streaming, choose an H.264 (AVC) video encoder."
    ),
)
VIDEO_PROFILE: Final = Notice(
    code="video_profile",
    message=(
        "The video uses an H.264 profile with more than 8 bits or with full colour resolution, "
        "which browsers cannot play. It is re-encoded for them, which costs quality and server "
        "power. In OBS: Settings, Advanced, set Color Format to NV12, and the encoder's profile "
        "to high."
    ),
)
VIDEO_NOTICES: Final = (B_FRAMES, VIDEO_CODEC, VIDEO_PROFILE)

PLAYABLE_PROFILES: Final = frozenset({66, 77, 88, 100})
"""profile_idc of Baseline, Main, Extended and High."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """`target` is to be made out of `source` in `codec`; `notice` says why, when it is a pity."""

    source: TrackId
    target: TrackId
    codec: Codec
    notice: Notice | None = None


def needed(tracks: Mapping[TrackId, Track], *, reorders: bool) -> Mapping[TrackId, Rendition]:
    """The renditions by target. `reorders`: the source's video has B-frames."""
    made = []
    audio = tracks.get(AUDIO)
    if audio is not None and audio.codec is Codec.AAC:
        made.append(Rendition(AUDIO, AUDIO_OPUS, Codec.OPUS))
    if audio is not None and audio.codec is Codec.OPUS:
        made.append(Rendition(AUDIO, AUDIO_AAC, Codec.AAC))
    video = tracks.get(VIDEO)
    notice = _complaint(video, reorders) if video is not None else None
    if notice is not None:
        made.append(Rendition(VIDEO, VIDEO_WEBRTC, Codec.H264, notice))
    return {rendition.target: rendition for rendition in made}


def _complaint(video: Track, reorders: bool) -> Notice | None:
    if video.codec is not Codec.H264:
        return VIDEO_CODEC
    if video.config[1:2] and video.config[1] not in PLAYABLE_PROFILES:
        return VIDEO_PROFILE
    return B_FRAMES if reorders else None
