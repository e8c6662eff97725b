from itertools import pairwise

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from structlog.testing import capture_logs

from media.errors import PublishRefused
from media.hub import SILENT_AFTER, Hub, Publication, PublishGrant, Takeover
from media.stream import AUDIO, VIDEO, Notice, Phase, Publisher, Stream
from tests.support.clock import FakeClock
from tests.support.streams import Recorder, audio_track, seconds, unit, video_track

OBS = Publisher("rtmp", "192.0.2.1:5", "OBS")


class Observer:
    def __init__(self) -> None:
        self.started: list[Stream] = []
        self.ended: list[Stream] = []

    def stream_started(self, stream: Stream) -> None:
        self.started.append(stream)

    def stream_ended(self, stream: Stream) -> None:
        self.ended.append(stream)


class Rig:
    """A hub on a clock that is moved by hand; `kicked` holds the reasons given to publishers."""

    def __init__(self, policy: Takeover = Takeover.TAKEOVER) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.clock, grace_period_s=10.0)
        self.observer = Observer()
        self.hub.observe(self.observer)
        self.kicked: list[str] = []
        self.policy = policy

    def publish(self, room: str = "demo") -> Publication:
        return self.hub.publish(PublishGrant(room, self.policy), OBS, self.kicked.append)


def test_a_publisher_starts_a_stream_and_its_units_reach_listeners_on_the_streams_clock() -> None:
    rig = Rig()
    publication = rig.publish()
    recorder = Recorder(rig.hub.stream("demo"))
    rig.clock.advance(2.0)

    publication.set_track(video_track())
    publication.write(unit(77_000, keyframe=True))
    publication.write(unit(80_000))

    assert [u.dts for u in recorder.units] == [seconds(2), seconds(2) + 3000]
    assert len(rig.observer.started) == 1


def test_a_publisher_back_within_the_grace_period_continues_the_stream() -> None:
    rig = Rig()
    first = rig.publish()
    first.set_track(video_track())
    first.write(unit(0, keyframe=True))
    stream = first.stream
    recorder = Recorder(stream)

    first.close()
    assert stream.phase is Phase.GRACE
    assert rig.hub.next_timer() == rig.clock.now + 10.0
    rig.clock.advance(9.9)
    rig.hub.handle_timer()
    second = rig.publish()
    second.set_track(video_track())
    second.write(unit(500, keyframe=True))

    assert second.stream is stream
    assert rig.hub.next_timer() is None
    assert recorder.heard[1:] == [
        ("phase", Phase.GRACE),
        ("gap", None),
        ("phase", Phase.LIVE),
        ("unit", unit(seconds(9.9), keyframe=True)),
    ]
    assert rig.observer.ended == []


def test_after_the_grace_period_the_stream_ends_and_is_forgotten() -> None:
    rig = Rig()
    publication = rig.publish()
    publication.close()

    rig.clock.advance(10.0)
    rig.hub.handle_timer()

    assert rig.hub.stream("demo") is None
    assert rig.observer.ended == [publication.stream]
    assert publication.stream.phase is Phase.ENDED
    assert rig.hub.next_timer() is None
    assert rig.publish().stream is not publication.stream


def test_takeover_closes_the_first_and_goes_on_with_the_second() -> None:
    rig = Rig()
    first = rig.publish()
    second = rig.publish()
    second.set_track(video_track())
    first.set_track(audio_track())
    first.write(unit(0, track=AUDIO))

    assert len(rig.kicked) == 1
    assert second.stream is first.stream
    assert [t.id for t in second.stream.tracks] == [VIDEO]
    first.close()
    assert second.stream.phase is Phase.LIVE


def test_reject_refuses_the_second_and_leaves_the_first_alone() -> None:
    rig = Rig(Takeover.REJECT)
    first = rig.publish()

    with pytest.raises(PublishRefused) as refused:
        rig.publish()

    assert refused.value.code == "conflict"
    assert first.active
    assert rig.kicked == []


