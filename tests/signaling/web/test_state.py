"""Runs the tests of the player's state machine, which are JavaScript, in node."""

import asyncio
from pathlib import Path

import pytest


@pytest.mark.external
async def test_the_players_state_machine_in_node() -> None:
    process = await asyncio.create_subprocess_exec(
        "node",
        "--test",
        str(Path(__file__).parent / "state.test.js"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode()
    assert b"# fail 0" in output
    assert b"# pass 0" not in output
