"""One track to many viewers: joins, live frames, losses, switches and fairness."""

import functools
import itertools
import random

import pytest
from hypothesis import given, settings, strategies as st
from pylibsrtp import Policy, Session

from media.codecs import opus
from media.rtp.fanout import MAX_BEHIND, TrackFanout
from media.rtp.packet import is_rtcp
from media.stream import AUDIO_OPUS
from media.units import AccessUnit, Codec, Track
from media.webrtc.srtp import SrtpProfile
from tests.support.rtp import (
    PPS,
    SPS,
    Clock,
    Deferred,
    Viewer,
    catch_up,
    depacketize_h264,
    frames,
    h264_track,
    keys,
    picture,
)


def video(defer: Deferred | None = None, *, turn: int = 1024) -> TrackFanout:
    return TrackFanout(h264_track(), defer=defer or Deferred(), turn=turn)


def nals(number: int, *, size: int = 3000, every: int = 30) -> list[bytes]:
    """What a viewer must have of `picture(number)`."""
    payload = picture(number, size=size, every=every).payload
    sets = [SPS, PPS] if number % every == 0 else []
    return [*sets, payload[4:]]


def steps(viewer: Viewer) -> list[int]:
    times = [packet.timestamp for packet in viewer.ordered()]
    return [(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(times)]


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


@pytest.mark.parametrize("profile", list(SrtpProfile))
def test_libsrtp_reads_a_viewer_over_the_wrap(profile: SrtpProfile) -> None:
    """Sequence numbers from just before the wrap, video and RTX."""
    fanout, viewer = video(), Viewer(profile=profile, sequence=65_530)
    reader = Session(
        Policy(
            key=keys(profile, 1).key + keys(profile, 1).salt,
            ssrc_type=Policy.SSRC_ANY_INBOUND,
            srtp_profile={
                SrtpProfile.AES128_CM_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
                SrtpProfile.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
                SrtpProfile.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
            }[profile],
        )
    )
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    for number in range(1, 10):
        fanout.on_unit(picture(number))
    viewer.downlink.on_nack((65_531, 2), now=0.0)

    plain = [reader.unprotect(datagram) for datagram in viewer.sink.take()]

    sequences = [int.from_bytes(packet[2:4], "big") for packet in plain[:-2]]
    assert sequences == [(65_530 + n) & 0xFFFF for n in range(len(sequences))]
    assert [packet[12:14] for packet in plain[-2:]] == [b"\xff\xfb", b"\0\2"]


@pytest.mark.parametrize("rtx", [True, False])
@pytest.mark.parametrize(("seed", "share"), [(1, 0.02), (2, 0.1), (3, 0.2)])
def test_a_viewer_with_losses_gets_everything_by_asking(rtx: bool, seed: int, share: float) -> None:
    source = random.Random(seed)
    lost = {number for number in range(1, 2000) if source.random() < share}
    fanout, viewer = video(), Viewer(rtx=rtx, lose=lost.__contains__, sequence=65_400)
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)

    asked = 0
    for number in range(1, 61):
        fanout.on_unit(picture(number))
        viewer.receive()
        asked += viewer.ask_again(now=number / 30)
    viewer.sink.lose = lambda number: False
    fanout.on_unit(picture(61))
    viewer.receive()
    asked += viewer.ask_again(now=3.0)
    viewer.receive()

    assert asked > 240 * share / 2
    assert viewer.missing() == []
    assert viewer.pictures() == [nals(number) for number in range(62)]


def test_plain_retransmission_is_the_very_same_packet() -> None:
    fanout, viewer = video(), Viewer(rtx=False)
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    first = viewer.sink.take()

    viewer.downlink.on_nack(tuple(range(100, 100 + len(first))), now=0.0)

    assert viewer.sink.take() == first


def test_retransmission_has_its_own_source_numbers_and_the_true_time() -> None:
    fanout, viewer = video(), Viewer(sequence=500)
    for number in range(4):
        fanout.on_unit(picture(number))
    fanout.add(viewer.downlink, now=0.0)
    catch_up(fanout, now=0.0)
    sent = {packet.sequence: packet for packet in viewer.receive()}

    viewer.downlink.on_nack((501, 505, 503), now=0.0)

    assert viewer.receive() == []
    assert viewer.duplicates == 3
    viewer.packets.clear()
    viewer.downlink.on_nack((501, 505, 503), now=1.0)
    assert viewer.receive() == [sent[501], sent[505], sent[503]]
    assert viewer.downlink.stats.retransmitted == 6


def test_what_was_never_sent_or_is_forgotten_is_not_answered() -> None:
    fanout, viewer = TrackFanout(h264_track(), defer=Deferred(), retention=0.5), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    for number in range(1, 62):
        fanout.on_unit(picture(number))
    newest = 100 + viewer.downlink.stats.packets - 1
    viewer.sink.take()

    viewer.downlink.on_nack((99, 100, newest + 1, 40_000), now=3.0)
    assert viewer.sink.take() == []

    viewer.downlink.on_nack((newest,), now=3.0)
    assert len(viewer.sink.take()) == 1


