"""Bits a second of each track, from a real hub."""

from media.hub import Hub, PublishGrant
from media.stream import Publisher
from media.units import CLOCK_RATE, AccessUnit, Codec, Track, TrackId
from signaling.bitrates import Bitrates
from tests.support.signaling import FakeClock

AUDIO = TrackId("audio")
SOUND = Track(AUDIO, Codec.AAC, b"\x11\x90", sample_rate=48_000, channels=2)
FRAME = 1920
"""Ticks of a frame of sound."""


def test_the_figure_follows_what_the_last_seconds_carried() -> None:
    clock = FakeClock()
    hub = Hub(clock)
    bitrates = Bitrates()
    hub.observe(bitrates)
    publication = hub.publish(PublishGrant("one"), Publisher("rtmp", "a"), lambda _reason: None)
    stream = hub.stream("one")
    assert stream is not None
    stream.set_track(SOUND)

    def play(first_s: int, seconds: int, size: int) -> None:
        for dts in range(first_s * CLOCK_RATE, (first_s + seconds) * CLOCK_RATE, FRAME):
            stream.push(AccessUnit(AUDIO, dts, dts, True, bytes(size)))

    assert bitrates.of("one", AUDIO) is None
    play(0, 1, 341)
    assert bitrates.of("one", AUDIO) is None

    play(1, 10, 341)
    steady = bitrates.of("one", AUDIO)
    play(11, 10, 682)
    doubled = bitrates.of("one", AUDIO)

    assert steady is not None
    assert doubled is not None
    assert abs(steady - 127_875) < 2000
    assert abs(doubled - 2 * 127_875) < 4000
    assert bitrates.of("one", TrackId("video")) is None
    assert bitrates.of("two", AUDIO) is None

    stream.gap()
    assert bitrates.of("one", AUDIO) is None
    publication.close()
    hub.end("one", "the test is over")
    assert bitrates.of("one", AUDIO) is None
