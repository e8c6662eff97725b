import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from configs import log as logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    loggers = [root, *(logging.getLogger(package) for package in logs.PACKAGES)]
    before = list(root.handlers), [logger.level for logger in loggers]
    yield
    root.handlers[:], levels = before
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    structlog.reset_defaults()


def test_json_lines_carry_bound_room_and_peer_and_hide_secrets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json", "info")

    with structlog.contextvars.bound_contextvars(room="demo", peer="127.0.0.1:5"):
        structlog.get_logger("media.x").info("rtmp.refused", key="s3cret", code="unauthorized")

    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "rtmp.refused"
    assert (line["room"], line["peer"], line["level"]) == ("demo", "127.0.0.1:5", "info")
    assert line["key"] == "[hidden]"


def test_lines_below_the_level_and_of_other_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "warning")

    structlog.get_logger("a").info("quiet")
    logging.getLogger("some.library").warning("loud %s", "enough")

    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["loud enough"]


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_traceback_does_not_tell_variables(
    form: Literal["console", "json"], capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure(form, "info")
    told = "s3cret"

    try:
        int("x" + told[:0])
    except ValueError:
        structlog.get_logger("scripts.x").exception("task.failed")

    err = capsys.readouterr().err
    assert "ValueError" in err
    assert told not in err


def test_libraries_are_heard_from_warning_on_even_in_debug(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("json", "debug")

    logging.getLogger("aiosqlite").debug("INSERT ... s3cret")
    logging.getLogger("some.library").info("s3cret")
    structlog.get_logger("media.x").debug("quiet")

    lines = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["quiet"]
