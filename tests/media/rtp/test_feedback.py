"""What a viewer's RTCP leads to, and what the viewer is told."""

import pytest
from pylibsrtp import Policy, Session

from media.rtp.downlink import NTP_EPOCH, ntp_time
from media.rtp.fanout import TrackFanout
from media.rtp.feedback import ViewerFeedback
from media.rtp.rtcp import (
    FullIntraRequest,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpError,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from media.webrtc.srtp import SrtpProfile
from tests.support.rtp import Clock, Deferred, Viewer, h264_track, keys, picture

SOURCE = 0x1111
CLOCK = Clock()


def watching() -> tuple[TrackFanout, Viewer, ViewerFeedback]:
    fanout, viewer = TrackFanout(h264_track(), defer=Deferred()), Viewer(timestamp=5000)
    fanout.on_unit(picture(0))
    fanout.add(viewer.downlink, now=100.0)
    viewer.receive()
    return fanout, viewer, ViewerFeedback([viewer.downlink], clock=CLOCK)


def test_a_nack_is_answered() -> None:
    _, viewer, feedback = watching()

    feedback.receive(Nack(1, SOURCE, (100, 101)).serialize(), now=101.0)

    viewer.receive()
    assert viewer.duplicates == 2
    assert (viewer.downlink.stats.nacks, viewer.downlink.stats.nacked) == (1, 2)


@pytest.mark.parametrize(
    "request_", [PictureLoss(1, SOURCE), FullIntraRequest(1, ((SOURCE, 1), (SOURCE, 1)))]
)
def test_a_lost_picture_is_sent_again(request_: PictureLoss | FullIntraRequest) -> None:
    _, viewer, feedback = watching()

    feedback.receive(request_.serialize(), now=102.0)

    assert len(viewer.receive()) == 4
    assert viewer.downlink.stats.picture_losses == 1


def test_what_is_about_others_is_ignored() -> None:
    _, viewer, feedback = watching()
    block = ReportBlock(7, 1, 1, 1, 1, 1, 1)

    for packet in (
        Nack(1, 7, (100,)),
        PictureLoss(1, 7),
        FullIntraRequest(1, ((7, 1),)),
        ReceiverReport(1, (block,)),
        Goodbye((1,)),
        SourceDescription(((1, b"x"),)),
    ):
        feedback.receive(packet.serialize(), now=102.0)

    assert viewer.sink.datagrams == []
    assert viewer.downlink.stats.reports == 0


def test_broken_feedback_is_the_viewers_fault() -> None:
    _, _, feedback = watching()

    with pytest.raises(RtcpError):
        feedback.receive(b"\x81\xc9\0\1aaaa", now=0.0)


def test_remembers_the_estimate() -> None:
    _, _, feedback = watching()

    feedback.receive(Remb(1, 2_000_000, (SOURCE,)).serialize(), now=103.0)

    assert (feedback.estimate, feedback.estimated_at) == (2_000_000, 103.0)


def test_the_sender_report_tells_the_ingest_clock() -> None:
    _, viewer, _ = watching()

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
    _, viewer, _ = watching()
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
    _, viewer, _ = watching()
    sound = Viewer(clock_rate=48_000, timestamp=77)

    picture_report, _ = parse_compound(viewer.downlink.sender_report(now=130.25, clock=CLOCK))
    sound_report, _ = parse_compound(sound.downlink.sender_report(now=130.25, clock=CLOCK))

    assert isinstance(picture_report, SenderReport)
    assert isinstance(sound_report, SenderReport)
    assert picture_report.ntp == sound_report.ntp
    assert (picture_report.rtp_time - 5000) / 90_000 == (sound_report.rtp_time - 77) / 48_000


def test_a_receiver_report_gives_loss_jitter_and_round_trip() -> None:
    _, viewer, feedback = watching()
    report, _ = parse_compound(viewer.downlink.sender_report(now=110.0, clock=CLOCK))
    assert isinstance(report, SenderReport)
    held = 2 * 65_536
    block = ReportBlock(SOURCE, 64, 12, 100, 4500, report.ntp >> 16 & 0xFFFFFFFF, held)

    feedback.receive(ReceiverReport(1, (block,)).serialize(), now=112.125)

    stats = viewer.downlink.stats
    assert (stats.loss, stats.lost, stats.jitter) == (0.25, 12, 0.05)
    assert stats.round_trip == pytest.approx(0.125, abs=0.001)


@pytest.mark.parametrize(("last_report", "delay"), [(0, 0), (1, 0)])
def test_nonsense_gives_no_round_trip(last_report: int, delay: int) -> None:
    _, viewer, feedback = watching()
    far_off = (ntp_time(112.0, CLOCK) >> 16) - (3600 << 16) & 0xFFFFFFFF
    block = ReportBlock(SOURCE, 0, 0, 0, 0, last_report and far_off, delay)

    feedback.receive(ReceiverReport(1, (block,)).serialize(), now=112.0)

    assert viewer.downlink.stats.round_trip is None


def test_says_goodbye() -> None:
    _, viewer, _ = watching()

    viewer.downlink.send_goodbye(now=120.0, clock=CLOCK)

    viewer.receive()
    assert parse_compound(viewer.control[0])[-1] == Goodbye((SOURCE,))
