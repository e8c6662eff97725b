"""AMF3 (Adobe's "Action Message Format -- AMF 3", 2013): may follow an AMF0 marker, value by value.

References (strings, traits, objects) live as long as one value, since the marker that switches to
AMF3 starts a new context each time.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from media.rtmp.values import MAX_DEPTH, AmfDate, AmfError, Budget, Cursor, EcmaArray, Value

_DOUBLE = struct.Struct(">d")
_INT_MIN: Final = -(1 << 28)
_INT_MAX: Final = (1 << 28) - 1


def parse(data: bytes) -> Value:
    """One value and nothing behind it. Raises `AmfError`."""
    cursor = Cursor(data)
    value = read(cursor, Budget(), 1)
    if cursor.left:
        raise AmfError("bytes behind the value")
    return value


def read(cursor: Cursor, budget: Budget, depth: int) -> Value:
    """One value at the cursor, which is left behind it. Raises `AmfError`."""
    return _Reader(cursor, budget).value(depth)


@dataclass(frozen=True, slots=True)
class _Traits:
    names: tuple[str, ...]
    dynamic: bool


class _Reader:
    def __init__(self, cursor: Cursor, budget: Budget) -> None:
        self._cursor = cursor
        self._budget = budget
        self._strings: list[str] = []
        self._traits: list[_Traits] = []
        self._objects: list[Value | None] = []

    def value(self, depth: int) -> Value:
        self._budget.spend(depth)
        cursor = self._cursor
        marker = cursor.byte()
        match marker:
            case 0x00 | 0x01:  # undefined, null
                return None
            case 0x02:
                return False
            case 0x03:
                return True
            case 0x04:  # integer, 29 bits signed
                number = self._u29()
                return number - (1 << 29) if number > _INT_MAX else number
            case 0x05:
                return float(_DOUBLE.unpack(cursor.take(8))[0])
            case 0x06:
                return self._string()
            case _:
                return self._referable(marker, depth)

    def _referable(self, marker: int, depth: int) -> Value:
        header = self._u29()
        if not header & 1:
            index = header >> 1
            known = self._objects[index] if index < len(self._objects) else None
            if known is None:
                raise AmfError("reference to an object that is not there yet")
            return known
        place = len(self._objects)
        self._objects.append(None)
        value = self._container(marker, header >> 1, depth)
        self._objects[place] = value
        return value

    def _container(self, marker: int, size: int, depth: int) -> Value:
        cursor = self._cursor
        match marker:
            case 0x07 | 0x0B:  # XML document, XML
                return cursor.text(size)
            case 0x08:
                return AmfDate(_DOUBLE.unpack(cursor.take(8))[0])
            case 0x09:
                return self._array(size, depth)
            case 0x0A:
                return self._object(size, depth)
            case 0x0C:
                return cursor.take(size)
            case 0x0D:
                return self._vector(
                    size, lambda: int.from_bytes(cursor.take(4), "big", signed=True)
                )
            case 0x0E:
                return self._vector(size, lambda: cursor.number(4))
            case 0x0F:
                return self._vector(size, lambda: float(_DOUBLE.unpack(cursor.take(8))[0]))
            case 0x10:  # vector of objects, with the name of their class
                fixed = cursor.take(1)
                self._string()
                return self._items(size, depth) if fixed else []
            case 0x11:
                return self._dictionary(size, depth)
            case _:
                raise AmfError(f"unknown AMF3 marker {marker}")

    def _array(self, size: int, depth: int) -> Value:
        named = EcmaArray()
        while key := self._string():
            named[key] = self.value(depth + 1)
        items = self._items(size, depth)
        if not named:
            return items
        named.update((str(index), item) for index, item in enumerate(items))
        return named

    def _items(self, size: int, depth: int) -> list[Value]:
        if size > self._cursor.left:
            raise AmfError("cut short")
        return [self.value(depth + 1) for _ in range(size)]

    def _vector(self, size: int, item: Callable[[], Value]) -> Value:
        self._cursor.take(1)  # fixed length or not
        if size * 4 > self._cursor.left:
            raise AmfError("cut short")
        values: list[Value] = []
        for _ in range(size):
            self._budget.spend(0)
            values.append(item())
        return values

    def _dictionary(self, size: int, depth: int) -> Value:
        self._cursor.take(1)  # weak keys or not
        members: dict[str, Value] = {}
        for _ in range(size):
            key = self.value(depth + 1)
            if not isinstance(key, str | int | float):
                raise AmfError("dictionary with a key that is no word")
            members[str(key)] = self.value(depth + 1)
        return members

    def _object(self, header: int, depth: int) -> Value:
        traits = self._read_traits(header)
        members: dict[str, Value] = {}
        for name in traits.names:
            members[name] = self.value(depth + 1)
        if traits.dynamic:
            while key := self._string():
                members[key] = self.value(depth + 1)
        return members

    def _read_traits(self, header: int) -> _Traits:
        """Section 3.12; `header` is without its lowest bit."""
        if not header & 1:
            index = header >> 1
            if index >= len(self._traits):
                raise AmfError("reference to traits that are not there")
            return self._traits[index]
        if header & 2:
            raise AmfError("an object with a serialization of its own")
        count = header >> 3
        if count > self._cursor.left:
            raise AmfError("cut short")
        self._string()  # name of the class
        traits = _Traits(tuple(self._string() for _ in range(count)), bool(header & 4))
        self._traits.append(traits)
        return traits

    def _string(self) -> str:
        self._budget.spend(0)
        header = self._u29()
        if not header & 1:
            index = header >> 1
            if index >= len(self._strings):
                raise AmfError("reference to a string that is not there")
            return self._strings[index]
        text = self._cursor.text(header >> 1)
        if text:  # the empty string is never sent by reference
            self._strings.append(text)
        return text

    def _u29(self) -> int:
        value = 0
        for _ in range(3):
            byte = self._cursor.byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        return value << 8 | self._cursor.byte()


def serialize(value: Value) -> bytes:
    """One value, without references. Raises `AmfError` when it nests too deep."""
    out = bytearray()
    _write(out, value, 1)
    return bytes(out)


def _write(out: bytearray, value: Value, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise AmfError("values nested too deep")
    match value:
        case None:
            out.append(0x01)
        case bool():
            out.append(0x03 if value else 0x02)
        case int() if _INT_MIN <= value <= _INT_MAX:
            out.append(0x04)
            _write_u29(out, value & 0x1FFFFFFF)
        case int() | float():
            out.append(0x05)
            out += _DOUBLE.pack(value)
        case str():
            out.append(0x06)
            _write_string(out, value)
        case bytes():
            out.append(0x0C)
            _write_u29(out, len(value) << 1 | 1)
            out += value
        case AmfDate():
            out += b"\x08\x01" + _DOUBLE.pack(value.milliseconds)
        case list():
            _write_array(out, value, depth)
        case dict():
            _write_members(out, value, depth)


def _write_array(out: bytearray, items: Sequence[Value], depth: int) -> None:
    out.append(0x09)
    _write_u29(out, len(items) << 1 | 1)
    out.append(0x01)
    for item in items:
        _write(out, item, depth + 1)


def _write_members(out: bytearray, members: Mapping[str, Value], depth: int) -> None:
    """As an anonymous dynamic object without sealed members, or as an associative array."""
    if isinstance(members, EcmaArray):
        out += b"\x09\x01"
    else:
        out += b"\x0a\x0b\x01"
    for key, member in members.items():
        if not key:
            raise AmfError("AMF3 has no member without a name")
        _write_string(out, key)
        _write(out, member, depth + 1)
    out.append(0x01)


def _write_string(out: bytearray, value: str) -> None:
    encoded = value.encode()
    _write_u29(out, len(encoded) << 1 | 1)
    out += encoded


def _write_u29(out: bytearray, value: int) -> None:
    if value < 0x80:
        out.append(value)
    elif value < 0x4000:
        out += bytes((value >> 7 | 0x80, value & 0x7F))
    elif value < 0x200000:
        out += bytes((value >> 14 | 0x80, value >> 7 & 0x7F | 0x80, value & 0x7F))
    elif value < 1 << 29:
        out += bytes(
            (value >> 22 | 0x80, value >> 15 & 0x7F | 0x80, value >> 8 & 0x7F | 0x80, value & 0xFF)
        )
    else:
        raise AmfError("number does not fit into 29 bits")
