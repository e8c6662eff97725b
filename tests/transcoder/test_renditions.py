import pytest

from media.stream import AUDIO, AUDIO_AAC, AUDIO_OPUS, VIDEO, VIDEO_WEBRTC, Notice
from media.units import Codec, Track
from transcoder.renditions import B_FRAMES, VIDEO_CODEC, VIDEO_PROFILE, Rendition, needed

BASELINE = bytes([1, 66, 0xE0, 31])
HIGH = bytes([1, 100, 0, 31])
HIGH_10 = bytes([1, 110, 0, 31])
HIGH_444 = bytes([1, 244, 0, 31])


def video(codec: Codec = Codec.H264, config: bytes = HIGH) -> Track:
    return Track(VIDEO, codec, config)


def audio(codec: Codec) -> Track:
    return Track(AUDIO, codec, b"")


def test_sound_is_wanted_in_both_codecs() -> None:
    from_aac = needed({AUDIO: audio(Codec.AAC)}, reorders=False)
    from_opus = needed({AUDIO: audio(Codec.OPUS)}, reorders=False)

    assert from_aac == {AUDIO_OPUS: Rendition(AUDIO, AUDIO_OPUS, Codec.OPUS)}
    assert from_opus == {AUDIO_AAC: Rendition(AUDIO, AUDIO_AAC, Codec.AAC)}


@pytest.mark.parametrize("config", [BASELINE, HIGH, b""])
def test_h264_in_order_goes_to_browsers_as_it_is(config: bytes) -> None:
    assert needed({VIDEO: video(config=config)}, reorders=False) == {}


@pytest.mark.parametrize(
    ("track", "reorders", "notice"),
    [
        (video(), True, B_FRAMES),
        (video(config=HIGH_10), False, VIDEO_PROFILE),
        (video(config=HIGH_444), True, VIDEO_PROFILE),
        (video(Codec.HEVC), False, VIDEO_CODEC),
        (video(Codec.AV1), False, VIDEO_CODEC),
        (video(Codec.HEVC), True, VIDEO_CODEC),
    ],
)
def test_video_is_re_encoded_for_a_reason_that_is_told(
    track: Track, reorders: bool, notice: Notice
) -> None:
    made = needed({VIDEO: track}, reorders=reorders)

    assert made == {VIDEO_WEBRTC: Rendition(VIDEO, VIDEO_WEBRTC, Codec.H264, notice)}
    assert "OBS" in notice.message


def test_renditions_need_no_renditions() -> None:
    tracks = {
        AUDIO_OPUS: Track(AUDIO_OPUS, Codec.OPUS, b""),
        VIDEO_WEBRTC: Track(VIDEO_WEBRTC, Codec.H264, HIGH),
    }

    assert needed(tracks, reorders=True) == {}
