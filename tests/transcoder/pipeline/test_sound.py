import itertools
from collections.abc import Iterable

import numpy as np
import pytest

from media.codecs import opus
from media.stream import AUDIO, AUDIO_AAC, AUDIO_OPUS
from media.units import CLOCK_RATE, AccessUnit, Codec, Track
from tests.support.transcoder import Samples, clicks, frequency_of, heard, level_of, sound, tone
from transcoder.pipeline import make_pipeline
from transcoder.pipeline.sound import SoundPipeline

START = 1_000_000
OPUS_TICKS = 1800
AAC_TICKS = 1920
PRE_SKIP_TICKS = 585


def transcoded(
    track: Track, units: Iterable[AccessUnit], codec: Codec = Codec.OPUS
) -> tuple[Track, list[AccessUnit]]:
    target = AUDIO_OPUS if codec is Codec.OPUS else AUDIO_AAC
    pipeline = make_pipeline(target, codec)
    pipeline.configure(track)
    made = [item for unit in units for item in pipeline.transcode(unit, behind=0)]
    tracks = [item for item in made if isinstance(item, Track)]
    assert made[0] is tracks[0]
    assert len(tracks) == 1
    return tracks[0], [item for item in made if isinstance(item, AccessUnit)]


def steps(units: Iterable[AccessUnit]) -> set[int]:
    return {later.pts - earlier.pts for earlier, later in itertools.pairwise(units)}


def onsets(samples: Samples, first_pts: int) -> list[float]:
    """The seconds on the stream's clock at which something begins to sound after silence."""
    loud = np.flatnonzero(np.abs(samples[0]) > 0.2)
    begins = loud[np.flatnonzero(np.diff(loud, prepend=-10_000) > 4_800)]
    return [first_pts / CLOCK_RATE + index / 48_000 for index in begins]


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
def test_a_tone_keeps_its_frequency_and_level_as_opus(rate: int) -> None:
    source, units = sound(tone(seconds=3, rate=rate), rate=rate, start=START)

    track, made = transcoded(source, units)

    samples = heard(track, made)
    assert track.codec is Codec.OPUS
    assert (track.sample_rate, track.channels) == (48_000, 2)
    assert opus.OpusConfig.parse(track.config).pre_skip == 312
    assert steps(made) == {OPUS_TICKS}
    assert {opus.packet_samples(unit.payload) for unit in made} == {960}
    assert len(made) * OPUS_TICKS == pytest.approx(3 * CLOCK_RATE, rel=0.05)
    for channel in samples[:, 9_600:-9_600]:
        assert frequency_of(channel) == pytest.approx(997, abs=1)
        assert level_of(channel) == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize(("channels", "level"), [(1, 0.25), (2, 0.25)])
def test_mono_comes_out_of_both_sides_as_loud_as_it_was(channels: int, level: float) -> None:
    source, units = sound(tone(seconds=1, channels=channels), start=START)

    track, made = transcoded(source, units)

    for channel in heard(track, made)[:, 9_600:-9_600]:
        assert level_of(channel) == pytest.approx(level, rel=0.05)


def test_surround_is_mixed_down_without_clipping() -> None:
    source, units = sound(tone(seconds=1, channels=6, level=0.9), start=START)

    track, made = transcoded(source, units)

    samples = heard(track, made)[:, 9_600:-9_600]
    assert samples.shape[0] == 2
    assert np.abs(samples).max() < 1.0
    for channel in samples:
        assert level_of(channel) > 0.5
        assert frequency_of(channel) == pytest.approx(997, abs=2)


@pytest.mark.parametrize(
    ("codec", "target", "rate"),
    [
        (Codec.AAC, Codec.OPUS, 48_000),
        (Codec.AAC, Codec.OPUS, 44_100),
        (Codec.OPUS, Codec.AAC, 48_000),
    ],
)
def test_sound_is_heard_at_the_time_it_was_heard_at_before(
    codec: Codec, target: Codec, rate: int
) -> None:
    moments = [0.5, 1.25, 2.0]
    source, units = sound(
        clicks(seconds=3, rate=rate, at=moments), rate=rate, codec=codec, start=START
    )

    track, made = transcoded(source, units, target)

    expected = [START / CLOCK_RATE + moment for moment in moments]
    found = onsets(heard(track, made), made[0].pts)
    assert found == pytest.approx(expected, abs=0.010)


def test_opus_becomes_aac_for_hls() -> None:
    source, units = sound(tone(seconds=3), codec=Codec.OPUS, start=START)

    track, made = transcoded(source, units, Codec.AAC)

    assert track.codec is Codec.AAC
    assert (track.sample_rate, track.channels) == (48_000, 2)
    assert steps(made) == {AAC_TICKS}
    samples = heard(track, made)[0, 9_600:-9_600]
    assert frequency_of(samples) == pytest.approx(997, abs=1)
    assert level_of(samples) == pytest.approx(0.25, rel=0.05)


