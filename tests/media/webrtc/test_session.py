"""Viewers over real sockets: who gets what, and that nothing is left of those who went."""

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from media.codecs.nal import split_length_prefixed
from media.hub import PublishGrant
from media.rtp.rtcp import (
    FullIntraRequest,
    Goodbye,
    Nack,
    PictureLoss,
    ReceiverReport,
    Remb,
    ReportBlock,
    SenderReport,
)
from media.stream import AUDIO, VIDEO, VIDEO_WEBRTC, Publisher
from media.units import AccessUnit, Codec, Track
from media.webrtc.srtp import SrtpProfile
from media.webrtc.stun import MessageClass
from scripts.bench.clip import Loop, clip
from tests.support.raw_viewer import RawViewer, raw_viewer
from tests.support.webrtc import Site, check, new_certificate, site, until

VIDEO_TYPE = 108
RTX_TYPE = 109
AUDIO_TYPE = 111


@pytest.fixture
async def where(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as running:
        yield running


@pytest.fixture
async def source(where: Site) -> AsyncIterator[Loop]:
    loop = Loop(where.hub, "demo", clip())
    yield loop
    await loop.stop()


def nothing_is_left(where: Site) -> bool:
    return not any(where.service.holdings.values())


async def test_the_first_packets_are_a_keyframe_with_its_parameter_sets(
    where: Site, source: Loop
) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 20 and len(viewer.of(AUDIO_TYPE)) > 5)

        first = viewer.of(VIDEO_TYPE)[0].payload
        assert first[0] & 0x1F == 24  # STAP-A
        kinds = {nal[0] & 0x1F for nal in _aggregated(first)}
        assert {7, 8} <= kinds
        assert viewer.profile is SrtpProfile.AEAD_AES_128_GCM


async def test_sender_reports_come_at_once_and_go_on(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: sum(isinstance(p, SenderReport) for p in viewer.control) >= 4, 4.0)

        reports = [p for p in viewer.control if isinstance(p, SenderReport)]
        ssrcs = {viewer.of(VIDEO_TYPE)[0].ssrc, viewer.of(AUDIO_TYPE)[0].ssrc}
        assert {report.ssrc for report in reports[:2]} == ssrcs
        # Both tell of the same clock: what a browser keeps lips and voice together by.
        ticks = {
            report.ssrc: [r for r in reports if r.ssrc == report.ssrc][-1] for report in reports
        }
        wall = [report.ntp / (1 << 32) for report in ticks.values()]
        assert max(wall) - min(wall) < 0.1


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ((SrtpProfile.AES128_CM_SHA1_80,), SrtpProfile.AES128_CM_SHA1_80),
        ((SrtpProfile.AEAD_AES_256_GCM,), SrtpProfile.AEAD_AES_256_GCM),
    ],
)
async def test_a_client_without_our_favourite_cipher_is_served(
    where: Site, source: Loop, offered: tuple[SrtpProfile, ...], chosen: SrtpProfile
) -> None:
    async with raw_viewer(where, profiles=offered) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 20)

        assert viewer.profile is chosen


async def test_a_client_with_another_certificate_gets_nothing(where: Site, source: Loop) -> None:
    viewer = RawViewer(where)
    viewer.offer = viewer.offer.replace(
        viewer.dtls.fingerprint.value, new_certificate().fingerprint.value
    )
    try:
        await viewer.post()
        viewer.leg.check(nominate=True)
        viewer.dtls.advance()
        for datagram in viewer.dtls.datagrams():
            viewer.leg.send(datagram)
        await until(lambda: nothing_is_left(where))

        assert viewer.leg.media == 0
    finally:
        viewer.close()


