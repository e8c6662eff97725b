"""Whether a caller is let in: its stream id, the room's keys, the room's passphrase."""

from dataclasses import dataclass
from typing import Final

from media.errors import PublishRefused
from media.hub import Hub, PublishGrant, StreamKeys
from media.srt.errors import SrtRefused
from media.srt.handshake import Rejection
from media.srt.streamid import Mode, StreamRequest, parse_stream_id
from media.stream import Stream

MAX_ROOM_LENGTH: Final = 128

_REJECTIONS: Final = {
    "unauthorized": Rejection.UNAUTHORIZED,
    "forbidden": Rejection.FORBIDDEN,
    "not_found": Rejection.NOT_FOUND,
    "conflict": Rejection.CONFLICT,
    "overloaded": Rejection.OVERLOAD,
}


@dataclass(frozen=True, slots=True)
class PublishAllowed:
    grant: PublishGrant
    passphrase: str | None

    @property
    def room(self) -> str:
        return self.grant.room


@dataclass(frozen=True, slots=True)
class PlayAllowed:
    stream: Stream
    passphrase: str | None

    @property
    def room(self) -> str:
        return self.stream.room


def rejection_of(error: PublishRefused) -> Rejection:
    return _REJECTIONS.get(error.code, Rejection.FORBIDDEN)


class Gate:
    """Decides over callers; knows no socket."""

    def __init__(self, hub: Hub, keys: StreamKeys) -> None:
        self._hub = hub
        self._keys = keys

    async def decide(
        self, stream_id: str, default: PublishGrant | None
    ) -> PublishAllowed | PlayAllowed:
        """`default` is what a caller without stream id may publish on its port.

        Raises SrtRefused.
        """
        if not stream_id.strip():
            if default is None:
                raise SrtRefused("no stream id", Rejection.BAD_REQUEST)
            return PublishAllowed(default, await self._keys.srt_passphrase(default.room))
        request = parse_stream_id(stream_id)
        if len(request.room) > MAX_ROOM_LENGTH:
            raise SrtRefused("room name is too long", Rejection.BAD_REQUEST)
        if request.mode is Mode.PUBLISH:
            return await self._publish(request)
        return await self._play(request)

    async def _publish(self, request: StreamRequest) -> PublishAllowed:
        if not request.key:
            raise SrtRefused("no stream key", Rejection.UNAUTHORIZED)
        try:
            grant = await self._keys.grant(request.room, request.key)
        except PublishRefused as error:
            raise SrtRefused(error.code, rejection_of(error)) from None
        return PublishAllowed(grant, await self._keys.srt_passphrase(grant.room))

    async def _play(self, request: StreamRequest) -> PlayAllowed:
        if not await self._keys.room_exists(request.room):
            raise SrtRefused("no such room", Rejection.NOT_FOUND)
        passphrase = await self._keys.srt_passphrase(request.room)
        stream = self._hub.stream(request.room)
        if stream is None:
            raise SrtRefused("room is not live", Rejection.NOT_FOUND)
        return PlayAllowed(stream, passphrase)
