"""The shell over real sockets: who gets in, who is thrown out, and what the hub hears of it."""

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from media.codecs.aac import AudioConfig, adts_header
from media.codecs.h264 import AvcConfig
from media.hub import PublishGrant, Takeover
from media.mpegts.demuxer import TsDemuxer
from media.mpegts.tables import TYPE_H264, TYPE_MPEG1_AUDIO, Entry
from media.srt.caller import Connected
from media.srt.handshake import Rejection
from media.srt.listener import ListenerConfig
from media.stream import AUDIO, VIDEO, Phase
from media.units import AccessUnit, Codec, TrackId
from tests.support.bitstreams import avc_slice, avc_track
from tests.support.mpegts import AUDIO_PID, VIDEO_PID, Sender
from tests.support.rtmp_server import eventually
from tests.support.srt_server import (
    KEY,
    PUBLISH,
    READ,
    ROOM,
    SrtHouse,
    srt_house,
    transport_stream,
    units,
)

PASSPHRASE = "correct horse battery"


@pytest.fixture
async def house() -> AsyncIterator[SrtHouse]:
    async with srt_house() as each:
        yield each


def payloads(found: list[AccessUnit], track: TrackId) -> list[bytes]:
    return [unit.payload for unit in found if unit.track == track]


# Publishing


async def test_a_push_becomes_the_rooms_stream(house: SrtHouse) -> None:
    caller = await house.connected()
    caller.send(transport_stream(2))
    sent = list(units(2))
    await eventually(lambda: len(house.units) >= len(sent) - 2)
    caller.hang_up()
    await eventually(lambda: house.stream.phase is Phase.GRACE)

    assert {track.codec for track in house.stream.tracks} == {Codec.H264, Codec.AAC}
    assert payloads(house.units, VIDEO) == payloads(sent, VIDEO)
    assert payloads(house.units, AUDIO) == payloads(sent, AUDIO)
    assert house.server.connections == 0


def video_only(sender: Sender, count: int, *, start: int) -> bytes:
    """The tables with nothing but video, and pictures behind them."""
    sets = AvcConfig.parse(avc_track().config)
    parameters = [*sets.sps, *sets.pps]
    out = sender.tables([Entry(TYPE_H264, VIDEO_PID)], version=1)
    for index in range(count):
        nals = [*parameters, avc_slice(idr=True, seed=index)]
        annexb = b"".join(b"\0\0\0\1" + nal for nal in nals)
        out += sender.video(start + index * 3600, annexb)
    return out


async def test_a_track_that_the_programme_drops_is_gone_from_the_room(house: SrtHouse) -> None:
    caller = await house.connected()
    sender = Sender()
    sound = adts_header(AudioConfig(2, 48000, 2), 40) + b"\x21" * 40
    caller.send(sender.tables() + sender.audio(90_000, sound) + sender.audio(91_920, sound))
    await eventually(lambda: house.stream.track(AUDIO) is not None)

    caller.send(video_only(sender, 3, start=95_000))

    await eventually(lambda: ("removed", AUDIO) in house.recorders[0].heard)
    await eventually(lambda: len(payloads(house.units, VIDEO)) >= 2)
    assert [track.id for track in house.stream.tracks] == [VIDEO]
    assert house.server.connections == 1


async def test_a_notice_of_what_is_left_out_goes_with_it(house: SrtHouse) -> None:
    caller = await house.connected()
    sender = Sender()
    h264, mp2 = Entry(TYPE_H264, VIDEO_PID), Entry(TYPE_MPEG1_AUDIO, AUDIO_PID)
    caller.send(sender.tables([h264, mp2]) * 3)
    await eventually(lambda: [n.code for n in house.stream.notices] == ["unsupported_track"])

    caller.send(sender.tables([h264], version=1) + sender.tables([h264], version=1) * 2)

    await eventually(lambda: house.stream.notices == ())


async def test_the_publisher_is_named(house: SrtHouse) -> None:
    await house.connected()

    publisher = house.stream.publisher
    assert publisher is not None
    assert publisher.protocol == "srt"
    assert publisher.remote.startswith("127.0.0.1:")
    assert publisher.encoder == "SRT 1.5.3"


