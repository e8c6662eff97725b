"""Which fan-out a viewer belongs to, and when a room can be watched."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from media.rtp.fanout import RESTART_INTERVAL
from media.stream import AUDIO, AUDIO_OPUS, VIDEO, VIDEO_WEBRTC, Phase, Stream
from media.units import AccessUnit, Codec, Kind, Track
from media.webrtc.broadcast import QUIET, Broadcast
from scripts.bench.clip import clip
from tests.support.clock import FakeClock
from tests.support.rtp import Viewer
from tests.support.streams import audio_track, seconds, unit


class Listener:
    """An audience of one."""

    connected = True

    def __init__(self) -> None:
        self.changes = 0
        self.ended = False

    def tracks_changed(self) -> None:
        self.changes += 1

    def stream_ended(self) -> None:
        self.ended = True


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def broadcast(clock: FakeClock) -> AsyncIterator[Broadcast]:
    stream = Stream("demo", clock_origin=1000.0, wall_origin=0.0)
    made = Broadcast(stream, clock=clock, loop=asyncio.get_running_loop())
    stream.attach(made, replay=True)
    yield made
    stream.enter(Phase.ENDED)


def avc(track: str = VIDEO) -> Track:
    source = clip().video
    return Track(type(VIDEO)(track), Codec.H264, source.config)


def keyframe(at: int, track: str = VIDEO) -> AccessUnit:
    picture = clip().parts(clip().video)[0]
    return AccessUnit(type(VIDEO)(track), at, at, True, picture.payload)


def chosen(broadcast: Broadcast, kind: Kind, codec: Codec) -> str | None:
    fanout = broadcast.fanout_for(kind, codec)
    return fanout.track.id if fanout is not None else None


async def test_the_source_is_sent_until_its_pictures_are_reordered(broadcast: Broadcast) -> None:
    listener = Listener()
    broadcast.join(listener)
    stream = broadcast.stream
    stream.set_track(avc())
    assert chosen(broadcast, Kind.VIDEO, Codec.H264) == VIDEO
    before = listener.changes

    stream.push(unit(0, pts=9000, keyframe=True))
    stream.push(unit(3000, pts=3000))

    assert listener.changes > before
    assert chosen(broadcast, Kind.VIDEO, Codec.H264) is None
    assert broadcast.video_tracks() == []


async def test_the_re_encoded_rendition_comes_first(broadcast: Broadcast) -> None:
    broadcast.stream.set_track(avc())
    broadcast.stream.set_track(avc(VIDEO_WEBRTC))
    assert chosen(broadcast, Kind.VIDEO, Codec.H264) == VIDEO_WEBRTC

    broadcast.stream.remove_track(VIDEO_WEBRTC)

    assert chosen(broadcast, Kind.VIDEO, Codec.H264) == VIDEO


async def test_aac_is_not_sent_but_its_opus_rendition_is(broadcast: Broadcast) -> None:
    broadcast.stream.set_track(audio_track())
    assert chosen(broadcast, Kind.AUDIO, Codec.OPUS) is None

    broadcast.stream.set_track(audio_track(AUDIO_OPUS, Codec.OPUS))
    assert chosen(broadcast, Kind.AUDIO, Codec.OPUS) == AUDIO_OPUS

    broadcast.stream.remove_track(AUDIO_OPUS)
    broadcast.stream.set_track(audio_track(AUDIO, Codec.OPUS))
    assert chosen(broadcast, Kind.AUDIO, Codec.OPUS) == AUDIO


async def test_parameter_sets_that_cannot_be_read_are_passed_over(broadcast: Broadcast) -> None:
    broadcast.stream.set_track(Track(VIDEO, Codec.H264, b"nonsense"))

    assert chosen(broadcast, Kind.VIDEO, Codec.H264) is None


async def test_a_track_that_changes_its_codec_has_another_fanout(broadcast: Broadcast) -> None:
    broadcast.stream.set_track(avc())
    old = broadcast.fanout_for(Kind.VIDEO, Codec.H264)
    assert old is not None

    broadcast.stream.set_track(Track(VIDEO, Codec.AV1, bytes((0x81, 0x05, 0x0C, 0))))

    assert not broadcast.has_fanout(old)
    assert chosen(broadcast, Kind.VIDEO, Codec.H264) is None


async def test_can_be_watched_once_settled_and_with_a_keyframe(broadcast: Broadcast) -> None:
    stream = broadcast.stream
    waiting = asyncio.create_task(broadcast.wait_watchable(5.0))
    stream.set_track(avc())
    stream.set_track(audio_track())
    stream.push(unit(0, track=AUDIO))
    await asyncio.sleep(0)
    assert not broadcast.watchable
    assert not waiting.done()

    stream.push(keyframe(1))

    assert await waiting
    assert broadcast.watchable


async def test_sound_alone_can_be_watched_after_a_second(broadcast: Broadcast) -> None:
    stream = broadcast.stream
    stream.set_track(audio_track())
    stream.push(unit(0, track=AUDIO))
    assert not broadcast.watchable

    stream.push(unit(seconds(1), track=AUDIO))

    assert broadcast.watchable


async def test_waiting_ends_when_the_publisher_leaves(broadcast: Broadcast) -> None:
    waiting = asyncio.create_task(broadcast.wait_watchable(30.0))
    await asyncio.sleep(0)

    broadcast.stream.enter(Phase.GRACE)

    assert not await waiting
    assert not await broadcast.wait_watchable(30.0)


async def test_waiting_ends_by_itself(broadcast: Broadcast) -> None:
    assert not await broadcast.wait_watchable(0.01)


async def test_the_end_is_told_to_everybody(broadcast: Broadcast) -> None:
    listeners = [Listener(), Listener()]
    for listener in listeners:
        broadcast.join(listener)
    assert broadcast.audience == broadcast.connected == 2

    broadcast.stream.enter(Phase.ENDED)

    assert all(listener.ended for listener in listeners)


async def test_a_lost_picture_is_repeated_while_pictures_come_and_not_in_the_publishers_silence(
    broadcast: Broadcast, clock: FakeClock
) -> None:
    viewer = Viewer()
    broadcast.stream.set_track(avc())
    broadcast.stream.push(keyframe(0))
    fanout = broadcast.fanout_for(Kind.VIDEO, Codec.H264)
    assert fanout is not None
    broadcast.place(viewer.downlink, fanout, None)
    first = len(viewer.receive())

    clock.advance(QUIET)
    broadcast.restart(viewer.downlink, fanout)
    in_silence = len(viewer.receive())
    clock.advance(RESTART_INTERVAL)
    broadcast.stream.push(keyframe(seconds(2)))
    broadcast.restart(viewer.downlink, fanout)

    assert first > 0
    assert in_silence == 0
    assert len(viewer.receive()) == 2 * first
