"""A real encoder over a network that loses every twentieth packet each way, at 100 ms and more."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from subprocess import run as run_now

import pytest

from media.srt.listener import ListenerConfig
from tests.support.bad_wire import BadWire, UdpRelay, Weather
from tests.support.ffmpeg import push_command, pushing, run
from tests.support.rtmp_server import eventually
from tests.support.srt_server import PUBLISH, READ, srt_house

pytestmark = pytest.mark.external

PASSPHRASE = "correct-horse-battery"
LATENCY_US = 800_000
SERVER = "10.89.0.2"


def encoder(host: str, port: int, *, seconds: float) -> list[str]:
    """ffmpeg gives the latency in microseconds."""
    target = f"srt://{host}:{port}?streamid={PUBLISH}&latency={LATENCY_US}&linger=3"
    return push_command(target, seconds=seconds)


@asynccontextmanager
async def server(*prefix: str, host: str, loss: float, delay: float) -> AsyncIterator[Process]:
    program = (sys.executable, "-m", "tests.support.srt_bad_network", host, str(loss), str(delay))
    process = await asyncio.create_subprocess_exec(*prefix, *program, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: Process) -> int:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), 20)
    assert line.startswith(b"ready "), line
    return int(line.split()[1])


async def figures(process: Process) -> dict[str, object]:
    """The line of JSON among the logs."""
    assert process.stdout is not None
    while line := await asyncio.wait_for(process.stdout.readline(), 60):
        if line.startswith(b"{"):
            found = json.loads(line)
            assert isinstance(found, dict)
            return found
    raise AssertionError("the server ended without figures")


async def test_a_relay_that_loses_costs_nothing_at_800_ms() -> None:
    async with server(host="127.0.0.1", loss=0.05, delay=0.1) as process:
        port = await ready(process)
        async with pushing(encoder("127.0.0.1", port, seconds=6)):
            found = await figures(process)

    connection = found["connection"]
    assert isinstance(connection, dict)
    assert found["continuity_errors"] == 0
    assert connection["dropped"] == 0
    assert connection["lost"] > 20
    assert connection["rtt"] == pytest.approx(0.2, abs=0.05)
    assert found["pictures"] == 180


async def test_a_reader_behind_a_relay_that_loses_sees_no_fault() -> None:
    """The server's key is renewed some ten times meanwhile."""
    settings = ListenerConfig(latency_s=0.02, key_refresh_packets=150)
    weather = Weather(loss=0.05, delay=0.05)
    async with srt_house(settings) as house:
        house.keys.passphrase = PASSPHRASE
        relay = UdpRelay(
            ("127.0.0.1", house.port), BadWire(weather, seed=1), BadWire(weather, seed=2)
        )
        port = await relay.start()
        query = f"&passphrase={PASSPHRASE}&latency={LATENCY_US}"
        direct = f"srt://127.0.0.1:{house.port}?streamid={PUBLISH}{query}"
        async with pushing(push_command(direct)):
            await eventually(lambda: len(house.units) > 60, timeout_s=20)
            relayed = f"srt://127.0.0.1:{port}?streamid={READ}{query}"
            command = ("ffmpeg", "-v", "warning", "-nostdin", "-analyzeduration", "3000000")
            output = ("-frames:v", "180", "-f", "null", "-")
            status, _, err = await run([*command, "-i", relayed, *output])
        await relay.close()

    assert (status, err) == (0, "")
    assert relay.down.lost > 20


@contextmanager
def two_namespaces() -> Iterator[tuple[str, str]]:
    """The caller's and the server's, joined by a veth pair; each loses 5 % of what comes in."""
    name = f"srt{os.getpid()}"
    here, there = f"{name}c", f"{name}s"
    rules = (
        'table ip bad {{ chain input {{ type filter hook input priority 0; iifname "{0}" '
        "meta l4proto udp numgen random mod 100 < 5 drop; }}; }}"
    )
    commands = [
        f"ip netns add {here}",
        f"ip netns add {there}",
        f"ip link add {name}a netns {here} type veth peer name {name}b netns {there}",
        f"ip -n {here} addr add 10.89.0.1/24 dev {name}a",
        f"ip -n {there} addr add {SERVER}/24 dev {name}b",
        f"ip -n {here} link set {name}a up",
        f"ip -n {there} link set {name}b up",
        f"ip -n {there} link set lo up",
        f"ip netns exec {here} ethtool -K {name}a tx-udp-segmentation off",
        f"ip netns exec {there} ethtool -K {name}b tx-udp-segmentation off",
    ]
    try:
        for command in commands:
            run_now(command.split(), check=True, capture_output=True)
        for space, device in ((here, f"{name}a"), (there, f"{name}b")):
            nft = ["ip", "netns", "exec", space, "nft", "-f", "-"]
            run_now(nft, check=True, capture_output=True, input=rules.format(device).encode())
        yield here, there
    finally:
        for space in (here, there):
            run_now(["ip", "netns", "del", space], check=False, capture_output=True)


@pytest.mark.netns
async def test_namespaces_that_lose_cost_nothing_at_800_ms() -> None:
    with two_namespaces() as (here, there):
        inside = ("ip", "netns", "exec", there)
        async with server(*inside, host=SERVER, loss=0, delay=0.05) as process:
            port = await ready(process)
            command = ["ip", "netns", "exec", here, *encoder(SERVER, port, seconds=22)]
            async with pushing(command):
                found = await figures(process)

    connection = found["connection"]
    assert isinstance(connection, dict)
    assert found["continuity_errors"] == 0
    assert connection["dropped"] == 0
    assert connection["lost"] > 100
    assert found["pictures"] == 660
