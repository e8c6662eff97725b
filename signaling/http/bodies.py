"""Requests and answers of the API as types: they decode and check what comes in, and the OpenAPI
document is written from them. Times are RFC 3339 in UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from media.hub import Takeover
from signaling.entities import MAX_PASSPHRASE, MAX_TITLE, MIN_PASSPHRASE, SLUG_PATTERN, Role

Slug = Annotated[str, Meta(pattern=SLUG_PATTERN)]
Phase = Literal["offline", "live", "grace"]


@dataclass(frozen=True, slots=True)
class LoginRequest:
    username: Annotated[str, Meta(max_length=256)]
    password: Annotated[str, Meta(max_length=256)]


@dataclass(frozen=True, slots=True)
class UserBody:
    id: int
    username: str
    role: Role


@dataclass(frozen=True, slots=True)
class SessionBody:
    """A token for the header `Authorization: Bearer`."""

    access_token: str
    expires_at: datetime
    user: UserBody


@dataclass(frozen=True, slots=True)
class RoomsQuery:
    """`after` is the `next` of the page before; `live` leaves only rooms that are, or are not."""

    after: Annotated[str, Meta(pattern="^[a-z0-9-]*$", max_length=63)] = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    live: bool | None = None


@dataclass(frozen=True, slots=True)
class NewRoomRequest:
    """`takeover` says what happens when a second publisher comes with the same key; without it,
    and without a passphrase, the room goes by the server's settings."""

    slug: Slug
    title: Annotated[str, Meta(min_length=1, max_length=MAX_TITLE)]
    takeover: Takeover | None = None
    srt_passphrase: (
        Annotated[str, Meta(min_length=MIN_PASSPHRASE, max_length=MAX_PASSPHRASE)] | None
    ) = None


@dataclass(frozen=True, slots=True)
class RenditionBody:
    """One track that viewers can be given. `codec` is an RFC 6381 string; null is not known, or has
    no meaning for sound. `bitrate` is bits a second
    as measured over the last seconds, null in the first one."""

    id: str
    kind: Literal["video", "audio"]
    codec: str
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    bitrate: int | None = None


@dataclass(frozen=True, slots=True)
class PublisherBody:
    protocol: str
    encoder: str


@dataclass(frozen=True, slots=True)
class NoticeBody:
    """Something the publisher should know, in plain words, with the cure."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PlayBody:
    whep: str
    hls: str
    page: str


@dataclass(frozen=True, slots=True)
class ServersBody:
    """Where encoders of this room connect to; without keys."""

    rtmp: str
    srt: str
    whip: str


@dataclass(frozen=True, slots=True)
class IngestBody:
    """Where and how to publish. `rtmp` and `srt` are whole addresses with the key in them,
    `rtmp_server` and `rtmp_stream_key` the two fields of OBS. WHIP takes the key as bearer."""

    rtmp: str
    rtmp_server: str
    rtmp_stream_key: str
    srt: str
    whip: str


@dataclass(frozen=True, slots=True)
class RoomBody:
    """`live` is true while there is something to watch: also in the grace period, when the
    publisher is away for a moment (`phase` tells them apart). `notices` and `servers` are there
    for the room's host and admins only."""

    slug: str
    title: str
    created_at: datetime
    live: bool
    phase: Phase
    viewers: int
    renditions: tuple[RenditionBody, ...]
    publisher: PublisherBody | None
    play: PlayBody
    notices: tuple[NoticeBody, ...] | None = None
    servers: ServersBody | None = None


@dataclass(frozen=True, slots=True)
class RoomsBody:
    """One page; `next` is null on the last."""

    rooms: tuple[RoomBody, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class KeyedRoomBody:
    """A room with its stream key, which is shown this once."""

    slug: str
    title: str
    created_at: datetime
    stream_key: str
    ingest: IngestBody
    play: PlayBody


@dataclass(frozen=True, slots=True)
class ProblemBody:
    """RFC 9457, with a `code` that is stable."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
