"""What a viewer's reports tell the server, and the server's the viewer."""

import pytest
from pylibsrtp import Policy, Session

from media.rtp.downlink import NTP_EPOCH, ntp_time
from media.rtp.fanout import TrackFanout
from media.rtp.rtcp import (
    Goodbye,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from media.webrtc.srtp import SrtpProfile
from tests.support.rtp import Clock, Deferred, Viewer, h264_track, keys, picture

SOURCE = 0x1111
CLOCK = Clock()


def watching() -> Viewer:
    fanout, viewer = TrackFanout(h264_track(), defer=Deferred()), Viewer(timestamp=5000)
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=100.0)
    viewer.receive()
    return viewer


def test_counts_what_is_asked_for_again() -> None:
    viewer = watching()

    viewer.downlink.on_nack((100, 101), now=101.0)

    viewer.receive()
    assert viewer.duplicates == 2
    assert (viewer.downlink.stats.nacks, viewer.downlink.stats.nacked) == (1, 2)


def test_the_sender_report_tells_the_ingest_clock() -> None:
    viewer = watching()

    viewer.downlink.send_report(now=107.5, clock=CLOCK)

    viewer.receive()
    report, name = parse_compound(viewer.control[0])
    assert isinstance(report, SenderReport)
    assert report.ssrc == SOURCE
    assert report.ntp == (1_800_000_000 + NTP_EPOCH << 32) + (15 << 31)
    assert report.rtp_time == 5000 + 7.5 * 90_000
    assert report.packets == 4
    assert report.octets == viewer.downlink.stats.bytes
    assert name == SourceDescription(((SOURCE, b"vitrine"),))


def test_libsrtp_reads_the_sender_report() -> None:
    viewer = watching()
    profile = SrtpProfile.AEAD_AES_128_GCM
    reader = Session(
        Policy(
            key=keys(profile, 1).key + keys(profile, 1).salt,
            ssrc_type=Policy.SSRC_ANY_INBOUND,
            srtp_profile=Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
        )
    )

    viewer.downlink.send_report(now=107.5, clock=CLOCK)

    plain = reader.unprotect_rtcp(viewer.sink.take()[0])
    assert plain == viewer.downlink.sender_report(now=107.5, clock=CLOCK)


def test_sound_and_picture_tell_the_same_time() -> None:
    viewer = watching()
    sound = Viewer(clock_rate=48_000, timestamp=77)

    picture_report, _ = parse_compound(viewer.downlink.sender_report(now=130.25, clock=CLOCK))
    sound_report, _ = parse_compound(sound.downlink.sender_report(now=130.25, clock=CLOCK))

    assert isinstance(picture_report, SenderReport)
    assert isinstance(sound_report, SenderReport)
    assert picture_report.ntp == sound_report.ntp
    assert (picture_report.rtp_time - 5000) / 90_000 == (sound_report.rtp_time - 77) / 48_000


def test_a_receiver_report_gives_loss_jitter_and_round_trip() -> None:
    viewer = watching()
    report, _ = parse_compound(viewer.downlink.sender_report(now=110.0, clock=CLOCK))
    assert isinstance(report, SenderReport)
    held = 2 * 65_536
    block = ReportBlock(SOURCE, 64, 12, 100, 4500, report.ntp >> 16 & 0xFFFFFFFF, held)

    viewer.downlink.on_report(block, now=112.125, clock=CLOCK)

    stats = viewer.downlink.stats
    assert (stats.loss, stats.lost, stats.jitter) == (0.25, 12, 0.05)
    assert stats.round_trip == pytest.approx(0.125, abs=0.001)


@pytest.mark.parametrize(("last_report", "delay"), [(0, 0), (1, 0)])
def test_nonsense_gives_no_round_trip(last_report: int, delay: int) -> None:
    viewer = watching()
    far_off = (ntp_time(112.0, CLOCK) >> 16) - (3600 << 16) & 0xFFFFFFFF
    block = ReportBlock(SOURCE, 0, 0, 0, 0, last_report and far_off, delay)

    viewer.downlink.on_report(block, now=112.0, clock=CLOCK)

    assert viewer.downlink.stats.round_trip is None


def test_says_goodbye() -> None:
    viewer = watching()

    viewer.downlink.send_goodbye(now=120.0, clock=CLOCK)

    viewer.receive()
    assert parse_compound(viewer.control[0])[-1] == Goodbye((SOURCE,))
