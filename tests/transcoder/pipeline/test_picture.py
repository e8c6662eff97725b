import itertools
from collections.abc import Iterable
from dataclasses import replace

import pytest

from media.codecs import h264
from media.codecs.nal import split_length_prefixed
from media.stream import VIDEO_WEBRTC
from media.units import CLOCK_RATE, AccessUnit, Codec, Track
from tests.support.transcoder import decoded, number_of, pictures
from transcoder.pipeline import Pipeline, make_pipeline
from transcoder.pipeline.picture import BitRateMeter, fitted, rate_cap

START = 500_000
FRAME_TICKS = 3_000


def fed(
    pipeline: Pipeline, units: Iterable[AccessUnit], *, behind: int = 0
) -> tuple[list[Track], list[AccessUnit]]:
    made = [item for unit in units for item in pipeline.transcode(unit, behind=behind)]
    return (
        [item for item in made if isinstance(item, Track)],
        [item for item in made if isinstance(item, AccessUnit)],
    )


def configured(track: Track) -> Pipeline:
    pipeline = make_pipeline(VIDEO_WEBRTC, Codec.H264)
    pipeline.configure(track)
    return pipeline


@pytest.mark.parametrize(
    ("codec", "b_frames"),
    [(Codec.H264, 3), (Codec.HEVC, 2), (Codec.H264, 0), (Codec.AV1, 0)],
)
def test_every_picture_comes_out_in_order_at_its_own_time(codec: Codec, b_frames: int) -> None:
    source, units = pictures(seconds=4, codec=codec, b_frames=b_frames, start=START)
    reordered = [unit.pts for unit in units]
    assert (reordered != sorted(reordered)) == (b_frames > 0)

    tracks, made = fed(configured(source), units)

    assert len(made) >= 0.95 * len(units)
    assert [unit.pts for unit in made] == sorted(reordered)[: len(made)]
    assert all(unit.dts == unit.pts for unit in made)
    frames = decoded(tracks[0], made)
    assert [number_of(frame) for frame in frames] == [
        number_of(frame) for frame in decoded(source, units)[: len(frames)]
    ]


def test_what_is_made_is_for_every_browser() -> None:
    source, units = pictures(seconds=2, b_frames=2, start=START)

    tracks, made = fed(configured(source), units)

    (track,) = tracks
    assert track.id == VIDEO_WEBRTC
    assert track.codec is Codec.H264
    assert (track.width, track.height, track.frame_rate) == (320, 180, source.frame_rate)
    assert h264.profile_level_id(track).startswith("42c0")
    sps = h264.parse_sps(h264.AvcConfig.parse(track.config).sps[0])
    assert sps.max_reorder_frames in (None, 0)
    for unit in made:
        kinds = {h264.nal_type(nal) for nal in split_length_prefixed(unit.payload)}
        assert kinds == {h264.NAL_IDR if unit.keyframe else h264.NAL_SLICE}


def test_keyframes_are_where_the_source_has_them_and_every_two_seconds() -> None:
    source, units = pictures(seconds=10, b_frames=2, keyframe_every=150, start=START)

    _, made = fed(configured(source), units)

    keyframes = [unit.pts for unit in made if unit.keyframe]
    assert {unit.pts for unit in units if unit.keyframe} <= set(keyframes)
    gaps = [later - earlier for earlier, later in itertools.pairwise(keyframes)]
    assert max(gaps) == 2 * CLOCK_RATE
    assert len(keyframes) == 6


def test_starts_at_a_keyframe() -> None:
    source, units = pictures(seconds=4, start=START)

    _, made = fed(configured(source), units[10:])

    assert made[0].keyframe
    assert made[0].pts == units[60].pts


def test_a_cached_group_is_run_through_to_the_present() -> None:
    source, units = pictures(seconds=2, b_frames=2, start=START)
    pipeline = configured(source)
    newest = units[-1].dts
    made = []
    for unit in units:
        made += fed(pipeline, [unit], behind=newest - unit.dts)[1]

    assert made[0].keyframe
    assert newest - made[0].pts < CLOCK_RATE // 4
    assert pipeline.skipped > 30


def test_what_was_published_already_is_only_decoded_from() -> None:
    source, units = pictures(seconds=2, b_frames=2, start=START)
    pipeline = make_pipeline(VIDEO_WEBRTC, Codec.H264, after=units[30].pts)
    pipeline.configure(source)

    tracks, made = fed(pipeline, units)

    assert made[0].keyframe
    assert made[0].pts == min(unit.pts for unit in units if unit.pts > units[30].pts)
    assert len(decoded(tracks[0], made)) == len(made)