def test_reject_gives_way_when_the_first_has_gone_silent() -> None:
    rig = Rig(Takeover.REJECT)
    first = rig.publish()
    rig.clock.advance(SILENT_AFTER)

    rig.publish()

    assert not first.active
    assert len(rig.kicked) == 1


def test_a_successor_without_sound_lets_the_old_sound_track_go_after_a_second() -> None:
    rig = Rig()
    first = rig.publish()
    first.set_track(video_track())
    first.set_track(audio_track())
    first.write(unit(0, keyframe=True))
    first.close()
    second = rig.publish()
    second.set_track(video_track())

    second.write(unit(0, keyframe=True))
    assert [t.id for t in second.stream.tracks] == [VIDEO, AUDIO]
    second.write(unit(seconds(1)))

    assert [t.id for t in second.stream.tracks] == [VIDEO]


def test_a_successor_keeps_the_old_sound_for_its_own_when_the_stream_is_ahead_of_time() -> None:
    rig = Rig()
    first = rig.publish()
    first.set_track(video_track())
    first.set_track(audio_track())
    for at in range(60):  # ffmpeg without -re: a minute of film in no time
        first.write(unit(seconds(at), keyframe=True))
    recorder = Recorder(first.stream)
    first.close()
    second = rig.publish()

    second.set_track(video_track())
    second.write(unit(0, keyframe=True))
    second.write(unit(3000))
    second.set_track(audio_track())
    second.write(unit(0, track=AUDIO))
    second.write(unit(seconds(2)))

    assert "removed" not in recorder.names()
    assert [t.id for t in second.stream.tracks] == [VIDEO, AUDIO]


def test_what_was_noticed_of_the_old_publisher_is_not_said_of_the_new() -> None:
    rig = Rig()
    first = rig.publish()
    first.notify(Notice("damaged", "Broken packets were dropped."))
    first.stream.notify(Notice("b_frames", "Not of the ingest."))
    first.close()
    assert [n.code for n in first.stream.notices] == ["damaged", "b_frames"]

    second = rig.publish()
    first.notify(Notice("late", "Nobody is asked any more."))

    assert [n.code for n in second.stream.notices] == ["b_frames"]


def test_b_frames_of_the_old_publisher_are_not_held_against_the_new() -> None:
    rig = Rig()
    first = rig.publish()
    first.set_track(video_track())
    for dts, pts in ((0, 9000), (3000, 3000)):
        first.write(unit(dts, pts=pts, keyframe=dts == 0))
    assert first.stream.reorders(VIDEO)
    recorder = Recorder(first.stream)

    second = rig.publish()
    assert second.stream.reorders(VIDEO)
    second.set_track(video_track())
    second.set_track(video_track())

    assert not second.stream.reorders(VIDEO)
    assert recorder.names() == ["track", "reordering", "gap", "track"]


def test_a_clock_that_jumps_all_the_time_does_not_fill_the_log() -> None:
    rig = Rig()
    publication = rig.publish()
    publication.set_track(video_track())

    with capture_logs() as logs:
        for step in range(100):
            rig.clock.advance(0.04)
            publication.write(unit(seconds(20 * (step % 2)), keyframe=True))

    assert [line["event"] for line in logs] == ["publisher.clock_jumped"]


@given(
    st.floats(0.9, 1.2),
    st.lists(st.floats(0, 2), min_size=1, max_size=40),
    st.integers(0, 3),
)
def test_a_clock_that_is_not_ours_never_upsets_the_stream(
    rate: float, pauses: list[float], reconnects: int
) -> None:
    """Whatever speed a publisher's clock has, there is no jump, listeners see what it meant, and
    one that reconnects goes on at the present, or behind what was handed out already."""
    rig = Rig()
    recorder: Recorder | None = None
    for _ in range(reconnects + 1):
        publication = rig.publish()
        publication.set_track(video_track())
        recorder = recorder or Recorder(publication.stream)
        present = publication.stream.ticks(rig.clock.now)
        before = publication.stream.newest_dts
        at = 0.0
        for pause in pauses:
            publication.write(unit(seconds(at * rate), keyframe=True))
            at += pause + 0.04
            rig.clock.advance(pause + 0.04)
        mine = recorder.units[-len(pauses) :]
        assert mine[0].dts in (present, before + 1)
        assert mine[0].dts >= present
        steps = [b.dts - a.dts for a, b in pairwise(mine)]
        meant = [(pause + 0.04) * rate * 90_000 for pause in pauses[:-1]]
        assert all(abs(a - b) <= 1 for a, b in zip(steps, meant, strict=True))
        publication.close()
    assert recorder is not None
    assert recorder.names().count("gap") == reconnects