def test_a_flood_of_nacks_is_bounded() -> None:
    fanout, viewer = video(), Viewer()
    fanout.on_unit(picture(0, size=900_000))
    fanout.add(viewer.downlink, now=0.0)
    viewer.sink.take()

    everything = tuple(range(100, 100 + 700))
    for _ in range(50):
        viewer.downlink.on_nack(everything, now=0.001)

    assert len(viewer.sink.take()) == 256


def test_a_lost_picture_is_repaired_from_the_cache_once_a_second() -> None:
    fanout, viewer = video(), Viewer()
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=0.0)
    for number in range(1, 6):
        fanout.on_unit(picture(number))
    viewer.receive()
    viewer.packets.clear()

    fanout.restart(viewer.downlink, now=0.5)
    assert viewer.receive() == []
    fanout.restart(viewer.downlink, now=1.5)
    fanout.restart(viewer.downlink, now=1.6)
    catch_up(fanout, now=1.6)
    for number in range(6, 9):
        fanout.on_unit(picture(number))

    viewer.receive()
    assert viewer.pictures() == [nals(number) for number in range(9)]
    times = [frame[0].timestamp for frame in frames(viewer.ordered())]
    assert times == sorted(set(times))
    assert times[0] > 5 * 3000
    assert times[-3:] == [18_000, 21_000, 24_000]


def test_packets_sent_at_another_time_are_sent_again_with_that_time() -> None:
    fanout, viewer = video(), Viewer(rtx=False)
    for number in range(6):
        fanout.on_unit(picture(number))
    fanout.add(viewer.downlink, now=0.0)
    catch_up(fanout, now=0.0)
    sent = viewer.sink.take()

    viewer.downlink.on_nack(tuple(range(100, 100 + len(sent))), now=1.0)

    assert viewer.sink.take() == sent


def test_a_viewer_moves_to_another_rendition_at_its_keyframe() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    rendition.on_unit(picture(0, size=500))
    source.add(viewer.downlink, now=0.0)

    rendition.take_over(viewer.downlink, source, now=0.0)
    for number in range(1, 35):
        source.on_unit(picture(number))
        rendition.on_unit(picture(number, size=500))

    viewer.receive()
    assert viewer.missing() == []
    # The source's own keyframe had left before the rendition's came.
    assert viewer.pictures() == [
        *(nals(number) for number in range(31)),
        *(nals(number, size=500) for number in range(30, 35)),
    ]
    assert all(step > 0 for step in steps(viewer) if step)
    assert (source.viewers, rendition.viewers) == (0, 1)


def test_a_rendition_that_lags_does_not_turn_time_back() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)
    rendition.take_over(viewer.downlink, source, now=0.0)

    for number in range(1, 45):
        source.on_unit(picture(number))
        if number >= 4:
            rendition.on_unit(picture(number - 4, size=500))

    viewer.receive()
    times = [frame[0].timestamp for frame in frames(viewer.ordered())]
    assert times == sorted(set(times))
    assert viewer.missing() == []
    assert viewer.pictures()[-1] == nals(40, size=500)
    assert times[-1] == 40 * 3000


def test_a_viewer_moves_at_once_when_the_other_rendition_has_ended() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    for number in range(5):
        source.on_unit(picture(number))
        rendition.on_unit(picture(number, size=500))
    source.add(viewer.downlink, now=0.0)
    catch_up(source, now=0.0)

    rendition.take_over(viewer.downlink, source, now=1.0, at_once=True)
    catch_up(rendition, now=1.0)

    viewer.receive()
    assert viewer.pictures() == [
        *(nals(number) for number in range(5)),
        *(nals(number, size=500) for number in range(5)),
    ]


def test_a_viewer_who_moved_lets_go_of_the_track_it_left() -> None:
    """What can no longer be asked for would keep the cache of an ended track in memory."""
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    rendition.on_unit(picture(0, size=500))
    source.add(viewer.downlink, now=0.0)
    rendition.take_over(viewer.downlink, source, now=1.0, at_once=True)

    viewer.downlink.on_nack((100,), now=1.1)
    for report in range(3):
        rendition.on_unit(picture(report + 1, size=500))
        viewer.downlink.send_report(now=101.5 * report, clock=Clock())
    viewer.downlink.on_nack((101,), now=4.0)
    newest = 100 + viewer.downlink.stats.packets - 1
    viewer.downlink.on_nack((newest,), now=4.0)

    assert viewer.downlink.stats.retransmitted == 2


