"""What AMF0 and AMF3 can say, as Python values, and the bounds within which we listen."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from configs.kernel.errors import PeerError

MAX_DEPTH: Final = 16
MAX_VALUES: Final = 4096
"""Values in one message, containers included: a real `onMetaData` has some thirty."""


class AmfError(PeerError):
    """Bytes that are no AMF, or more of it than anybody needs."""

    code = "amf_invalid"


@dataclass(frozen=True, slots=True)
class AmfDate:
    """Milliseconds since 1970, UTC."""

    milliseconds: float


class EcmaArray(dict[str, "Value"]):
    """An associative array, which `onMetaData` is expected to be; AMF0 tells it from an object."""


Value: TypeAlias = (
    "bool | int | float | str | bytes | AmfDate | list[Value] | dict[str, Value] | None"
)
"""Undefined and unsupported become None, XML a str, vectors lists, AMF3's byte arrays bytes."""


class Budget:
    """Counts values down, so that a few bytes cannot ask for millions of objects."""

    def __init__(self, values: int = MAX_VALUES) -> None:
        self._left = values

    def spend(self, depth: int) -> None:
        """Raises `AmfError` when the message holds too many values, or nests them too deep."""
        self._left -= 1
        if self._left < 0:
            raise AmfError("too many values")
        if depth > MAX_DEPTH:
            raise AmfError("values nested too deep")


class Cursor:
    """A place in a message; reading past its end raises `AmfError`."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data)

    def take(self, count: int) -> bytes:
        start = self.pos
        if count > self.end - start:
            raise AmfError("cut short")
        self.pos = start + count
        return self.data[start : self.pos]

    def byte(self) -> int:
        if self.pos >= self.end:
            raise AmfError("cut short")
        value = self.data[self.pos]
        self.pos += 1
        return value

    def number(self, count: int) -> int:
        """An unsigned big-endian integer of `count` bytes."""
        return int.from_bytes(self.take(count), "big")

    def text(self, count: int) -> str:
        return self.take(count).decode("utf-8", "replace")

    @property
    def left(self) -> int:
        return self.end - self.pos
