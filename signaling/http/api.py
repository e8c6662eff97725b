"""What the API of this package does, endpoint by endpoint."""

from http import HTTPStatus
from typing import Any, Final

from signaling.accounts import Accounts
from signaling.addresses import Addresses
from signaling.entities import Role, Room
from signaling.http.bodies import (
    IngestBody,
    KeyedRoomBody,
    LoginRequest,
    NewRoomRequest,
    NoticeBody,
    PlayBody,
    PublisherBody,
    RenditionBody,
    RoomBody,
    RoomsBody,
    RoomsQuery,
    ServersBody,
    SessionBody,
    UserBody,
)
from signaling.http.endpoint import Call, Endpoint, Nothing
from signaling.live import LiveRendition, LiveRooms, LiveStatus
from signaling.rooms import KeyedRoom, Rooms, may_run
from signaling.store.rooms import RoomStore

HOSTS: Final = frozenset({Role.ADMIN, Role.HOST})


class Api:
    """The handlers, and `endpoints` that tells the rest of the world about them."""

    def __init__(
        self,
        *,
        accounts: Accounts,
        rooms: Rooms,
        store: RoomStore,
        live: LiveRooms,
        addresses: Addresses,
    ) -> None:
        self._accounts = accounts
        self._rooms = rooms
        self._store = store
        self._live = live
        self._addresses = addresses

    def endpoints(self) -> tuple[Endpoint[Any, Any], ...]:
        return (
            Endpoint(
                "POST",
                "/auth/login",
                "Sign in with a password",
                self.login,
                LoginRequest,
                SessionBody,
                codes={401: ("wrong_credentials",), 429: ("too_many_requests",)},
            ),
            Endpoint("GET", "/rooms", "List rooms by name", self.list_rooms, RoomsQuery, RoomsBody),
            Endpoint(
                "POST",
                "/rooms",
                "Open a room; the stream key is shown this once",
                self.open_room,
                NewRoomRequest,
                KeyedRoomBody,
                status=HTTPStatus.CREATED,
                roles=HOSTS,
                codes={409: ("room_exists",), 422: ("invalid_slug",)},
            ),
            Endpoint(
                "GET",
                "/rooms/{room}",
                "One room and what is on air in it",
                self.get_room,
                Nothing,
                RoomBody,
                codes={404: ("room_not_found",)},
            ),
            Endpoint(
                "POST",
                "/rooms/{room}/stream-key/rotate",
                "Give a room a new stream key; whoever publishes with the old one is cut off",
                self.rotate_stream_key,
                Nothing,
                KeyedRoomBody,
                roles=HOSTS,
                codes={404: ("room_not_found",)},
            ),
        )

    async def login(self, call: Call, body: LoginRequest) -> SessionBody:
        signed_in = await self._accounts.login(body.username, body.password, address=call.address)
        user = signed_in.user
        return SessionBody(
            signed_in.token, signed_in.expires_at, UserBody(user.id, user.username, user.role)
        )

    async def list_rooms(self, call: Call, body: RoomsQuery) -> RoomsBody:
        only = self._live.live() if body.live else None
        found = await self._store.page(after=body.after, limit=body.limit + 1, only=only)
        page = found[: body.limit]
        rooms = [self._describe(room, call) for room in page]
        if body.live is False:
            rooms = [room for room in rooms if not room.live]
        return RoomsBody(tuple(rooms), page[-1].slug if len(found) > body.limit else None)

    async def open_room(self, call: Call, body: NewRoomRequest) -> KeyedRoomBody:
        keyed = await self._rooms.open(
            body.slug,
            body.title,
            owner=call.caller,
            takeover=body.takeover,
            srt_passphrase=body.srt_passphrase,
        )
        return self._describe_keyed(keyed, call)

    async def get_room(self, call: Call, _body: Nothing) -> RoomBody:
        return self._describe(await self._rooms.get(call.path["room"]), call)

    async def rotate_stream_key(self, call: Call, _body: Nothing) -> KeyedRoomBody:
        keyed = await self._rooms.rotate_key(call.path["room"], by=call.caller)
        return self._describe_keyed(keyed, call)

    def _describe(self, room: Room, call: Call) -> RoomBody:
        status = self._live.status(room.slug)
        addresses = self._addresses.seen_from(call.host)
        inside = may_run(call.user, room)
        return RoomBody(
            slug=room.slug,
            title=room.title,
            created_at=room.created_at,
            live=status is not None,
            phase=_phase(status),
            viewers=self._live.viewers(room.slug) if status else 0,
            renditions=tuple(_rendition(r) for r in status.renditions) if status else (),
            publisher=_publisher(status),
            play=_play(addresses, room.slug),
            notices=_notices(status) if inside else None,
            servers=_servers(addresses, room.slug) if inside else None,
        )

    def _describe_keyed(self, keyed: KeyedRoom, call: Call) -> KeyedRoomBody:
        addresses = self._addresses.seen_from(call.host)
        room, key = keyed.room, keyed.stream_key
        return KeyedRoomBody(
            slug=room.slug,
            title=room.title,
            created_at=room.created_at,
            stream_key=key,
            ingest=IngestBody(
                rtmp=addresses.rtmp(room.slug, key),
                rtmp_server=addresses.rtmp_server,
                rtmp_stream_key=addresses.rtmp_stream_key(room.slug, key),
                srt=addresses.srt(room, key),
                whip=addresses.whip(room.slug),
            ),
            play=_play(addresses, room.slug),
        )


def _phase(status: LiveStatus | None) -> Any:
    return "offline" if status is None else status.phase.value


def _rendition(rendition: LiveRendition) -> RenditionBody:
    track = rendition.track
    return RenditionBody(
        id=track.id,
        kind=track.kind.value,
        codec=rendition.codec,
        width=track.width or None,
        height=track.height or None,
        frame_rate=track.frame_rate or None,
        bitrate=rendition.bitrate,
    )


def _publisher(status: LiveStatus | None) -> PublisherBody | None:
    if status is None or status.publisher is None:
        return None
    return PublisherBody(status.publisher.protocol, status.publisher.encoder)


def _notices(status: LiveStatus | None) -> tuple[NoticeBody, ...]:
    return tuple(NoticeBody(n.code, n.message) for n in status.notices) if status else ()


def _play(addresses: Addresses, room: str) -> PlayBody:
    return PlayBody(addresses.whep(room), addresses.hls(room), addresses.page(room))


def _servers(addresses: Addresses, room: str) -> ServersBody:
    return ServersBody(addresses.rtmp_server, addresses.srt_server, addresses.whip(room))
