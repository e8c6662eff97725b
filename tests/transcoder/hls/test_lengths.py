"""How long segments and parts come out, whatever the source's keyframes and the settings are."""

import math
from typing import Any

import pytest

from tests.support.hls import pictures, sound
from tests.support.hls_room import Room, read
from transcoder.hls.presentation import HlsConfig

PICTURE = pictures()
SOUND = sound()


def test_keyframes_far_apart_are_told_to_the_publisher() -> None:
    room = Room()

    room.feed(pictures(gop=300), SOUND, seconds=45)

    [notice] = room.stream.notices
    assert notice.code == "long_keyframe_interval"
    playlist = read(room.presentation, "video")
    assert playlist.target == 13
    assert all(abs(segment.duration - 10) < 0.01 for segment in playlist.closed)
    assert "EXT-X-INDEPENDENT-SEGMENTS" in playlist.tags

    room.feed(PICTURE, SOUND, seconds=8)

    assert room.stream.notices == ()


def test_a_segment_does_not_outgrow_the_target_for_want_of_a_keyframe() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=8)

    room.feed(pictures(gop=300), SOUND, seconds=20)

    playlist = read(room.presentation, "video")
    assert playlist.target == 4
    assert max(segment.duration for segment in playlist.closed) < 4.5
    assert "EXT-X-INDEPENDENT-SEGMENTS" not in playlist.tags
    assert "INDEPENDENT" not in room.presentation.index().body.decode()


def test_keyframes_four_seconds_apart_make_segments_of_four_seconds() -> None:
    room = Room()

    room.feed(pictures(gop=120), SOUND, seconds=60)

    playlist = read(room.presentation, "video")
    assert playlist.target == 4
    assert all(abs(segment.duration - 4) < 0.01 for segment in playlist.closed)
    assert "EXT-X-INDEPENDENT-SEGMENTS" in playlist.tags


@pytest.mark.parametrize(("part_s", "segment_s"), [(0.1, 0.1), (0.1, 6), (2, 2), (2, 6)])
@pytest.mark.parametrize("window_s", [0, 3600])
@pytest.mark.parametrize("gop", [30, 60, 120])
def test_the_most_and_the_least_that_may_be_set(
    part_s: float, segment_s: float, window_s: float, gop: int
) -> None:
    room = Room(HlsConfig(part_s=part_s, segment_s=segment_s, window_s=window_s))

    room.feed(pictures(gop=gop), SOUND, seconds=90)

    playlist = read(room.presentation, "video")
    assert abs(playlist.part_target - part_s) < 0.02
    assert all(segment.duration >= 0.85 * segment_s for segment in playlist.closed)
    assert "EXT-X-INDEPENDENT-SEGMENTS" in playlist.tags
    assert (playlist.media_sequence == 0) == (window_s > 0)
    read(room.presentation, "audio")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("part_s", 0.09),
        ("part_s", 2.1),
        ("segment_s", 0.4),
        ("segment_s", 6.5),
        ("window_s", -1.0),
        ("window_s", math.inf),
        ("ended_keep_s", math.inf),
        ("ended_keep_s", math.nan),
    ],
)
def test_what_would_not_work_cannot_be_set(key: str, value: float) -> None:
    changes: dict[str, Any] = {key: value}

    with pytest.raises(ValueError, match=key):
        HlsConfig(**changes)
