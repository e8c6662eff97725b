"""What an `RtmpConnection` tells its owner, besides tracks, units and notices."""

from dataclasses import dataclass, field
from typing import TypeAlias

from media.stream import Notice
from media.units import AccessUnit, Track


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """To be answered with `accept_publish` or `refuse_publish`; `encoder` is the client's name."""

    room: str
    key: str = field(repr=False)
    encoder: str


@dataclass(frozen=True, slots=True)
class EncoderNamed:
    """The metadata tell the encoder's name, usually better than `PublishRequested` did."""

    encoder: str


@dataclass(frozen=True, slots=True)
class PublishEnded:
    """The publisher stopped by itself; the connection goes on and may publish again."""


Event: TypeAlias = PublishRequested | EncoderNamed | PublishEnded | Track | AccessUnit | Notice
