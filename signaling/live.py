"""What is on air, as signaling sees it: read from the hub each time, nothing kept."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from media.codecs.strings import codec_string
from media.hub import Hub
from media.stream import Notice, Phase, Publisher
from media.units import Track
from signaling.bitrates import Bitrates


@dataclass(frozen=True, slots=True)
class LiveStatus:
    """A room's stream while there is one: `phase` is LIVE, or GRACE while its publisher is away."""

    phase: Phase
    renditions: tuple["LiveRendition", ...]
    publisher: Publisher | None
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class LiveRendition:
    """A track, its RFC 6381 codec string and its bits a second, None when not known yet."""

    track: Track
    codec: str
    bitrate: int | None = None


class LiveRooms(Protocol):
    def live(self) -> Collection[str]:
        """Rooms with a stream, live or in its grace period."""
        ...

    def status(self, room: str) -> LiveStatus | None: ...

    def viewers(self, room: str) -> int: ...

    def kick(self, room: str) -> None:
        """Closes the connection of the room's publisher, if there is one; viewers may stay."""
        ...


class HubRooms:
    """`LiveRooms` over the hub of this process; `viewers(room)` counts those of all transports.
    Made before the first publisher comes, since it measures what they send."""

    def __init__(self, hub: Hub, *, viewers: Callable[[str], int]) -> None:
        self._hub = hub
        self._viewers = viewers
        self._bitrates = Bitrates()
        hub.observe(self._bitrates)

    def live(self) -> Collection[str]:
        return [stream.room for stream in self._hub.streams]

    def status(self, room: str) -> LiveStatus | None:
        stream = self._hub.stream(room)
        if stream is None or stream.phase is Phase.ENDED:
            return None
        return LiveStatus(
            phase=stream.phase,
            renditions=tuple(
                LiveRendition(track, codec_string(track), self._bitrates.of(room, track.id))
                for track in stream.tracks
            ),
            publisher=stream.publisher,
            notices=tuple(stream.notices),
        )

    def viewers(self, room: str) -> int:
        return self._viewers(room)

    def kick(self, room: str) -> None:
        self._hub.evict(room, "the stream key was changed")
