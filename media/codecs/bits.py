"""Bits of a header, most significant first, with the Exp-Golomb codes of H.264 and HEVC."""

from typing import Final

from media.errors import InvalidBitstream

MAX_HEADER_BYTES: Final = 4096
"""No header of a live stream comes near; it bounds the work that a hostile one can cause."""

_MAX_LEADING_ZEROS: Final = 32


class BitReader:
    """Reads a whole header of at most `limit` bytes; methods raise InvalidBitstream at its end."""

    __slots__ = ("_left", "_value")

    def __init__(self, data: bytes, limit: int = MAX_HEADER_BYTES) -> None:
        if len(data) > limit:
            raise InvalidBitstream(f"header of {len(data)} bytes")
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    @property
    def left(self) -> int:
        """How many bits there are still."""
        return self._left

    def read(self, count: int) -> int:
        left = self._left - count
        if left < 0:
            raise InvalidBitstream("header ends too early")
        self._left = left
        return (self._value >> left) & ((1 << count) - 1)

    def flag(self) -> bool:
        return self.read(1) == 1

    def skip(self, count: int) -> None:
        if count > self._left:
            raise InvalidBitstream("header ends too early")
        self._left -= count

    def align(self) -> None:
        """Goes on to the next whole byte."""
        self._left -= self._left % 8

    def ue(self, limit: int = (1 << 32) - 2) -> int:
        """ue(v), not above `limit`."""
        zeros = self._left - (self._value & ((1 << self._left) - 1)).bit_length()
        if zeros > _MAX_LEADING_ZEROS:
            raise InvalidBitstream("Exp-Golomb code too long")
        self.skip(zeros)
        value = self.read(zeros + 1) - 1
        if value > limit:
            raise InvalidBitstream(f"value {value} above {limit}")
        return value

    def se(self) -> int:
        """se(v)."""
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


class BitWriter:
    """Collects bits; `serialize` fills the last byte with zeros."""

    __slots__ = ("_length", "_value")

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def write(self, value: int, count: int) -> None:
        if value < 0 or value >> count:
            raise ValueError(f"{value} does not fit {count} bits")
        self._value = (self._value << count) | value
        self._length += count

    def ue(self, value: int) -> None:
        bits = (value + 1).bit_length()
        self.write(value + 1, 2 * bits - 1)

    def se(self, value: int) -> None:
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def serialize(self) -> bytes:
        size = (self._length + 7) // 8
        return (self._value << (size * 8 - self._length)).to_bytes(size, "big")
