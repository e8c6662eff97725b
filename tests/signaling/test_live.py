"""What the API can say of a stream, read from a real hub."""

from media.hub import Hub, PublishGrant
from media.stream import Notice, Phase, Publisher
from media.units import Codec, Track, TrackId
from signaling.live import HubRooms
from tests.support.signaling import FakeClock

SOUND = Track(TrackId("audio"), Codec.AAC, b"\x11\x90", sample_rate=48_000, channels=2)


def on_air() -> tuple[Hub, HubRooms, list[str], FakeClock]:
    """A hub with one publisher in room "one", and the reasons for which it was kicked."""
    clock = FakeClock()
    hub = Hub(clock)
    kicks: list[str] = []
    publication = hub.publish(
        PublishGrant("one"), Publisher("rtmp", "203.0.113.9:1", "OBS"), kicks.append
    )
    publication.set_track(SOUND)
    return hub, HubRooms(hub, viewers=lambda room: len(room)), kicks, clock


def test_a_room_nobody_publishes_has_no_status() -> None:
    _, rooms, _, _ = on_air()

    assert rooms.status("two") is None
    assert list(rooms.live()) == ["one"]
    assert rooms.viewers("one") == 3


def test_a_live_room_tells_its_tracks_publisher_and_notices() -> None:
    hub, rooms, _, _ = on_air()
    stream = hub.stream("one")
    assert stream is not None
    stream.notify(Notice("quiet", "There is no picture."))

    status = rooms.status("one")

    assert status is not None
    assert status.phase is Phase.LIVE
    assert [(r.track, r.codec) for r in status.renditions] == [(SOUND, "mp4a.40.2")]
    assert status.publisher == Publisher("rtmp", "203.0.113.9:1", "OBS")
    assert status.notices == (Notice("quiet", "There is no picture."),)


def test_kicking_closes_the_publisher_and_leaves_viewers_their_stream() -> None:
    _, rooms, kicks, _ = on_air()

    rooms.kick("one")
    rooms.kick("two")

    assert kicks == ["the stream key was changed"]
    status = rooms.status("one")
    assert status is not None
    assert (status.phase, status.publisher) == (Phase.GRACE, None)
    assert list(rooms.live()) == ["one"]
