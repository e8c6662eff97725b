"""The shell over real sockets: who gets in, who is thrown out, and what the hub hears of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from media.hub import Takeover
from media.rtmp.chunks import ChunkWriter
from media.rtmp.connection import RtmpLimits
from media.rtmp.server import RtmpConfig
from media.stream import Phase, Publisher
from tests.support.rtmp import IDR, Client, avc, command, entropy, opening, seconds_of_media
from tests.support.rtmp_server import (
    Ingest,
    certificate,
    ended,
    eventually,
    ingest,
    trusting,
)


@pytest.fixture
async def running() -> AsyncIterator[Ingest]:
    async with ingest() as each:
        yield each


def heard(running: Ingest, count: int) -> bool:
    return len(running.recorders[0].units) == count


def dropped(logs: list[EventDict]) -> list[object]:
    return [line["code"] for line in logs if line["event"] == "rtmp.peer_dropped"]


async def test_a_push_becomes_the_rooms_stream(running: Ingest) -> None:
    caller = await running.published()
    await caller.send([*opening(), *seconds_of_media(2)])
    await eventually(lambda: len(running.recorders[0].units) == 136)

    stream = running.stream
    assert [track.codec.value for track in stream.tracks] == ["h264", "aac"]
    assert stream.phase is Phase.LIVE
    assert stream.publisher is not None
    assert stream.publisher.protocol == "rtmp"
    assert stream.publisher.remote.startswith("127.0.0.1:")
    assert stream.publisher.encoder == "obs-output module"
    assert len(stream.gop(stream.tracks[0].id)) == 25
    caller.close()
    await eventually(lambda: stream.phase is Phase.GRACE)
    assert running.server.connections == 0


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("demo?key=wrong-k3y", "unauthorized"),
        ("demo", "unauthorized"),
        ("s3cret", "unauthorized"),
        ("nowhere?key=s3cret", "not_found"),
        ("", "not_found"),
    ],
)
async def test_a_wrong_key_or_room_is_refused_within_a_second(
    running: Ingest, name: str, code: str
) -> None:
    with capture_logs() as logs:
        caller = await running.call(Client(name))
        began = time.monotonic()
        await caller.until_closed()
        assert time.monotonic() - began < 1.0
        caller.close()
        await eventually(lambda: running.server.connections == 0)

    (status,) = caller.client.statuses
    assert (status["level"], status["code"]) == ("error", "NetStream.Publish.BadName")
    assert [(line["event"], line["code"]) for line in logs] == [("rtmp.publish_refused", code)]
    assert "s3cret" not in str(logs)
    assert "wrong-k3y" not in str(logs)
    assert running.hub.streams == ()


async def test_the_connection_is_closed_even_if_the_peer_stays(running: Ingest) -> None:
    caller = await running.call(Client("demo?key=no"))
    await caller.until_closed()

    # The peer does not close its own side, and goes on sending.
    await eventually(lambda: running.server.connections == 0, timeout_s=2)
    caller.close()


async def test_takeover_closes_the_first_and_goes_on_with_the_second(running: Ingest) -> None:
    first = await running.published()
    await first.send([*opening(), *seconds_of_media(1)])
    await eventually(lambda: len(running.recorders[0].units) == 68)

    second = await running.published()
    await second.send([*opening(), avc(IDR, 0)])
    await first.until_closed(timeout_s=2)
    await eventually(lambda: len(running.recorders[0].units) == 69)

    assert first.client.statuses[-1]["code"] == "NetStream.Publish.Denied"
    assert first.client.statuses[-1]["description"] == "taken over by another publisher"
    assert len(running.recorders) == 1
    assert "gap" in running.recorders[0].names()
    assert running.stream.phase is Phase.LIVE
    first.close()
    await second.send([avc(IDR, 40)])
    await eventually(lambda: len(running.recorders[0].units) == 70)
    assert running.stream.phase is Phase.LIVE
    second.close()


async def test_a_key_that_rejects_keeps_the_first(running: Ingest) -> None:
    running.keys.policy = Takeover.REJECT
    first = await running.published()
    await first.send([*opening(), avc(IDR, 0)])

    second = await running.call()
    await second.until_closed()

    assert second.client.codes == ["NetStream.Publish.BadName"]
    await first.send([avc(IDR, 40)])
    await eventually(lambda: len(running.recorders[0].units) == 2)
    first.close()
    second.close()


@pytest.mark.parametrize("politely", [True, False])
async def test_a_publisher_that_comes_back_continues(running: Ingest, politely: bool) -> None:
    for attempt in range(5):
        caller = await running.published()
        await caller.send([*opening(), avc(IDR, 0)])
        await eventually(partial(heard, running, attempt + 1))
        if politely:
            caller.client.send(3, command("FCUnpublish", 6, None, "demo"))
            caller.client.send(3, command("deleteStream", 7, None, 1))
            await caller.flush()
            caller.close()
        else:
            caller.cut()

    await eventually(lambda: running.server.connections == 0)
    assert len(running.recorders) == 1
    assert running.stream.phase is Phase.GRACE


async def test_media_sent_before_the_answer_are_not_lost(running: Ingest) -> None:
    running.keys.gate.clear()
    caller = await running.call()
    talking = asyncio.create_task(caller.publish())
    await asyncio.wait_for(running.keys.asked.wait(), 5)
    await caller.send([*opening(), *seconds_of_media(1)])

    running.keys.gate.set()
    await talking

    await eventually(lambda: len(running.recorders[0].units) == 68)
    caller.close()


async def test_leaving_before_the_answer_publishes_nothing(running: Ingest) -> None:
    running.keys.gate.clear()
    caller = await running.call()
    talking = asyncio.create_task(caller.publish())
    await asyncio.wait_for(running.keys.asked.wait(), 5)
    talking.cancel()
    caller.cut()

    await asyncio.gather(talking, return_exceptions=True)
    running.keys.gate.set()

    fresh = await running.published()
    await fresh.send([*opening(), avc(IDR, 0)])
    await eventually(lambda: len(running.recorders[0].units) == 1)
    assert running.stream.publisher == Publisher(
        "rtmp",
        running.stream.publisher.remote if running.stream.publisher else "",
        "obs-output module",
    )
    fresh.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"\x03" + bytes(1536) + bytes(1536) + b"\xc4\xc4\xc4",
        b"\x03" + bytes(1536) + bytes(1536) + b"\x03" + b"\xff" * 300,
    ],
)
async def test_bad_bytes_cost_one_line_and_nobody_else(running: Ingest, data: bytes) -> None:
    caller = await running.published()
    with capture_logs() as logs:
        reader, writer = await running.open()
        writer.write(data)
        await ended(reader)
        writer.close()

    assert [(line["event"], line["log_level"]) for line in logs] == [("rtmp.peer_dropped", "info")]
    assert running.server.connections == 1
    await caller.send([*opening(), avc(IDR, 0)])
    await eventually(lambda: len(running.recorders[0].units) == 1)
    caller.close()


async def test_half_open_connections_run_out() -> None:
    limits = RtmpLimits(setup_timeout_s=0.2)
    with capture_logs() as logs:
        async with ingest(RtmpConfig(limits=limits)) as running:
            reader, writer = await running.open()
            writer.write(b"\x03" + entropy(100))
            await ended(reader)
            writer.close()
            assert running.server.connections == 0

    assert dropped(logs) == ["setup_timeout"]


async def test_silent_publishers_run_out() -> None:
    limits = RtmpLimits(idle_timeout_s=0.2)
    with capture_logs() as logs:
        async with ingest(RtmpConfig(limits=limits)) as running:
            caller = await running.published()
            await eventually(lambda: running.server.connections == 0)
            assert running.stream.phase is Phase.GRACE
            caller.close()

    assert dropped(logs) == ["idle_timeout"]


async def test_half_open_connections_of_an_address_are_capped() -> None:
    with capture_logs() as logs:
        async with ingest(RtmpConfig(max_half_open_per_address=3)) as running:
            publisher = await running.published()
            half_open = [await running.open() for _ in range(3)]
            await eventually(lambda: running.server.connections == 4)
            for _ in range(5):
                reader, writer = await running.open()
                await ended(reader)
                writer.close()
            half_open[0][1].close()
            await eventually(lambda: running.server.connections == 3)
            another = await running.published()
            assert another.client.publishing
            for caller in (publisher, another):
                caller.close()
            for _, writer in half_open:
                writer.close()

    refusals = [line for line in logs if line["event"] == "rtmp.connection_refused"]
    assert len(refusals) == 1


async def test_a_peer_that_reads_nothing_is_not_read_from(running: Ingest) -> None:
    """A flood of questions neither fills our memory nor stops the others."""
    flood = await running.published()
    question = ChunkWriter().write(7, command("publish", 9, None, "x", "live", stream=2))

    sent = await flood.flood(question * 500, limit=100 << 20)
    assert sent < 100 << 20

    other = await running.published()
    await other.send([*opening(), avc(IDR, 0)])
    await eventually(lambda: len(running.recorders[0].units) == 1)
    flood.cut()
    other.close()


async def test_draining_asks_and_serves_on(running: Ingest) -> None:
    modern = await running.published(Client(options={"capsEx": 1}))

    assert running.server.drain("rtmp://other/live") == 1
    await modern.talk(lambda: len(modern.client.statuses) == 2)
    assert modern.client.codes[-1] == "NetConnection.Connect.ReconnectRequest"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", running.port)

    await modern.send([*opening(), avc(IDR, 0)])
    await eventually(lambda: len(running.recorders[0].units) == 1)
    modern.close()


async def test_closing_says_goodbye() -> None:
    async with ingest() as running:
        caller = await running.published()
        closing = asyncio.create_task(running.server.close())
        await caller.until_closed()
        caller.close()
        await closing

        assert caller.client.statuses[-1]["description"] == "The server is shutting down."
        assert running.server.connections == 0


async def test_rtmps(tmp_path: Path) -> None:
    async with ingest() as running:
        port = await running.server.start("127.0.0.1", 0, tls=certificate(tmp_path))
        caller = await running.call(port=port, tls=trusting(tmp_path))
        await caller.publish()
        await caller.send([*opening(), *seconds_of_media(1)])
        await eventually(lambda: len(running.recorders[0].units) == 68)
        plain = await running.published()
        await caller.until_closed()
        assert caller.client.codes[-1] == "NetStream.Publish.Denied"
        caller.close()
        plain.close()
        await eventually(lambda: running.server.connections == 0)


async def test_half_open_tls_is_capped_and_runs_out(tmp_path: Path) -> None:
    config = RtmpConfig(limits=RtmpLimits(setup_timeout_s=0.3), max_half_open_per_address=2)
    with capture_logs() as logs:
        async with ingest(config, tls=certificate(tmp_path)) as running:
            silent = [await running.open() for _ in range(2)]
            await eventually(lambda: running.server.connections == 2)
            reader, third = await running.open()
            await ended(reader)
            await eventually(lambda: running.server.connections == 0)
            for _, writer in [*silent, (reader, third)]:
                writer.close()

    assert {line["event"] for line in logs} == {"rtmp.connection_refused", "rtmp.peer_dropped"}
    assert len(dropped(logs)) == 2


async def test_what_is_no_tls_is_dropped_with_one_line(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with ingest(tls=certificate(tmp_path)) as running:
            reader, writer = await running.open()
            writer.write(b"\x03" + bytes(1536))
            await ended(reader)
            writer.close()
            await eventually(lambda: running.server.connections == 0)

    assert dropped(logs) == ["tls"]