def test_leaves_out_every_other_picture_when_it_is_a_little_late() -> None:
    source, units = pictures(seconds=2, start=START)
    pipeline = configured(source)

    _, made = fed(pipeline, units, behind=CLOCK_RATE // 2)

    assert len(made) == pytest.approx(len(units) / 2, abs=1)
    assert pipeline.skipped == len(units) - len(made)


def test_a_keyframe_that_was_left_out_is_made_up_for() -> None:
    source, units = pictures(seconds=4, start=START)
    pipeline = configured(source)
    fed(pipeline, units[:58])

    fed(pipeline, units[58:64], behind=CLOCK_RATE)
    _, made = fed(pipeline, units[64:70])

    assert [unit.keyframe for unit in made][:2] == [True, False]


def test_a_new_picture_size_is_a_new_track() -> None:
    small, units = pictures(seconds=1, start=START)
    large, more = pictures(seconds=1, b_frames=2, width=480, height=270, start=START + CLOCK_RATE)
    pipeline = configured(small)
    first, _ = fed(pipeline, units)

    pipeline.configure(large)
    second, made = fed(pipeline, more)

    assert [(track.width, track.height) for track in first + second] == [(320, 180), (480, 270)]
    assert made[0].keyframe
    assert (decoded(second[0], made)[0].width, decoded(second[0], made)[0].height) == (480, 270)


def test_damage_costs_pictures_and_nothing_else() -> None:
    source, units = pictures(seconds=6, b_frames=2, start=START)
    damaged = [
        AccessUnit(unit.track, unit.pts, unit.dts, unit.keyframe, b"\x00\x00\x00\x05\x65hoho")
        if 20 <= index < 40
        else unit
        for index, unit in enumerate(units)
    ]
    pipeline = configured(source)

    _, made = fed(pipeline, damaged)

    assert pipeline.errors > 0
    times = [unit.pts for unit in made]
    assert times == sorted(set(times))
    after = [unit for unit in units if unit.dts >= units[60].dts]
    assert len([unit for unit in made if unit.pts >= units[60].pts]) >= len(after) - 5


def test_a_picture_that_is_far_too_large_is_damage() -> None:
    source, units = pictures(seconds=0.2, width=4608, height=2560, start=START)
    pipeline = configured(source)

    _, made = fed(pipeline, units)

    assert made == []
    assert pipeline.errors > 0


@pytest.mark.parametrize("rate", [0.0, float("nan"), float("inf"), -1.0, 90_000.0])
def test_a_frame_rate_without_sense_does_no_harm(rate: float) -> None:
    source, units = pictures(seconds=1, start=START)

    _, made = fed(configured(replace(source, frame_rate=rate)), units)

    assert len(made) >= len(units) - 2


def test_after_a_gap_it_waits_for_a_keyframe() -> None:
    source, units = pictures(seconds=4, start=START)
    pipeline = configured(source)
    fed(pipeline, units[:30])

    pipeline.gap()
    _, made = fed(pipeline, units[30:])

    assert made[0].pts == units[60].pts
    assert made[0].keyframe


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1280, 720), (1280, 720)),
        ((1920, 1080), (1920, 1080)),
        ((3840, 2160), (1920, 1080)),
        ((1080, 1920), (1080, 1920)),
        ((2160, 3840), (1080, 1920)),
        ((853, 481), (852, 480)),
        ((4000, 1000), (1920, 480)),
    ],
)
def test_fits_into_full_hd(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitted(*size) == expected


def test_spends_no_more_than_what_the_source_is_worth() -> None:
    unknown = rate_cap(1280, 720, 30, Codec.H264, 0)
    assert 2_500_000 < unknown < 4_000_000
    assert rate_cap(1280, 720, 30, Codec.H264, 1e6) == 1_200_000
    assert rate_cap(1280, 720, 30, Codec.HEVC, 1e6) == 1_700_000
    assert rate_cap(1280, 720, 30, Codec.H264, 50e6) == unknown
    assert rate_cap(320, 180, 30, Codec.H264, 1e3) == 300_000


def test_measures_the_newest_seconds() -> None:
    meter = BitRateMeter()
    for index in range(30):
        meter.add(12_500, index * FRAME_TICKS)
    assert meter.bits_per_second == 0

    for index in range(30, 300):
        meter.add(12_500 if index < 150 else 25_000, index * FRAME_TICKS)

    assert meter.bits_per_second == pytest.approx(6e6, rel=0.05)
