"""AMF0 (Adobe, "Action Message Format -- AMF 0", 2007): the language of commands and metadata."""

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from media.rtmp import amf3
from media.rtmp.values import MAX_DEPTH, AmfDate, AmfError, Budget, Cursor, EcmaArray, Value

_NUMBER: Final = 0x00
_BOOLEAN: Final = 0x01
_STRING: Final = 0x02
_OBJECT: Final = 0x03
_NULL: Final = 0x05
_UNDEFINED: Final = 0x06
_REFERENCE: Final = 0x07
_ECMA_ARRAY: Final = 0x08
_OBJECT_END: Final = 0x09
_STRICT_ARRAY: Final = 0x0A
_DATE: Final = 0x0B
_LONG_STRING: Final = 0x0C
_UNSUPPORTED: Final = 0x0D
_XML: Final = 0x0F
_TYPED_OBJECT: Final = 0x10
_AVMPLUS: Final = 0x11

_DOUBLE = struct.Struct(">d")


def parse(data: bytes) -> list[Value]:
    """All values of a message body, one after the other. Raises `AmfError`."""
    reader = _Reader(data)
    values: list[Value] = []
    while reader.cursor.left:
        values.append(reader.value(1))
    return values


def parse_prefix(data: bytes) -> list[Value]:
    """The values before the first that cannot be read; metadata are worth having in part."""
    reader = _Reader(data)
    values: list[Value] = []
    try:
        while reader.cursor.left:
            values.append(reader.value(1))
    except AmfError:
        return values
    return values


class _Reader:
    """One message: the references of its objects, and what it may still spend."""

    def __init__(self, data: bytes) -> None:
        self.cursor = Cursor(data)
        self._budget = Budget()
        self._complex: list[Value | None] = []

    def value(self, depth: int) -> Value:
        self._budget.spend(depth)
        cursor = self.cursor
        marker = cursor.byte()
        match marker:
            case 0x00:  # number
                return float(_DOUBLE.unpack(cursor.take(8))[0])
            case 0x01:  # boolean
                return cursor.byte() != 0
            case 0x02:  # string
                return cursor.text(cursor.number(2))
            case 0x05 | 0x06 | 0x0D:  # null, undefined, unsupported
                return None
            case 0x0B:  # date; its time zone is reserved
                moment = _DOUBLE.unpack(cursor.take(8))[0]
                cursor.take(2)
                return AmfDate(moment)
            case 0x0C | 0x0F:  # long string, XML document
                return cursor.text(cursor.number(4))
            case 0x07:  # reference
                return self._reference()
            case 0x11:  # one value in AMF3; references do not cross from value to value
                return amf3.read(cursor, self._budget, depth)
            case _:
                return self._container(marker, depth)

    def _container(self, marker: int, depth: int) -> Value:
        place = len(self._complex)
        self._complex.append(None)
        cursor = self.cursor
        value: Value
        match marker:
            case 0x03:  # object
                value = self._members({}, depth)
            case 0x08:  # ECMA array; its count is only a hint
                cursor.take(4)
                value = self._members(EcmaArray(), depth)
            case 0x0A:  # strict array
                count = cursor.number(4)
                if count > cursor.left:
                    raise AmfError("cut short")
                value = [self.value(depth + 1) for _ in range(count)]
            case 0x10:  # typed object
                cursor.take(cursor.number(2))
                value = self._members({}, depth)
            case _:
                raise AmfError(f"unknown AMF0 marker {marker}")
        self._complex[place] = value
        return value

    def _members(self, into: dict[str, Value], depth: int) -> dict[str, Value]:
        cursor = self.cursor
        while True:
            key = cursor.text(cursor.number(2))
            if not key and cursor.left and cursor.data[cursor.pos] == _OBJECT_END:
                cursor.pos += 1
                return into
            into[key] = self.value(depth + 1)

    def _reference(self) -> Value:
        index = self.cursor.number(2)
        value = self._complex[index] if index < len(self._complex) else None
        if value is None:
            # Also an object that holds itself: nothing we are told has a reason to.
            raise AmfError("reference to an object that is not there yet")
        return value


def serialize(*values: Value) -> bytes:
    """A message body. Raises `AmfError` for what AMF0 cannot say, such as bytes."""
    out = bytearray()
    for value in values:
        _write(out, value, 1)
    return bytes(out)


def _write(out: bytearray, value: Value, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise AmfError("values nested too deep")
    match value:
        case None:
            out.append(_NULL)
        case bool():
            out += bytes((_BOOLEAN, value))
        case int() | float():
            out.append(_NUMBER)
            out += _DOUBLE.pack(value)
        case str():
            _write_string(out, value)
        case AmfDate():
            out.append(_DATE)
            out += _DOUBLE.pack(value.milliseconds) + b"\0\0"
        case dict():
            _write_members(out, value, depth)
        case list():
            _write_array(out, value, depth)
        case _:
            raise AmfError(f"AMF0 has no {type(value).__name__}")


def _write_string(out: bytearray, value: str) -> None:
    encoded = value.encode()
    if len(encoded) < 1 << 16:
        out.append(_STRING)
        out += len(encoded).to_bytes(2, "big")
    else:
        out.append(_LONG_STRING)
        out += len(encoded).to_bytes(4, "big")
    out += encoded


def _write_members(out: bytearray, members: Mapping[str, Value], depth: int) -> None:
    if isinstance(members, EcmaArray):
        out.append(_ECMA_ARRAY)
        out += len(members).to_bytes(4, "big")
    else:
        out.append(_OBJECT)
    for key, member in members.items():
        encoded = key.encode()
        if len(encoded) >= 1 << 16:
            raise AmfError("member name too long")
        out += len(encoded).to_bytes(2, "big") + encoded
        _write(out, member, depth + 1)
    out += bytes((0, 0, _OBJECT_END))


def _write_array(out: bytearray, items: Sequence[Value], depth: int) -> None:
    out.append(_STRICT_ARRAY)
    out += len(items).to_bytes(4, "big")
    for item in items:
        _write(out, item, depth + 1)