async def test_media_goes_to_the_nominated_address_alone(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        other = viewer.another_leg()
        other.check()
        await viewer.connect()
        await until(lambda: viewer.leg.media > 20)

        for _ in range(20):  # The newest check is always of the other address.
            other.check()
            await asyncio.sleep(0.01)
        await until(lambda: len(other.answers) >= 21)

        assert all(a.message_class is MessageClass.SUCCESS for a in other.answers)
        assert other.media == 0
        before = viewer.leg.media
        await until(lambda: viewer.leg.media > before + 20)


async def test_media_follows_a_new_nomination(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: viewer.leg.media > 20)

        other = viewer.another_leg()
        other.check(nominate=True)
        await until(lambda: other.media > 20)

        before = viewer.leg.media
        after = other.media
        await until(lambda: other.media > after + 20)
        assert viewer.leg.media == before


async def test_media_waits_for_the_nomination(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        viewer.leg.check()
        await until(lambda: bool(viewer.leg.answers))
        await viewer.shake_hands()
        assert viewer.leg.media == 0

        viewer.leg.check(nominate=True)

        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 20)


async def test_lost_packets_come_again_on_their_own_stream(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 10)
        missed = viewer.of(VIDEO_TYPE)[5]

        viewer.send_control(
            ReceiverReport(1).serialize(), Nack(1, missed.ssrc, (missed.sequence,)).serialize()
        )

        await until(lambda: bool(viewer.of(RTX_TYPE)))
        again = viewer.of(RTX_TYPE)[0]
        assert again.payload == missed.sequence.to_bytes(2, "big") + missed.payload
        assert again.timestamp == missed.timestamp
        assert again.ssrc != missed.ssrc


@pytest.mark.parametrize("how", ["pli", "fir"])
async def test_a_lost_picture_begins_again_with_a_keyframe(
    where: Site, source: Loop, how: str
) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 20)
        ssrc = viewer.of(VIDEO_TYPE)[0].ssrc

        def keyframes() -> int:
            return sum(p.payload[0] & 0x1F == 24 and _has_sps(p.payload) for p in viewer.packets)

        # The clip has a keyframe in every lap; what comes beyond that is a repeat. The fan-out
        # repeats a group once a second at most, so ask until it does.
        had, laps = keyframes(), source.laps
        request = PictureLoss(1, ssrc) if how == "pli" else FullIntraRequest(1, ((ssrc, 1),))
        while keyframes() <= had + source.laps - laps:
            viewer.send_control(ReceiverReport(1).serialize(), request.serialize())
            await asyncio.sleep(0.02)

        (stats,) = where.service.viewer_stats()
        assert stats.video is not None
        assert stats.video.picture_losses > 0


async def test_reports_and_estimates_reach_the_figures(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 10)
        ssrc = viewer.of(VIDEO_TYPE)[0].ssrc

        viewer.send_control(
            ReceiverReport(1, (ReportBlock(ssrc, 64, 9, 100, 900, 0, 0),)).serialize(),
            Remb(1, 1_500_000, (ssrc,)).serialize(),
        )

        def reported() -> bool:
            (stats,) = where.service.viewer_stats("demo")
            return stats.video is not None and stats.video.reports == 1

        await until(reported)
        (stats,) = where.service.viewer_stats("demo")
        assert stats.video is not None
        assert (stats.video.loss, stats.video.lost, stats.video.jitter) == (0.25, 9, 0.01)
        assert stats.bitrate_estimate is not None
        assert abs(stats.bitrate_estimate - 1_500_000) < 10_000


async def test_leaving_stops_media_and_leaves_nothing(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: viewer.leg.media > 20)

        assert (await viewer.delete()).status == 200

        await until(lambda: viewer.dtls.closed)
        assert nothing_is_left(where)
        goodbyes = [p for p in viewer.control if isinstance(p, Goodbye)]
        assert {ssrc for p in goodbyes for ssrc in p.ssrcs} == {
            viewer.of(VIDEO_TYPE)[0].ssrc,
            viewer.of(AUDIO_TYPE)[0].ssrc,
        }
        before = viewer.leg.media
        frames = source.frames
        await until(lambda: source.frames > frames + 10)
        assert viewer.leg.media == before
        assert (await viewer.delete()).status == 404