@pytest.mark.parametrize("key_length", [16, 24, 32])
async def test_an_encrypted_push(house: SrtHouse, key_length: int) -> None:
    house.keys.passphrase = PASSPHRASE
    caller = await house.connected(passphrase=PASSPHRASE, key_length=key_length)
    caller.send(transport_stream(1))
    await eventually(lambda: len(house.units) >= 60)
    caller.hang_up()
    await eventually(lambda: house.stream.phase is Phase.GRACE)

    assert payloads(house.units, VIDEO) == payloads(list(units(1)), VIDEO)


async def test_figures_of_a_publisher(house: SrtHouse) -> None:
    caller = await house.connected()
    caller.send(transport_stream(1))
    await eventually(lambda: len(house.units) > 10)

    figures = house.server.publishers()[ROOM]
    assert figures.connection.received > 10
    assert figures.connection.dropped == 0
    assert figures.continuity_errors == 0


# Refusals


@pytest.mark.parametrize(
    ("stream_id", "code"),
    [
        (f"#!::m=publish,r={ROOM},s=wrong", 1401),
        (f"#!::m=publish,r={ROOM}", 1401),
        (f"#!::m=publish,r=nowhere,s={KEY}", 1404),
        (f"#!::m=bidirectional,r={ROOM},s={KEY}", 1405),
        ("#!::m=request,r=nowhere", 1404),
        (READ, 1404),
        ("", 1400),
        ("#!::m=publish", 1400),
        (f"publish:{'x' * 200}:{KEY}", 1400),
        (f"publish:{ROOM}:{KEY}{'x' * 512}", 1400),
    ],
)
async def test_refusals_have_their_codes(house: SrtHouse, stream_id: str, code: int) -> None:
    assert await house.refused(stream_id) == code
    assert house.hub.streams == ()


@pytest.mark.parametrize(
    ("refused", "code"),
    [("unauthorized", 1401), ("overloaded", 1402), ("forbidden", 1403), ("not_found", 1404)],
)
async def test_what_the_keys_say_reaches_the_caller(
    house: SrtHouse, refused: str, code: int
) -> None:
    house.keys.refuse = refused

    assert await house.refused(PUBLISH) == code


async def test_a_busy_key_is_a_conflict(house: SrtHouse) -> None:
    house.keys.policy = Takeover.REJECT
    first = await house.connected()

    assert await house.refused(PUBLISH) == 1409

    first.send(transport_stream(1))
    await eventually(lambda: len(house.units) > 10)


async def test_a_takeover_shuts_the_first_publisher_out(house: SrtHouse) -> None:
    first = await house.connected()
    await house.connected()

    await first.ended()

    assert house.server.connections == 1
    assert house.stream.phase is Phase.LIVE


@pytest.mark.parametrize(
    ("wanted", "given", "code"),
    [
        (PASSPHRASE, "another passphrase", Rejection.BADSECRET),
        (PASSPHRASE, None, Rejection.UNSECURE),
        (None, PASSPHRASE, Rejection.UNSECURE),
    ],
)
async def test_the_wrong_passphrase_takes_nothing_over(
    house: SrtHouse, wanted: str | None, given: str | None, code: Rejection
) -> None:
    house.keys.passphrase = wanted
    first = await house.connected(passphrase=wanted)

    assert await house.refused(PUBLISH, passphrase=given) == code

    first.send(transport_stream(1))
    await eventually(lambda: len(house.units) > 10)


async def test_keys_that_fail_cost_one_caller_an_answer(house: SrtHouse) -> None:
    house.keys.broken = True
    with capture_logs() as logs:
        assert await house.refused(PUBLISH) == Rejection.INTERNAL
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["task.failed"]

    house.keys.broken = False
    await house.connected()


async def test_the_key_is_never_logged(house: SrtHouse) -> None:
    house.keys.passphrase = PASSPHRASE
    with capture_logs() as logs:
        await house.connected(passphrase=PASSPHRASE)
        await house.refused(f"publish:nowhere:{KEY}")
        await house.refused(f"live/{KEY}")
        await house.refused(PUBLISH, passphrase="another passphrase")

    assert [line["event"] for line in logs].count("srt.refused") == 3
    assert KEY not in str(logs)
    assert PASSPHRASE not in str(logs)


async def test_a_slow_decision_is_asked_for_once(house: SrtHouse) -> None:
    house.keys.gate.clear()
    caller = await house.call()
    await eventually(lambda: house.keys.asked == 1)
    assert caller.events == []

    house.keys.gate.set()

    assert await caller.answer() == Connected()
    assert house.keys.asked == 1