def test_millisecond_rounding_does_not_reach_the_rendition() -> None:
    source, units = sound(tone(seconds=3, rate=44_100), rate=44_100, start=START)
    rounded = [
        AccessUnit(AUDIO, unit.pts // 90 * 90, unit.dts // 90 * 90, True, unit.payload)
        for unit in units
    ]

    track, made = transcoded(source, rounded)

    assert steps(made) == {OPUS_TICKS}
    assert frequency_of(heard(track, made)[0, 9_600:-9_600]) == pytest.approx(997, abs=1)


def test_a_short_hole_is_filled_with_silence() -> None:
    source, units = sound(tone(seconds=4), start=START)
    holed = units[:60] + units[75:]

    track, made = transcoded(source, holed)

    assert steps(made) == {OPUS_TICKS}
    assert made[-1].pts == pytest.approx(units[-1].pts, abs=2 * AAC_TICKS)
    hole = (units[60].pts + 5_000 - made[0].pts) * 48 // 90 // 1
    silent = heard(track, made)[0, hole : hole + 9_600]
    assert level_of(silent) < 0.02


def test_a_long_hole_is_jumped_over() -> None:
    source, units = sound(tone(seconds=8), start=START)
    before, after = units[:60], units[240:]

    _, made = transcoded(source, before + after)

    jumps = [
        (earlier.pts, later.pts)
        for earlier, later in itertools.pairwise(made)
        if later.pts - earlier.pts != OPUS_TICKS
    ]
    assert len(jumps) == 1
    assert jumps[0][1] == pytest.approx(after[0].pts - PRE_SKIP_TICKS, abs=AAC_TICKS)
    assert jumps[0][0] <= before[-1].pts


def test_follows_a_source_whose_samples_run_slow() -> None:
    """One in a thousand: after 30 s the count of samples alone would be 30 ms off."""
    source, units = sound(tone(seconds=30), start=START)
    drifting = [
        AccessUnit(AUDIO, at, at, True, unit.payload)
        for unit in units
        for at in [START + (unit.pts - START) * 1001 // 1000]
    ]

    _, made = transcoded(source, drifting)

    assert steps(made) == {OPUS_TICKS}
    end_of_source = drifting[-1].pts + AAC_TICKS
    end_of_rendition = made[-1].pts + OPUS_TICKS
    # What cannot be in a whole frame yet is at most one frame, and pre-skip.
    assert -OPUS_TICKS - PRE_SKIP_TICKS - 900 <= end_of_rendition - end_of_source <= 900


def test_a_publisher_who_comes_back_sets_a_new_anchor() -> None:
    source, units = sound(tone(seconds=2), start=START)
    later = START + 5 * CLOCK_RATE + 77
    pipeline = SoundPipeline(AUDIO_OPUS, Codec.OPUS)
    pipeline.configure(source)
    for unit in units:
        pipeline.transcode(unit, behind=0)

    pipeline.gap()
    again = [AccessUnit(AUDIO, unit.pts - START + later, 0, True, unit.payload) for unit in units]
    made = [item for unit in again for item in pipeline.transcode(unit, behind=0)]

    assert isinstance(made[0], AccessUnit)
    assert made[0].pts == pytest.approx(again[0].pts - PRE_SKIP_TICKS, abs=2)


def test_never_goes_back_in_time_when_a_new_anchor_overlaps() -> None:
    source, units = sound(tone(seconds=2), start=START)
    pipeline = SoundPipeline(AUDIO_OPUS, Codec.OPUS)
    pipeline.configure(source)
    made = []
    for round_ in range(3):
        shift = round_ * CLOCK_RATE // 2
        for unit in units:
            again = AccessUnit(AUDIO, unit.pts + shift, unit.pts + shift, True, unit.payload)
            made += pipeline.transcode(again, behind=0)
        pipeline.gap()

    times = [item.dts for item in made if isinstance(item, AccessUnit)]
    assert times == sorted(set(times))
    assert len(times) > 100


def test_the_first_packet_of_a_stream_is_not_before_its_beginning() -> None:
    source, units = sound(tone(seconds=1), start=-AAC_TICKS)
    from_zero = [unit for unit in units if unit.pts >= 0]

    _, made = transcoded(source, from_zero)

    assert 0 <= made[0].pts < 2 * OPUS_TICKS


def test_damage_is_counted_and_survived() -> None:
    source, units = sound(tone(seconds=3), start=START)
    garbage = [
        AccessUnit(AUDIO, unit.pts, unit.dts, True, bytes([0xFF, 7 * index & 0xFF] * 40))
        if 40 <= index < 60
        else unit
        for index, unit in enumerate(units)
    ]
    pipeline = SoundPipeline(AUDIO_OPUS, Codec.OPUS)
    pipeline.configure(source)

    made = [item for unit in garbage for item in pipeline.transcode(unit, behind=0)]

    assert pipeline.errors > 0
    newest = [item for item in made if isinstance(item, AccessUnit)][-1]
    assert newest.pts == pytest.approx(units[-1].pts, abs=3 * AAC_TICKS)


def test_a_configuration_without_sense_is_damage_too() -> None:
    _, units = sound(tone(seconds=1), codec=Codec.OPUS, start=START)
    pipeline = SoundPipeline(AUDIO_AAC, Codec.AAC)
    pipeline.configure(Track(id=AUDIO, codec=Codec.OPUS, config=b"\x00\x02"))

    made = [item for unit in units for item in pipeline.transcode(unit, behind=0)]

    assert made == []
    assert pipeline.errors == len(units)