async def test_a_viewer_that_says_goodbye_is_gone_at_once(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        viewer.dtls.connection.shutdown()
        for datagram in viewer.dtls.datagrams():
            viewer.leg.send(datagram)

        await until(lambda: nothing_is_left(where))


async def test_a_viewer_that_falls_silent_is_gone(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: viewer.leg.media > 20)

        where.clock.ahead += 25.0
        viewer.leg.check()
        await until(lambda: len(viewer.leg.answers) == 2)
        where.clock.ahead += 29.0
        reports = len(viewer.control)
        await until(lambda: len(viewer.control) > reports)  # Its timer rang, and found no fault.
        assert where.service.viewers("demo") == 1

        where.clock.ahead += 1.0
        await until(lambda: nothing_is_left(where))
        frames = source.frames
        await until(lambda: source.frames > frames + 5)
        media = viewer.leg.media
        await until(lambda: source.frames > frames + 15)
        assert viewer.leg.media == media
        assert not any(isinstance(p, Goodbye) for p in viewer.control)


async def test_the_end_of_the_stream_ends_its_viewers(where: Site, source: Loop) -> None:
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: viewer.leg.media > 20)

        where.hub.end("demo", "test")

        await until(lambda: viewer.dtls.closed)
        assert any(isinstance(p, Goodbye) for p in viewer.control)
        assert nothing_is_left(where)


async def test_viewers_stay_while_the_publisher_comes_back(where: Site) -> None:
    source = Loop(where.hub, "demo", clip())
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 20)
        await source.stop()
        assert where.service.viewers("demo") == 1
        before = len(viewer.of(VIDEO_TYPE))

        source = Loop(where.hub, "demo", clip())

        await until(lambda: len(viewer.of(VIDEO_TYPE)) > before + 20)
        packets = viewer.of(VIDEO_TYPE)
        sequences = [p.sequence for p in packets]
        assert sequences == [(sequences[0] + n) & 0xFFFF for n in range(len(sequences))]
        await source.stop()


async def test_a_stream_with_reordered_pictures_waits_for_the_other_rendition(
    where: Site,
) -> None:
    source = Loop(where.hub, "demo", clip(profile="main", b_frames=2))
    await until(lambda: _reorders(where))
    plain = clip()
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(AUDIO_TYPE)) > 5)
        assert viewer.of(VIDEO_TYPE) == []

        stream = where.hub.stream("demo")
        assert stream is not None
        stream.set_track(replace(plain.video, id=VIDEO_WEBRTC))
        for unit in plain.parts(plain.video)[:30]:
            at = stream.newest_dts + unit.dts
            stream.push(replace(unit, track=VIDEO_WEBRTC, pts=at, dts=at))

        await until(lambda: len(viewer.of(VIDEO_TYPE)) >= 30)
        sps = next(n for n in _aggregated(viewer.of(VIDEO_TYPE)[0].payload) if n[0] & 31 == 7)
        assert sps in plain.video.config
        stream.remove_track(VIDEO_WEBRTC)
    await source.stop()


async def test_a_codec_that_gives_way_asks_for_a_new_offer(where: Site) -> None:
    publication = where.hub.publish(PublishGrant("demo"), Publisher("test", "test"), lambda _: None)
    stream = publication.stream
    stream.set_track(Track(VIDEO, Codec.AV1, bytes((0x81, 0x05, 0x0C, 0))))
    stream.set_track(Track(AUDIO, Codec.OPUS, clip().audio.config))
    stream.push(AccessUnit(VIDEO, 0, 0, True, b"\x12\x00"))
    stream.push(AccessUnit(AUDIO, 0, 0, True, b"x"))
    async with raw_viewer(where) as viewer:
        assert "AV1/90000" in viewer.answer
        await viewer.connect()

        stream.set_track(replace(clip().video, id=VIDEO_WEBRTC))
        assert where.service.viewers("demo") == 1
        stream.remove_track(VIDEO)

        await until(lambda: viewer.dtls.closed)
        assert nothing_is_left(where)


