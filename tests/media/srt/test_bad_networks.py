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

from tests.support.ffmpeg import push_command, pushing
from tests.support.srt_server import PUBLISH

pytestmark = pytest.mark.external

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


@pytest.mark.parametrize("delay", [0.05, 0.1], ids=["100ms", "200ms"])
async def test_a_relay_that_loses_costs_nothing_at_800_ms(delay: float) -> None:
    async with server(host="127.0.0.1", loss=0.05, delay=delay) as process:
        port = await ready(process)
        async with pushing(encoder("127.0.0.1", port, seconds=6)):
            found = await figures(process)

    connection = found["connection"]
    assert isinstance(connection, dict)
    assert found["continuity_errors"] == 0
    assert connection["dropped"] == 0
    assert connection["lost"] > 20
    assert connection["rtt"] == pytest.approx(2 * delay, abs=0.05)
    assert found["pictures"] == 180


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
