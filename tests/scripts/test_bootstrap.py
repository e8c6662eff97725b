"""The server as a process: how it starts, what it says when it cannot, how it stops."""

import asyncio
import json
import os
import socket
import stat
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from aiohttp import ClientSession

from tests.support.vitrine import ROOT, free_ports, serve


async def start(*arguments: str, environ: dict[str, str]) -> tuple[int, str]:
    """Runs the server to its end: exit status and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.bootstrap", *arguments),
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=PIPE,
        stderr=PIPE,
    )
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, err.decode()


async def test_it_says_what_a_newcomer_needs_and_stops_when_asked(tmp_path: Path) -> None:
    async with serve(tmp_path) as server:
        run = server.first_run
        mode = stat.S_IMODE((tmp_path / "first-run.json").stat().st_mode)
        async with ClientSession() as session:
            health = await session.get(f"{server.http}/healthz")
            ready = await session.get(f"{server.http}/readyz")
            metrics = await (await session.get(f"{server.http}/metrics")).text()
            rooms = await (await session.get(f"{server.http}/api/v1/rooms")).json()
        said = list(server.log)
        status = await server.stop()

    assert status == 0
    assert set(run) == {
        *("admin", "room", "stream_key", "http", "rtmp", "srt", "whip", "whep", "hls"),
    }
    assert mode == 0o600
    assert (health.status, ready.status) == (200, 200)
    assert 'vitrine_streams{phase="live"} 0.0' in metrics
    assert [room["slug"] for room in rooms["rooms"]] == ["demo"]
    assert said[-1] == "vitrine ready" or "vitrine ready" in said
    assert not [line for line in server.log if run["stream_key"] in line]
    assert not [line for line in server.log if run["admin"]["password"] in line]
    assert not [line for line in server.log if "Traceback" in line]


async def test_a_second_start_keeps_the_key(tmp_path: Path) -> None:
    async with serve(tmp_path) as server:
        first = server.first_run
    async with serve(tmp_path) as server:
        second = server.first_run

    assert second["stream_key"] == first["stream_key"]
    assert second["admin"] == first["admin"]


async def test_an_unknown_key_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[media]\nrtmp_prot = 1\n")

    in_file = await start("--config", str(file), environ={})
    by_environment = await start(environ={"VITRINE_MEDIA__RTMP_PROT": "1"})

    assert in_file[0] == by_environment[0] == 2
    assert in_file[1].strip().splitlines() == [f"vitrine: {file}: unknown key media.rtmp_prot"]
    assert "VITRINE_MEDIA__RTMP_PROT" in by_environment[1]


async def test_a_length_of_hls_that_cannot_work_is_an_error_that_names_it(tmp_path: Path) -> None:
    environ = {"VITRINE_SERVER__DATA_DIR": str(tmp_path), "VITRINE_HLS__SEGMENT_S": "30"}
    status, err = await start(environ=environ)

    assert status == 2
    assert err.strip().splitlines()[-1].startswith("vitrine: hls.segment_s")


async def test_a_port_that_is_taken_is_an_error_that_names_it(tmp_path: Path) -> None:
    http, srt, webrtc = free_ports(3)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, err = await start(
            environ={
                "VITRINE_SERVER__DATA_DIR": str(tmp_path),
                "VITRINE_SERVER__HTTP_PORT": str(http),
                "VITRINE_MEDIA__RTMP_PORT": str(port),
                "VITRINE_MEDIA__SRT_PORT": str(srt),
                "VITRINE_MEDIA__WEBRTC_PORT": str(webrtc),
            }
        )

    assert status == 2
    assert f"RTMP port {port} cannot be opened" in err
    assert "Traceback" not in err


async def test_logs_as_json_are_one_object_a_line(tmp_path: Path) -> None:
    async with serve(tmp_path) as server:
        await server.stop()

    lines = [line for line in server.log if line.startswith("{")]
    assert "server.draining" in {json.loads(line)["event"] for line in lines}
