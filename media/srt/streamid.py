"""What a caller's stream id asks for: which room, to publish or to read, and with which key.

Encoders write it in many ways, so this reads leniently: the keyed form of the SRT access control
guidelines (``#!::m=publish,r=ROOM,s=KEY``), verbs in front (``publish:ROOM:KEY``, ``read:ROOM``)
and bare paths (``live/ROOM?key=KEY``). Of a path only its last part names the room. No shape needs
an ampersand, at which OBS cuts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from media.srt.errors import SrtRefused
from media.srt.handshake import MAX_STREAM_ID, Rejection

_KEYED: Final = "#!:"
_FEEDBACK: Final = "#feedbackplay"
_KEY_NAMES: Final = ("s", "key", "streamkey", "stream_key", "token", "secret", "pass", "password")
_ROOM_NAMES: Final = ("r", "room", "stream")
_VERBS: Final = {"publish": "publish", "read": "request", "request": "request", "play": "request"}


class Mode(StrEnum):
    PUBLISH = "publish"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """`key` is a secret and does not show in the repr; empty when none was given."""

    mode: Mode
    room: str
    key: str

    def __repr__(self) -> str:
        return f"StreamRequest({self.mode.value}, room={self.room!r})"


def parse_stream_id(text: str) -> StreamRequest:
    """Raises SrtRefused: 1400 for what names no room or is too long, 1405 for another mode."""
    if len(text) > MAX_STREAM_ID:
        raise SrtRefused("stream id is too long", Rejection.BAD_REQUEST)
    text = text.strip().removesuffix(_FEEDBACK)
    if text.lower().startswith("%23"):
        text = unquote(text)
    if text.startswith(_KEYED):
        return _parse_keyed(text[len(_KEYED) :])
    verb, colon, rest = text.partition(":")
    if colon and verb.strip().lower() in _VERBS:
        return _parse_verb(_VERBS[verb.strip().lower()], rest)
    room, key = _split_path(text)
    # A bare path says nothing of direction; only who publishes has use for a key.
    return _request("publish" if key else "request", room, key)


def _parse_keyed(content: str) -> StreamRequest:
    """``:k=v,k=v`` or ``{k=v,k=v}``; any order, unknown keys ignored, values percent-encoded."""
    pairs: dict[str, str] = {}
    for pair in content.lstrip(":").strip("{} ").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            pairs.setdefault(name.strip().lower(), value.strip().strip("{}"))
    resource = next((pairs[name] for name in _ROOM_NAMES if pairs.get(name)), "")
    room, key = _split_path(resource)
    key = next((unquote(pairs[name]) for name in _KEY_NAMES if pairs.get(name)), key)
    return _request(unquote(pairs.get("m") or "request").lower(), room, key)


def _parse_verb(mode: str, rest: str) -> StreamRequest:
    """``path``, ``path:key``, ``path:user:pass`` or ``path:user:pass:query``."""
    path, *credentials = rest.split(":")
    room, key = _split_path(path)
    if credentials:
        secret = next((part for part in (credentials[1:2] + credentials[:1]) if part), "")
        key = unquote(secret) or key
    if len(credentials) > 2:
        key = key or _key_in_query(credentials[2])
    return _request(mode, room, key)


def _split_path(path: str) -> tuple[str, str]:
    """Room and key of ``[vhost/][app/]room[?key=KEY]``."""
    path, _, query = path.partition("?")
    room = unquote(path).rstrip("/").rpartition("/")[2]
    if "?" in room:
        room, _, query = room.partition("?")
    return room.strip(), _key_in_query(query)


def _key_in_query(query: str) -> str:
    pairs = dict(
        part.partition("=")[::2] for part in query.lstrip("?").replace(";", "&").split("&") if part
    )
    return next((unquote(pairs[name]) for name in _KEY_NAMES if pairs.get(name)), "")


def _request(mode: str, room: str, key: str) -> StreamRequest:
    if mode not in ("publish", "request"):
        raise SrtRefused("mode is neither publish nor request", Rejection.BAD_MODE)
    if not room:
        raise SrtRefused("stream id names no room", Rejection.BAD_REQUEST)
    return StreamRequest(Mode(mode), room, key)
