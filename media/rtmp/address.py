"""Where a publisher wants to go: `live`, and the stream name `ROOM?key=STREAM_KEY`.

Encoders split an address at places of their own, so the key is taken from the query of the stream
name, of the application or of tcUrl, whichever has one, and the room from the stream name or, where
that is empty, from behind the application's name. All of it may hold the key: none of it is logged.
"""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

MAX_ROOM_LENGTH: Final = 128
MAX_KEY_LENGTH: Final = 512


@dataclass(frozen=True, slots=True)
class Target:
    """The room and the key as the publisher gave them; both may be empty."""

    room: str
    key: str = field(repr=False)


def app_name(app: str) -> str:
    """The application without query and instance: ``live`` of ``/live/demo?key=…``."""
    return _path(app).partition("/")[0]


def publish_target(*, app: str, tc_url: str, name: str) -> Target:
    room = _path(name) or _path(app).partition("/")[2]
    key = _query(name) or _query(app) or _query(tc_url)
    if len(room) > MAX_ROOM_LENGTH or len(key) > MAX_KEY_LENGTH:
        return Target("", "")
    return Target(room, key)


def _path(text: str) -> str:
    return unquote(text.strip().partition("?")[0].strip("/"))


def _query(text: str) -> str:
    # Not parse_qs: it takes "+" for a space, and nobody encodes what is pasted into a key field.
    for pair in text.strip().partition("?")[2].split("&"):
        name, _, value = pair.partition("=")
        if name == "key":
            return unquote(value.rstrip("/"))
    return ""