def test_a_jump_of_the_publishers_clock_is_a_gap() -> None:
    rig = Rig()
    publication = rig.publish()
    publication.set_track(video_track())
    publication.write(unit(seconds(50), keyframe=True))
    recorder = Recorder(publication.stream)

    publication.write(unit(0, keyframe=True))

    assert recorder.names() == ["track", "gap", "unit"]


def test_evicting_a_publisher_keeps_the_stream_for_the_next() -> None:
    rig = Rig()
    publication = rig.publish()

    rig.hub.evict("demo", "the key was changed")
    rig.hub.evict("none", "there is nobody")

    assert rig.kicked == ["the key was changed"]
    assert publication.stream.phase is Phase.GRACE
    assert rig.publish().stream is publication.stream


def test_a_track_that_its_publisher_lets_go_is_gone_for_listeners() -> None:
    rig = Rig()
    publication = rig.publish()
    publication.set_track(video_track())
    publication.set_track(audio_track())
    recorder = Recorder(publication.stream)

    publication.remove_track(AUDIO)
    publication.remove_track(AUDIO)
    publication.write(unit(0, track=AUDIO))

    assert recorder.heard[2:] == [("removed", AUDIO)]


def test_end_stops_a_room_at_once() -> None:
    rig = Rig()
    publication = rig.publish()

    rig.hub.end("demo", "the key was changed")

    assert rig.kicked == ["the key was changed"]
    assert rig.hub.stream("demo") is None
    publication.close()
    assert rig.hub.streams == ()


class HubMachine(RuleBasedStateMachine):
    """Whatever order publishers come, write, go and time passes in, each room has one stream at
    most, no live one has a deadline, and units reach listeners in order."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()
        self.held: list[Publication] = []
        self.recorders: dict[Stream, Recorder] = {}

    @rule(room=st.sampled_from(["a", "b"]), policy=st.sampled_from(Takeover))
    def publish(self, room: str, policy: Takeover) -> None:
        self.rig.policy = policy
        try:
            publication = self.rig.publish(room)
        except PublishRefused:
            return
        publication.set_track(video_track())
        self.held.append(publication)
        if publication.stream not in self.recorders:
            self.recorders[publication.stream] = Recorder(publication.stream)

    @rule(index=st.integers(0, 5), dts=st.integers(0, 2**33))
    def write(self, index: int, dts: int) -> None:
        if index < len(self.held):
            self.held[index].write(unit(dts, keyframe=True))

    @rule(index=st.integers(0, 5))
    def close(self, index: int) -> None:
        if index < len(self.held):
            self.held.pop(index).close()

    @rule(passed=st.floats(0, 20))
    def wait(self, passed: float) -> None:
        self.rig.clock.advance(passed)
        self.rig.hub.handle_timer()

    @invariant()
    def it_holds(self) -> None:
        hub = self.rig.hub
        active = [p for p in self.held if p.active]
        assert len({p.stream.room for p in active}) == len(active)
        assert all(hub.stream(p.stream.room) is p.stream for p in active)
        assert all(p.stream.phase is Phase.LIVE for p in active)
        waiting = [s for s in hub.streams if s.phase is Phase.GRACE]
        assert len(waiting) + len(active) == len(hub.streams)
        assert (hub.next_timer() is None) == (not waiting)
        for recorder in self.recorders.values():
            order = [u.dts for u in recorder.units]
            assert order == sorted(set(order))


HubMachine.TestCase.settings = hypothesis_settings(max_examples=60, deadline=None)
TestHubMachine = HubMachine.TestCase