async def test_a_caller_who_gave_up_does_not_publish() -> None:
    async with srt_house(ListenerConfig(half_open_s=0.2)) as house:
        house.keys.gate.clear()
        assert await house.refused(PUBLISH) == Rejection.TIMEOUT
        house.keys.gate.set()

        await house.connected()

        assert house.server.connections == 1


async def test_what_is_no_transport_stream_ends_with_one_line(house: SrtHouse) -> None:
    caller = await house.connected()
    with capture_logs() as logs:
        caller.send(bytes(1_500_000))
        await caller.ended()
        await eventually(lambda: house.server.connections == 0)

    assert [line["event"] for line in logs if line["event"].startswith("srt.")] == ["srt.closed"]


async def test_a_silent_caller_frees_the_room() -> None:
    async with srt_house(ListenerConfig(latency_s=0.02, idle_timeout_s=0.3)) as house:
        caller = await house.connected()

        caller.vanish()

        await eventually(lambda: house.stream.phase is Phase.GRACE)
        assert house.server.connections == 0


# Ports with a room of their own


async def test_a_port_of_a_room_needs_no_stream_id(house: SrtHouse) -> None:
    port = await house.server.start("127.0.0.1", 0, default_grant=PublishGrant(ROOM))
    caller = await house.connected("", port=port)
    caller.send(transport_stream(1))

    await eventually(lambda: len(house.units) > 10)

    assert await house.refused(f"publish:{ROOM}:wrong", port=port) == 1401


async def test_a_port_of_a_room_still_asks_for_its_passphrase(house: SrtHouse) -> None:
    house.keys.passphrase = PASSPHRASE
    port = await house.server.start("127.0.0.1", 0, default_grant=PublishGrant(ROOM))

    assert await house.refused("", port=port) == Rejection.UNSECURE
    await house.connected("", port=port, passphrase=PASSPHRASE)


async def test_a_port_that_is_taken_is_an_error(house: SrtHouse) -> None:
    with pytest.raises(OSError, match="in use"):
        await house.server.start("127.0.0.1", house.port)


async def test_ipv6() -> None:
    async with srt_house() as house:
        port = await house.server.start("::", 0)
        caller = await house.connected(port=port)
        caller.send(transport_stream(1))

        await eventually(lambda: len(house.units) > 10)


# Reading back


@pytest.mark.parametrize("stream_id", [READ, f"read:{ROOM}", f"live/{ROOM}", f"#!::r=live/{ROOM}"])
async def test_a_reader_gets_the_stream_as_it_came(house: SrtHouse, stream_id: str) -> None:
    publisher = await house.connected()
    publisher.send(transport_stream(1))
    await eventually(lambda: len(house.units) > 60)
    reader = await house.connected(stream_id)
    await eventually(lambda: bool(reader.read))
    house.hub.end(ROOM, "over")
    await reader.ended()

    demuxer = TsDemuxer()
    items = [*demuxer.feed(reader.read), *demuxer.flush()]
    found = [item for item in items if isinstance(item, AccessUnit)]
    assert demuxer.continuity_errors == 0
    assert payloads(found, VIDEO) == payloads(list(units(1)), VIDEO)[: len(payloads(found, VIDEO))]
    assert len(payloads(found, VIDEO)) >= 20


async def test_a_reader_who_leaves_is_forgotten(house: SrtHouse) -> None:
    await house.connected()
    reader = await house.connected(READ)
    assert house.stream.listeners == 2

    reader.hang_up()

    await eventually(lambda: house.stream.listeners == 1)
    assert house.server.connections == 1


async def test_a_reader_needs_the_passphrase_too(house: SrtHouse) -> None:
    house.keys.passphrase = PASSPHRASE
    publisher = await house.connected(passphrase=PASSPHRASE)
    publisher.send(transport_stream(1))
    await eventually(lambda: len(house.units) > 60)

    assert await house.refused(READ) == Rejection.UNSECURE
    reader = await house.connected(READ, passphrase=PASSPHRASE)

    assert (await reader.received(1000))[:1] == b"\x47"


async def test_closing_tells_everybody(house: SrtHouse) -> None:
    publisher = await house.connected()
    reader = await house.connected(READ)

    await house.server.close()

    await publisher.ended()
    await reader.ended()
    assert house.stream.phase is Phase.GRACE
