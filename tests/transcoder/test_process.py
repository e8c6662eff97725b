import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvloop

from media.stream import AUDIO, VIDEO
from media.units import AccessUnit, Codec, Track, TrackId
from transcoder.process import Outlet, running_worker
from transcoder.wire import Decoder, Finish, Heartbeat, Message, StopJob


@dataclass
class Wire:
    """A transport whose other end reads when it is told to."""

    waiting: bytearray = field(default_factory=bytearray)
    closing: bool = False

    def write(self, data: bytes) -> None:
        self.waiting += data

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def is_closing(self) -> bool:
        return self.closing

    def read(self) -> list[Message]:
        decoder = Decoder()
        decoder.receive(bytes(self.waiting))
        self.waiting.clear()
        found = []
        while (message := decoder.next_event()) is not None:
            found.append(message)
        return found


def unit(track: TrackId, number: int, *, keyframe: bool = True, size: int = 100) -> AccessUnit:
    return AccessUnit(track, number, number, keyframe, bytes(size))


def test_a_worker_that_does_not_read_loses_whole_groups_and_not_memory() -> None:
    wire = Wire()
    outlet = Outlet(wire, max_unsent=1_000)
    outlet.send(Track(VIDEO, Codec.H264, b""))
    wire.read()

    for number in range(40):
        outlet.send_unit(unit(VIDEO, number, keyframe=number % 10 == 0))
    assert wire.get_write_buffer_size() < 1_200
    before = [message.pts for message in wire.read() if isinstance(message, AccessUnit)]
    for number in range(40, 50):
        outlet.send_unit(unit(VIDEO, number, keyframe=number == 45, size=10))
    after = [message.pts for message in wire.read() if isinstance(message, AccessUnit)]

    assert before == list(range(len(before)))
    assert after == [45, 46, 47, 48, 49]
    assert outlet.dropped == 40 - len(before) + 5


def test_sound_goes_on_as_soon_as_there_is_room() -> None:
    wire = Wire()
    outlet = Outlet(wire, max_unsent=1_000)
    for number in range(30):
        outlet.send_unit(unit(AUDIO, number))
    wire.read()

    outlet.send_unit(unit(AUDIO, 30))

    assert [u.pts for u in wire.read() if isinstance(u, AccessUnit)] == [30]


def test_orders_get_through_to_a_worker_that_is_choked() -> None:
    wire = Wire()
    outlet = Outlet(wire, max_unsent=100)
    for number in range(5):
        outlet.send_unit(unit(AUDIO, number))

    outlet.send(StopJob(AUDIO))

    assert wire.read()[-1] == StopJob(AUDIO)


def test_nothing_is_written_to_a_connection_that_closes() -> None:
    wire = Wire(closing=True)
    outlet = Outlet(wire)

    outlet.send(Finish())
    outlet.send_unit(unit(AUDIO, 0))

    assert wire.read() == []
    assert outlet.dropped == 1


async def test_a_worker_speaks_and_leaves_when_it_is_told() -> None:
    outlets: list[Outlet] = []
    heard: list[Message] = []

    def listen(message: Message) -> None:
        heard.append(message)
        outlets[0].send(Finish())

    async with running_worker("room", outlets.append) as worker:
        reason = await worker.serve(listen)

    assert reason == "closed the connection"
    beat = heard[0]
    assert isinstance(beat, Heartbeat)
    assert beat.jobs == ()
    assert beat.cpu_seconds > 0
    assert beat.resident_bytes > 1 << 20


async def test_an_error_inside_leaves_no_worker_behind() -> None:
    pids: list[int] = []

    async def fail() -> None:
        async with running_worker("room", lambda outlet: None) as worker:
            pids.append(worker.pid)
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail()

    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_worker_has_nothing_open_but_its_own() -> None:
    """On uvloop, as in the product, which lets children inherit what asyncio would close."""

    async def files_of_a_worker() -> list[str]:
        outlets: list[Outlet] = []
        files: list[str] = []

        async with running_worker("room", outlets.append) as worker:

            def look(_: Message) -> None:
                folder = Path(f"/proc/{worker.pid}/fd")
                files[:] = [str(file.readlink()) for file in folder.iterdir()]
                outlets[0].send(Finish())

            await worker.serve(look)
        return files

    inherited, end = os.pipe()
    try:
        os.set_inheritable(inherited, True)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            files = runner.run(files_of_a_worker())
    finally:
        os.close(inherited)
        os.close(end)

    assert sorted(file.partition(":")[0] for file in files) == [
        "/dev/null",
        "/dev/null",
        "socket",
        "socket",
    ]