def test_a_change_of_mind_before_the_keyframe_comes() -> None:
    source, second, third, viewer = video(), video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)

    second.take_over(viewer.downlink, source, now=0.0)
    third.take_over(viewer.downlink, second, now=0.0)
    second.on_unit(picture(30))
    source.on_unit(picture(1))
    third.on_unit(picture(30))
    source.on_unit(picture(2))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(1), nals(30)]
    assert (source.viewers, second.viewers, third.viewers) == (0, 0, 1)


def test_back_again_before_the_keyframe_comes() -> None:
    source, second, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)

    second.take_over(viewer.downlink, source, now=0.0)
    source.take_over(viewer.downlink, second, now=0.0)
    second.on_unit(picture(30))
    source.on_unit(picture(1))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(1)]


def test_a_viewer_is_sent_by_one_fanout_at_a_time() -> None:
    source, second, third, viewer = video(), video(), video(), Viewer()
    for fanout in (source, second, third):
        fanout.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)

    second.take_over(viewer.downlink, source, now=0.0)
    third.take_over(viewer.downlink, second, now=1.0, at_once=True)
    source.on_unit(picture(1))
    third.on_unit(picture(1))

    viewer.receive()
    assert viewer.pictures() == [nals(0), nals(0), nals(1)]
    assert (source.viewers, third.viewers) == (0, 1)


def test_a_viewer_who_left_does_not_arrive_elsewhere() -> None:
    source, rendition, viewer = video(), video(), Viewer()
    source.on_unit(picture(0))
    source.add(viewer.downlink, now=0.0)
    rendition.take_over(viewer.downlink, source, now=0.0)
    viewer.sink.take()

    source.remove(viewer.downlink)
    rendition.on_unit(picture(0))

    assert viewer.sink.datagrams == []
    assert rendition.viewers == 0


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


def test_a_frame_to_many_viewers_takes_several_turns() -> None:
    defer = Deferred()
    fanout = video(defer, turn=100)
    viewers = [Viewer() for _ in range(20)]
    fanout.on_unit(picture(0, size=1000))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    fanout.on_unit(picture(1, size=30_000))
    reached = sum(viewer.downlink.stats.packets > 2 for viewer in viewers)
    fanout.on_unit(picture(2))
    defer.run()

    assert reached == 4
    assert defer.turns == 5
    for viewer in viewers:
        viewer.receive()
        assert viewer.pictures() == [nals(0, size=1000), nals(1, size=30_000), nals(2)]


def test_a_viewer_may_leave_or_restart_while_a_frame_is_on_its_way() -> None:
    defer = Deferred()
    fanout = video(defer, turn=30)
    viewers = [Viewer() for _ in range(6)]
    fanout.on_unit(picture(0))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    fanout.on_unit(picture(1, size=30_000))
    fanout.remove(viewers[3].downlink)
    fanout.restart(viewers[4].downlink, now=2.0)
    late = Viewer()
    fanout.add(late.downlink, now=2.0)
    defer.run()
    catch_up(fanout, now=2.0)
    fanout.on_unit(picture(2))
    defer.run()

    for viewer in (*viewers, late):
        viewer.receive()
        assert viewer.missing() == []
    whole = [nals(0), nals(1, size=30_000), nals(2)]
    assert [viewer.pictures() for viewer in viewers[:3]] == [whole] * 3
    assert viewers[3].pictures() == whole[:1]
    assert viewers[4].pictures() == [whole[0], *whole]
    assert viewers[5].pictures() == whole
    assert late.pictures() == whole


def test_when_the_machine_cannot_keep_up_all_wait_for_a_keyframe() -> None:
    defer = Deferred()
    fanout = video(defer, turn=3)
    viewers = [Viewer(), Viewer()]
    fanout.on_unit(picture(0))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    for number in range(1, MAX_BEHIND + 10):
        fanout.on_unit(picture(number, every=1000))
    assert fanout.overruns == 1
    assert fanout.backlog <= MAX_BEHIND
    defer.run()
    fanout.on_unit(picture(1000, every=1000))
    defer.run()
    catch_up(fanout, now=9.0)
    defer.run()

    for viewer in viewers:
        viewer.receive()
        assert viewer.missing() == []
        assert viewer.pictures()[-1] == nals(1000, every=1000)


def test_many_who_join_at_once_share_the_turns() -> None:
    fanout = video(turn=50)
    viewers = [Viewer() for _ in range(10)]
    for number in range(10):
        fanout.on_unit(picture(number, size=20_000))
    for viewer in viewers:
        fanout.add(viewer.downlink, now=0.0)

    fanout.handle_timer(now=1.0)
    assert fanout.next_timer() == 1.0
    catch_up(fanout, now=1.0)

    for viewer in viewers:
        viewer.receive()
        assert viewer.pictures() == [nals(number, size=20_000) for number in range(10)]


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
