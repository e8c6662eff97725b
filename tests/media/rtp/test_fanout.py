"""One track to many viewers: joins, live frames, gaps, what must hold whatever happens."""

import functools

import pytest
from hypothesis import given, settings, strategies as st

from media.codecs import opus
from media.rtp.fanout import TrackFanout
from media.rtp.packet import is_rtcp
from media.stream import AUDIO_OPUS
from media.units import AccessUnit, Codec, Track
from tests.support.rtp import (
    PPS,
    SPS,
    Deferred,
    Viewer,
    catch_up,
    depacketize_h264,
    frames,
    h264_track,
    nals,
    picture,
    steps,
    video,
)


def test_a_viewer_who_joins_gets_the_keyframe_within_the_call() -> None:
    fanout, viewer = video(), Viewer()
    for number in range(12):
        fanout.on_unit(picture(number))

    fanout.add(viewer.downlink, now=5.0)

    viewer.receive()
    assert viewer.pictures() == [nals(0)]
    assert viewer.ordered()[0].payload[0] & 0x1F == 24


def test_a_viewer_catches_up_and_then_is_live() -> None:
    fanout, viewer = video(), Viewer()
    for number in range(12):
        fanout.on_unit(picture(number))

    fanout.add(viewer.downlink, now=5.0)
    catch_up(fanout, now=5.0)
    for number in range(12, 70):
        fanout.on_unit(picture(number))

    viewer.receive()
    assert viewer.pictures() == [nals(number) for number in range(70)]
    assert viewer.missing() == []
    assert fanout.next_timer() is None


def test_timestamps_of_the_group_end_at_the_newest_and_rise_strictly() -> None:
    fanout, viewer = video(), Viewer(timestamp=0)
    for number in range(20):
        fanout.on_unit(picture(number))

    fanout.add(viewer.downlink, now=5.0)
    catch_up(fanout, now=5.0)
    fanout.on_unit(picture(20))

    viewer.receive()
    times = [frame[0].timestamp for frame in frames(viewer.ordered())]
    assert times == [19 * 3000 - 90 * (19 - number) for number in range(20)] + [20 * 3000]


def test_frames_that_come_while_catching_up_are_sent_in_order() -> None:
    fanout, viewer = video(), Viewer()
    for number in range(20):
        fanout.on_unit(picture(number, size=20_000))
    fanout.add(viewer.downlink, now=0.0)

    now = 0.0
    for number in range(20, 29):
        now += 1 / 30
        fanout.handle_timer(now=now)
        fanout.on_unit(picture(number, size=20_000))
    catch_up(fanout, now=now)

    viewer.receive()
    assert viewer.pictures() == [nals(number, size=20_000) for number in range(29)]
    assert all(step > 0 for step in steps(viewer) if step)


def test_catching_up_is_paced() -> None:
    fanout, viewer = video(), Viewer()
    for number in range(29):
        fanout.on_unit(picture(number, size=20_000))

    fanout.add(viewer.downlink, now=0.0)
    needed = catch_up(fanout, now=0.0)

    # 28 frames of 20 kB at 14.4 Mbit/s, three times the stream's own rate, after the first frame.
    assert 0.25 < needed < 0.45


def test_the_next_keyframe_ends_catching_up() -> None:
    fanout, viewer = video(), Viewer()
    for number in range(25):
        fanout.on_unit(picture(number, size=20_000))
    fanout.add(viewer.downlink, now=0.0)

    for number in range(25, 33):
        fanout.on_unit(picture(number, size=20_000))

    viewer.receive()
    expected = [nals(number, size=20_000) for number in (0, 30, 31, 32)]
    assert viewer.pictures() == expected
    assert fanout.next_timer() is None


def test_without_a_group_a_viewer_waits_for_the_keyframe() -> None:
    fanout, viewer = video(), Viewer()
    fanout.on_unit(picture(1))
    fanout.add(viewer.downlink, now=0.0)

    for number in range(2, 33):
        fanout.on_unit(picture(number))

    viewer.receive()
    assert viewer.pictures() == [nals(number) for number in range(30, 33)]


def test_after_a_gap_viewers_wait_for_the_keyframe() -> None:
    fanout, viewer, late = video(), Viewer(), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    fanout.on_gap()
    fanout.add(late.downlink, now=0.0)

    for number in (1, 2, 30, 31):
        fanout.on_unit(picture(number))

    viewer.receive()
    late.receive()
    assert viewer.pictures() == [nals(number) for number in (0, 30, 31)]
    assert late.pictures() == [nals(number) for number in (30, 31)]


def test_nothing_leaves_before_a_path_is_nominated() -> None:
    fanout, viewer = video(), Viewer()
    viewer.path.address = None

    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    fanout.on_unit(picture(1))
    viewer.downlink.on_nack((100,), now=1.0)

    assert viewer.sink.datagrams == []
    assert viewer.downlink.stats.packets == 0


