"""Packets that a viewer lost, and pictures that it cannot decode."""

import random

import pytest
from pylibsrtp import Policy, Session

from media.rtp.fanout import TrackFanout
from media.webrtc.srtp import SrtpProfile
from tests.support.rtp import (
    Deferred,
    Viewer,
    catch_up,
    frames,
    h264_track,
    keys,
    nals,
    picture,
    video,
)


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