async def test_sound_alone_can_be_listened_to(where: Site) -> None:
    source = Loop(where.hub, "demo", clip())
    stream = where.hub.stream("demo")
    assert stream is not None
    await until(lambda: stream.track(AUDIO) is not None and stream.track(VIDEO) is not None)
    stream.remove_track(VIDEO)
    await until(lambda: stream.settled, 3.0)

    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(AUDIO_TYPE)) > 5)
    await source.stop()


async def test_garbage_on_the_port_leaves_sessions_alone(where: Site, source: Loop) -> None:
    rng = random.Random(5)
    async with raw_viewer(where) as viewer:
        await viewer.connect()
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > 20)
        genuine = check(viewer.remote, "q7Zh")
        assert viewer.srtp is not None
        control = viewer.srtp.protect_rtcp(ReceiverReport(1).serialize())

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for number in range(3000):
                original = (genuine, control, rng.randbytes(rng.randrange(1, 1500)))[number % 3]
                mutated = bytearray(original)
                for _ in range(rng.randrange(1, 4)):
                    mutated[rng.randrange(len(mutated))] ^= rng.randrange(1, 256)
                # From somebody else, and from the viewer's own address.
                stranger.sendto(mutated, viewer.server)
                viewer.leg.send(bytes(mutated))
                if number % 64 == 0:
                    await asyncio.sleep(0)

        before = len(viewer.of(VIDEO_TYPE))
        await until(lambda: len(viewer.of(VIDEO_TYPE)) > before + 30)
        assert where.service.viewers("demo") == 1
        held = where.service.holdings
        assert (held["sessions"], held["ufrags"], held["paths"]) == (1, 1, 1)


async def test_a_hundred_viewers_leave_no_trace(where: Site, source: Loop) -> None:
    async def come_and_go() -> None:
        async with raw_viewer(where) as viewer:
            await viewer.connect()
            await until(lambda: viewer.leg.media > 0)
            await viewer.delete()

    async def ten() -> None:
        await asyncio.gather(*(come_and_go() for _ in range(10)))

    await ten()  # Fills the HTTP client's pool of connections.
    descriptors = len(os.listdir("/proc/self/fd"))
    tasks = len(asyncio.all_tasks())
    for _ in range(9):
        await ten()

    assert nothing_is_left(where)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


async def test_too_many_handshakes_from_one_address_are_not_answered(tmp_path: Path) -> None:
    async with site(tmp_path, half_open_per_host=3) as where:
        source = Loop(where.hub, "demo", clip())
        viewers = [await RawViewer(where).post() for _ in range(4)]
        for viewer in viewers[:3]:
            viewer.leg.check(nominate=True)
            await until(lambda viewer=viewer: bool(viewer.leg.answers))  # type: ignore[misc]

        viewers[3].leg.check(nominate=True)
        await until(lambda: where.service.endpoint_stats.crowded == 1)
        assert viewers[3].leg.answers == []

        await viewers[0].shake_hands()  # Makes room.
        await viewers[3].connect()
        for viewer in viewers:
            viewer.close()
        await source.stop()


def _aggregated(payload: bytes) -> list[bytes]:
    rest = payload[1:]
    found = []
    while rest:
        size = int.from_bytes(rest[:2], "big")
        found.append(rest[2 : 2 + size])
        rest = rest[2 + size :]
    return found


def _has_sps(payload: bytes) -> bool:
    return any(nal[0] & 0x1F == 7 for nal in _aggregated(payload))


def _reorders(where: Site) -> bool:
    stream = where.hub.stream("demo")
    return stream is not None and stream.reorders(VIDEO)


def test_the_clip_is_what_the_tests_take_it_for() -> None:
    pictures = clip().parts(clip().video)
    kinds = {nal[0] & 0x1F for nal in split_length_prefixed(pictures[0].payload)}
    assert 5 in kinds
    assert [unit.keyframe for unit in pictures].count(True) == 1
