"""What a stream's changes make of its presentations, in virtual time."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import event, given, strategies as st

from media.codecs import aac
from media.stream import AUDIO, AUDIO_AAC, VIDEO
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId
from tests.support.hls import ROOM, Tape, in_milliseconds, interleaved, pictures, sound
from tests.support.hls_boxes import runs
from tests.support.hls_playlist import parse_media, parse_multivariant
from tests.support.hls_room import Room, read
from transcoder.hls import cmaf
from transcoder.hls.playlist import Skip
from transcoder.hls.presentation import Presentation

PICTURE = pictures()
SOUND = sound()
OPUS = Track(AUDIO, Codec.OPUS, bytes.fromhex("000200380000bb80000000"), 0, 0, 0.0, 48000, 2)


def payloads(presentation: Presentation, name: str) -> list[bytes]:
    return [
        sample
        for segment in presentation.outputs[name].rendition.listed
        if segment.closed
        for run in runs(segment.data())
        for sample in run.samples
    ]


def renamed(tape: Tape, track: Track) -> Tape:
    units = tuple(replace(unit, track=track.id) for unit in tape.units)
    return Tape(track, units, tape.length)


def test_no_picture_and_no_frame_of_sound_is_lost_or_told_twice() -> None:
    room = Room()

    room.feed(PICTURE, SOUND, seconds=10)
    room.end()

    pictures_sent = list(interleaved(PICTURE, until=10 * CLOCK_RATE))
    sounds_sent = list(interleaved(SOUND, until=10 * CLOCK_RATE))
    presentation = room.presentation
    assert payloads(presentation, "video") == [unit.payload for unit in pictures_sent]
    sounds = payloads(presentation, "audio")
    assert sounds == [unit.payload for unit in sounds_sent][: len(sounds)]
    assert len(sounds_sent) - len(sounds) <= 1


def test_multivariant_states_what_is_true() -> None:
    room = Room()
    tape = pictures(gops=2, size=(640, 360), bit_rate=600_000)

    room.feed(tape, SOUND, seconds=30)

    [media], [variant] = parse_multivariant(room.presentation.index().body.decode())
    assert variant["RESOLUTION"] == "640x360"
    assert variant["FRAME-RATE"] == "30.000"
    assert variant["CODECS"] == f'"avc1.{tape.track.config[1:4].hex()},mp4a.40.2"'
    assert variant["AUDIO"] == media["GROUP-ID"]
    assert media["CHANNELS"] == '"2"'
    units = interleaved(tape, SOUND, until=30 * CLOCK_RATE)
    sent = 8 * sum(len(unit.payload) for unit in units) / 30
    assert sent < int(variant["AVERAGE-BANDWIDTH"]) < 1.1 * sent
    assert int(variant["BANDWIDTH"]) < 1.25 * sent


def test_picture_alone_is_a_stream() -> None:
    room = Room()

    room.feed(PICTURE, seconds=8)

    assert list(room.presentation.outputs) == ["video"]
    media, [variant] = parse_multivariant(room.presentation.index().body.decode())
    assert media == []
    assert "AUDIO" not in variant
    assert read(room.presentation, "video").segments[0].date


def test_sound_alone_is_a_stream_of_even_segments() -> None:
    room = Room()

    room.feed(SOUND, seconds=20)

    assert list(room.presentation.outputs) == ["audio"]
    media, [variant] = parse_multivariant(room.presentation.index().body.decode())
    assert media == []
    assert variant["CODECS"] == '"mp4a.40.2"'
    assert "RESOLUTION" not in variant
    closed = read(room.presentation, "audio").closed
    assert len(closed) >= 8
    assert all(abs(segment.duration - 2.0) < 0.012 for segment in closed)


def test_a_publisher_that_comes_back_continues_the_same_presentation() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=9)
    before = room.presentation

    room.pause(3.0)
    room.feed(PICTURE, SOUND, seconds=9)

    assert room.presentation is before
    for name in ("video", "audio"):
        playlist = read(before, name)
        assert [segment.discontinuity for segment in playlist.segments].count(True) == 1
        assert len({segment.map for segment in playlist.segments}) == 1
        first = next(segment for segment in playlist.segments if segment.discontinuity)
        assert first.msn == 5
        assert abs(first.date - playlist.segments[0].date - 12.0) < 0.03


def test_other_parameters_bring_their_own_initialization() -> None:
    room = Room()
    larger = pictures(size=(320, 192))
    room.feed(PICTURE, SOUND, seconds=9)

    room.pause(1.0)
    room.feed(larger, SOUND, seconds=8)

    playlist = read(room.presentation, "video")
    assert [segment.map for segment in playlist.segments if segment.discontinuity] == [
        "video/init-1.mp4"
    ]
    rendition = room.presentation.outputs["video"].rendition
    assert rendition.initialization(1) == cmaf.initialization(larger.track)
    _, [variant] = parse_multivariant(room.presentation.index().body.decode())
    assert variant["RESOLUTION"] == "320x192"


def test_other_parameters_without_a_pause_break_both_renditions_at_one_place() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=8)

    room.feed(pictures(size=(320, 192)), SOUND, seconds=8)

    broken = {
        name: [s.msn for s in read(room.presentation, name).segments if s.discontinuity]
        for name in ("video", "audio")
    }
    assert broken == {"video": [4], "audio": [4]}


def test_another_set_of_tracks_is_another_presentation() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=9)
    before = room.presentation

    room.pause(1.0)
    room.feed(SOUND, seconds=1.5)
    room.stream.remove_track(VIDEO)
    room.feed(SOUND, seconds=6)

    after = room.presentation
    assert after is not before
    assert after.id != before.id
    assert before.ended
    assert read(before, "video").ended
    assert list(after.outputs) == ["audio"]
    # what came while it was not clear that the picture would not
    first = after.outputs["audio"].rendition.listed[0]
    assert abs(first.start - 10.0) < 0.03
    assert room.service.find(ROOM, before.id) is before


def test_another_picture_codec_is_another_presentation() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=9)
    before = room.presentation

    room.pause(1.0)
    room.feed(pictures(codec=Codec.HEVC), SOUND, seconds=8)

    assert room.presentation is not before
    assert before.ended
    _, [variant] = parse_multivariant(room.presentation.index().body.decode())
    assert variant["CODECS"].startswith('"hvc1.')


def test_sound_that_is_not_aac_comes_from_the_worker() -> None:
    room = Room()
    room.stream.set_track(PICTURE.track)
    room.stream.set_track(OPUS)
    worker = renamed(SOUND, replace(SOUND.track, id=AUDIO_AAC))
    room.feed(PICTURE, seconds=1)
    assert room.service.presentation(ROOM) is None

    room.feed(PICTURE, worker, seconds=9)

    assert list(room.presentation.outputs) == ["video", "audio"]
    playlist = read(room.presentation, "audio")
    assert abs(playlist.segments[0].date - room.clock.wall()) < 0.1


def test_without_a_worker_the_picture_goes_alone() -> None:
    room = Room()
    room.stream.set_track(OPUS)

    room.feed(PICTURE, seconds=9)

    assert list(room.presentation.outputs) == ["video"]


def test_a_worker_that_is_away_is_silence_not_a_stall() -> None:
    room = Room()
    room.stream.set_track(OPUS)
    worker = renamed(SOUND, replace(SOUND.track, id=AUDIO_AAC))
    room.feed(PICTURE, worker, seconds=9)
    before = room.presentation

    room.stream.remove_track(AUDIO_AAC)
    room.feed(PICTURE, seconds=6)
    away = before.outputs["audio"].rendition.edge
    room.feed(PICTURE, worker, seconds=6)

    assert room.presentation is before
    assert 12.0 < away <= 13.0
    silence = cmaf.silence(SOUND.track)
    samples = payloads(before, "audio")
    assert 250 < samples.count(silence or b"") < 300
    assert samples[-1] != silence
    assert not any(segment.discontinuity for segment in read(before, "audio").segments)
    assert before.outputs["audio"].rendition.edge > 19.5


def test_both_renditions_end_together_where_the_sound_has_stopped() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=9)
    before = room.presentation

    room.pause(1.0)
    room.feed(PICTURE, seconds=1)
    room.stream.remove_track(AUDIO)

    assert before.ended
    video, audio = (before.outputs[name].rendition for name in ("video", "audio"))
    assert 0 <= video.edge - audio.edge < 0.06
    broken = [[s.msn for s in one.listed if s.discontinuity] for one in (video, audio)]
    assert broken[0] == broken[1] != []


def test_lost_frames_of_sound_are_made_up_for() -> None:
    room = Room()
    for tape in (PICTURE, SOUND):
        room.stream.set_track(tape.track)

    for unit in interleaved(PICTURE, SOUND, until=12 * CLOCK_RATE):
        lost = unit.track == AUDIO and 5.0 < unit.dts / CLOCK_RATE < 5.3
        if not lost:
            room.stream.push(in_milliseconds(unit))

    samples = payloads(room.presentation, "audio")
    assert samples.count(cmaf.silence(SOUND.track) or b"") == 14


def test_sound_that_is_worse_than_we_can_write_leaves_a_hole() -> None:
    surround = aac.track(AUDIO, aac.AudioConfig(2, 48000, 6).serialize())
    room = Room()
    for track in (PICTURE.track, surround):
        room.stream.set_track(track)

    for unit in interleaved(PICTURE, SOUND, until=12 * CLOCK_RATE):
        if unit.track == VIDEO or not 5.0 < unit.dts / CLOCK_RATE < 5.3:
            room.stream.push(in_milliseconds(unit))

    rendition = room.presentation.outputs["audio"].rendition
    fragments = [run for s in rendition.listed if s.closed for run in runs(s.data())]
    holes = [after.time - before.end for before, after in pairwise(fragments)]
    assert [hole for hole in holes if hole] == [14 * 1024]


def test_a_track_that_makes_no_sense_does_not_exist() -> None:
    room = Room()
    room.stream.set_track(Track(AUDIO, Codec.AAC, b"", 0, 0, 0.0, 48000, 2))

    room.feed(PICTURE, seconds=9)
    room.stream.push(AccessUnit(AUDIO, 0, 0, True, b"?"))

    assert list(room.presentation.outputs) == ["video"]


def test_a_picture_that_stands_still_for_long_is_a_discontinuity() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=8)

    room.feed(SOUND, seconds=5)
    room.feed(PICTURE, SOUND, seconds=8)

    for name in ("video", "audio"):
        playlist = read(room.presentation, name)
        assert [segment.discontinuity for segment in playlist.segments].count(True) == 1


def test_an_ended_presentation_is_kept_for_a_while() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=8)
    presentation = room.presentation

    room.end()

    assert read(presentation, "video").ended
    assert room.service.presentation(ROOM) is presentation
    room.clock.advance(59.0)
    room.service.handle_timer()
    assert room.service.find(ROOM, presentation.id) is presentation
    room.clock.advance(2.0)
    room.service.handle_timer()
    assert room.service.presentation(ROOM) is None
    assert room.service.next_timer() is None


def test_nothing_is_shown_of_a_stream_that_ended_at_once() -> None:
    room = Room()

    room.feed(PICTURE, SOUND, seconds=0.1)
    room.end()

    assert room.service.presentation(ROOM) is None


def test_memory_is_bounded_by_what_may_be_asked_for() -> None:
    room = Room()
    room.feed(PICTURE, SOUND, seconds=200)

    presentation = room.presentation
    per_second = presentation.size / 124
    video = presentation.outputs["video"].rendition

    # the playlist, as long again, and the segment itself
    newest = video.last[0]
    oldest = next(msn for msn in range(newest) if video.segment(msn) is not None)
    assert 120 <= video.edge - 2 * oldest <= 128
    room.feed(PICTURE, SOUND, seconds=100)
    assert presentation.size < 1.05 * 124 * per_second


TRACKS = st.sampled_from(
    [
        PICTURE.track,
        pictures(size=(320, 192)).track,
        replace(PICTURE.track, config=b"?"),
        replace(PICTURE.track, width=70_000),
        replace(PICTURE.track, codec=Codec.AV1),
        SOUND.track,
        replace(SOUND.track, id=AUDIO_AAC),
        sound(frames=50, rate=44100, channels=1).track,
        replace(SOUND.track, config=b"\x17\x80\x00\x00\x00\x08"),
        OPUS,
    ]
)
UNITS = st.builds(
    AccessUnit,
    track=st.sampled_from([VIDEO, AUDIO, AUDIO_AAC]),
    pts=st.integers(0, 1 << 34),
    dts=st.integers(1, 400_000),
    keyframe=st.booleans(),
    payload=st.binary(max_size=4),
)


@given(
    st.lists(
        st.one_of(
            TRACKS,
            UNITS,
            st.lists(UNITS, min_size=20, max_size=40),
            st.sampled_from([VIDEO, AUDIO, AUDIO_AAC]),
            st.just("gap"),
        ),
        max_size=40,
    )
)
def test_nothing_that_a_source_does_raises_in_the_stream(steps: list[object]) -> None:
    room = Room()
    time = 0
    room.stream.set_track(PICTURE.track)
    room.stream.set_track(SOUND.track)

    for step in steps:
        match step:
            case Track():
                room.stream.set_track(step)
            case "gap":
                room.stream.gap()
            case str():
                room.stream.remove_track(TrackId(step))
            case AccessUnit() | list():
                for unit in [step] if isinstance(step, AccessUnit) else step:
                    # a stream's times rise; what is shown when is anybody's guess
                    time += unit.dts // (1 if isinstance(step, AccessUnit) else 20)
                    pts = time + (unit.pts if unit.pts % 3 == 0 else unit.pts % 9000)
                    room.stream.push(replace(unit, dts=time, pts=pts))
            case _:
                raise AssertionError(step)
    room.end()

    presentation = room.service.presentation(ROOM)
    ready = presentation is not None and presentation.ready
    event(f"ready: {ready}")
    if presentation is not None and ready:
        for name in presentation.outputs:
            assert parse_media(presentation.media(name, Skip.NOTHING).body.decode()).ended
