from media.stream import AUDIO, AUDIO_OPUS, VIDEO, Notice, Phase, Stream
from media.units import Codec
from tests.support.streams import Recorder, audio_track, seconds, unit, video_track


def make() -> Stream:
    return Stream("demo", clock_origin=1000.0, wall_origin=1_800_000_000.0)


def test_a_listener_hears_tracks_first_and_the_cached_group_with_replay() -> None:
    stream = make()
    stream.set_track(video_track())
    stream.set_track(audio_track())
    for dts, keyframe in [(0, True), (3000, False), (6000, True), (9000, False)]:
        stream.push(unit(dts, keyframe=keyframe))
        stream.push(unit(dts, track=AUDIO, keyframe=True))

    late, live = Recorder(stream, replay=True), Recorder(stream)
    stream.push(unit(12000))

    assert late.names() == ["track", "track", "unit", "unit", "unit"]
    assert [u.dts for u in late.units] == [6000, 9000, 12000]
    assert [u.dts for u in live.units] == [12000]


def test_the_same_track_again_is_no_news_and_a_changed_one_is() -> None:
    stream = make()
    recorder = Recorder(stream)
    stream.set_track(video_track())
    stream.set_track(video_track())
    stream.set_track(video_track(config=b"other"))

    assert recorder.names() == ["track", "track"]


def test_units_of_an_unknown_track_go_nowhere() -> None:
    stream = make()
    recorder = Recorder(stream)

    stream.push(unit(0, keyframe=True))

    assert recorder.heard == []


def test_pictures_out_of_order_are_noticed_once_and_told_to_who_comes_later() -> None:
    stream = make()
    stream.set_track(video_track())
    recorder = Recorder(stream)
    for dts, pts in [(0, 6000), (3000, 15000), (6000, 9000), (9000, 12000)]:
        stream.push(unit(dts, pts=pts, keyframe=dts == 0))
    late = Recorder(stream)

    assert stream.reorders(VIDEO)
    assert recorder.names().count("reordering") == 1
    assert late.names() == ["track", "reordering"]

    stream.set_track(video_track(config=b"no more b-frames"))
    assert not stream.reorders(VIDEO)


def test_a_constant_composition_offset_is_no_reordering() -> None:
    stream = make()
    stream.set_track(video_track())
    for dts in range(0, 30000, 3000):
        stream.push(unit(dts, pts=dts + 6000, keyframe=dts == 0))

    assert not stream.reorders(VIDEO)


def test_it_is_settled_with_both_kinds_or_after_a_second_of_one() -> None:
    one = make()
    one.set_track(video_track())
    settled = [one.settled]
    for dts in (0, seconds(1) - 1, seconds(1)):
        one.push(unit(dts, keyframe=True))
        settled.append(one.settled)
    assert settled == [False, False, False, True]

    both = make()
    both.set_track(video_track())
    both.set_track(audio_track())
    both.push(unit(0, keyframe=True))
    assert both.settled


def test_a_gap_empties_the_cache() -> None:
    stream = make()
    stream.set_track(video_track())
    stream.push(unit(0, keyframe=True))

    stream.gap()

    assert list(stream.gop(VIDEO)) == []
    assert stream.tracks == (video_track(),)


def test_the_end_is_the_last_word() -> None:
    stream = make()
    stream.set_track(video_track())
    recorder = Recorder(stream)

    stream.enter(Phase.ENDED)
    stream.enter(Phase.ENDED)
    stream.push(unit(0, keyframe=True))

    assert recorder.heard[1:] == [("phase", Phase.ENDED)]
    assert stream.listeners == 0


def test_a_listener_may_leave_while_it_is_told_something() -> None:
    stream = make()
    stream.set_track(video_track())

    class Leaver(Recorder):
        def on_unit(self, unit: object) -> None:
            stream.detach(self)
            self.heard.append(("unit", unit))

    leaver, stays = Leaver(stream), Recorder(stream)
    stream.push(unit(0, keyframe=True))
    stream.push(unit(1))

    assert leaver.names().count("unit") == 1
    assert stays.names().count("unit") == 2


def test_pick_takes_the_first_choice_that_is_there_in_a_wanted_codec() -> None:
    stream = make()
    stream.set_track(audio_track())
    opus = frozenset({Codec.OPUS})
    assert stream.pick((AUDIO_OPUS, opus), (AUDIO, opus)) is None

    stream.set_track(audio_track(AUDIO_OPUS, Codec.OPUS))
    assert stream.pick((AUDIO_OPUS, opus), (AUDIO, opus)) == audio_track(AUDIO_OPUS, Codec.OPUS)


def test_notices_replace_those_of_the_same_code() -> None:
    stream = make()
    stream.notify(Notice("b_frames", "old"))
    stream.notify(Notice("b_frames", "new"))
    stream.notify(Notice("silent", "sound"))
    stream.clear_notice("silent")
    stream.clear_notice("never was")

    assert stream.notices == (Notice("b_frames", "new"),)