def test_a_removed_viewer_gets_nothing_more() -> None:
    fanout, viewer, other = video(), Viewer(), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    fanout.add(other.downlink, now=0.0)
    viewer.sink.take()

    fanout.remove(viewer.downlink)
    fanout.remove(viewer.downlink)
    fanout.on_unit(picture(1))
    fanout.restart(viewer.downlink, now=10.0)

    assert viewer.sink.datagrams == []
    other.receive()
    assert other.pictures() == [nals(0), nals(1)]
    assert fanout.viewers == 1


def test_sound_starts_with_the_next_packet_on_the_48_khz_clock() -> None:
    track = opus.track(AUDIO_OPUS, opus.OpusConfig(channels=2).serialize())
    fanout = TrackFanout(track, defer=Deferred())
    viewer = Viewer(clock_rate=48_000, payload_type=111, timestamp=1000)

    def sound(number: int) -> AccessUnit:
        return AccessUnit(track.id, 1800 * number, 1800 * number, True, b"\xfc" + bytes((number,)))

    fanout.on_unit(sound(0))
    fanout.add(viewer.downlink, now=0.0)
    fanout.on_gap()
    for number in (1, 2, 3):
        fanout.on_unit(sound(number))

    packets = viewer.receive()
    assert [packet.payload for packet in packets] == [b"\xfc\1", b"\xfc\2", b"\xfc\3"]
    assert [packet.timestamp for packet in packets] == [1960, 2920, 3880]
    assert not any(packet.marker for packet in packets)


def test_new_parameters_of_the_track_reach_the_viewers() -> None:
    fanout, viewer = video(), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    other = PPS + b"\x80"
    config = h264_track().config.replace(len(PPS).to_bytes(2, "big") + PPS, b"\0\6" + other)

    fanout.set_track(Track(h264_track().id, Codec.H264, config))
    fanout.on_unit(picture(30))

    viewer.receive()
    assert viewer.pictures()[1][:2] == [SPS, other]
    with pytest.raises(ValueError, match="codec"):
        fanout.set_track(Track(h264_track().id, Codec.HEVC, config))


def test_a_broken_unit_is_dropped_and_counted() -> None:
    fanout, viewer = video(), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)

    fanout.on_unit(AccessUnit(h264_track().id, 3000, 3000, False, b"\xff\xff\xff\xff"))
    fanout.on_unit(picture(2))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(2)]
    assert fanout.broken_units == 1


def test_one_frame_is_one_call_for_each_viewer() -> None:
    fanout, viewer = video(), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    before = viewer.sink.calls

    fanout.on_unit(picture(1, size=20_000))

    assert viewer.sink.calls == before + 1
    assert depacketize_h264(p.payload for p in viewer.receive()[-18:]) == nals(1, size=20_000)


@given(st.lists(st.sampled_from("fkgarpdt"), max_size=60))
@settings(max_examples=100, deadline=None)
def test_whatever_happens_numbers_have_no_gaps_and_time_rises(script: list[str]) -> None:
    """f: frame, k: keyframe, g: gap, a/r: a viewer comes or goes, p: PLI, d: deferred turn, t:
    timer."""
    defer = Deferred()
    fanout, viewer, other = video(defer, turn=5), Viewer(), Viewer()
    fanout.add(viewer.downlink, now=0.0)
    number, now = 1, 0.0

    for action in script:
        now += 0.4
        match action:
            case "f" | "k":
                number = number + 1 if action == "f" else -(-(number + 1) // 30) * 30
                fanout.on_unit(picture(number))
            case "g":
                fanout.on_gap()
            case "a":
                fanout.remove(other.downlink)
                fanout.add(other.downlink, now=now)
            case "r":
                fanout.remove(other.downlink)
            case "p":
                fanout.restart(viewer.downlink, now=now)
            case "d":
                if defer.calls:
                    defer.turn()
            case _:
                fanout.handle_timer(now=now)

    for end in (viewer, other):
        assert not any(is_rtcp(datagram) for datagram in end.sink.datagrams)
        end.receive()
        assert end.missing() == []
        times = [frame[0].timestamp for frame in frames(end.ordered())]
        assert times == sorted(set(times))
        assert decodable(end.pictures())


@functools.cache
def numbers_of_pictures() -> dict[bytes, int]:
    return {nals(number)[-1]: number for number in range(1900)}


def decodable(pictures: list[list[bytes]]) -> bool:
    """Whether every picture is a keyframe or follows the one it was made from."""
    shown = [numbers_of_pictures()[picture_[-1]] for picture_ in pictures]
    return all(
        number % 30 == 0 or (at > 0 and number == shown[at - 1] + 1)
        for at, number in enumerate(shown)
    )
