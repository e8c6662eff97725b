import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from configs import log as logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers[:], level = before
    root.setLevel(level)
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
