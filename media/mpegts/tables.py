"""Programme association and map tables (ISO/IEC 13818-1, 2.4.4), and their sections."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from media.errors import InvalidBitstream

TABLE_PAT: Final = 0
TABLE_PMT: Final = 2
MAX_SECTION: Final = 1024
"""Bytes of a PAT's or PMT's section, all told (2.4.4.5, 2.4.4.9)."""

TYPE_MPEG1_VIDEO: Final = 0x01
TYPE_MPEG2_VIDEO: Final = 0x02
TYPE_MPEG1_AUDIO: Final = 0x03
TYPE_MPEG2_AUDIO: Final = 0x04
TYPE_PRIVATE: Final = 0x06
TYPE_AAC_ADTS: Final = 0x0F
TYPE_AAC_LATM: Final = 0x11
TYPE_H264: Final = 0x1B
TYPE_HEVC: Final = 0x24
TYPE_AC3: Final = 0x81
TYPE_EAC3: Final = 0x87

DESCRIPTOR_REGISTRATION: Final = 0x05
DESCRIPTOR_EXTENSION: Final = 0x7F


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)


_CRC_TABLE: Final = _crc_table()


def crc32(data: bytes) -> int:
    """CRC of Annex A; over a section with its CRC it is 0."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc


class Sections:
    """Puts sections together out of packets' payloads; `emit` gets each whole one whose CRC is
    right, and a repeat of the one before not again. Behind a broken one, nothing is trusted until
    the next packet in which a section begins."""

    __slots__ = ("_buffer", "_emit", "_last", "broken")

    def __init__(self, emit: Callable[[bytes], None]) -> None:
        self._emit = emit
        self._buffer: bytearray | None = None
        self._last = b""
        self.broken = 0

    def payload(self, data: bytes, start: bool) -> None:
        if not start:
            self._append(data)
            return
        pointer = 1 + data[0]
        self._append(data[1:pointer])
        self._buffer = bytearray()
        self._append(data[pointer:])

    def lost(self, *, counted: bool) -> None:
        self._buffer = None

    def _append(self, data: bytes) -> None:
        if self._buffer is None:
            return
        self._buffer += data
        while len(self._buffer) >= 3 and self._buffer[0] != 0xFF:
            size = 3 + ((self._buffer[1] & 0xF) << 8 | self._buffer[2])
            if size > MAX_SECTION:
                self.broken += 1
                self._buffer = None
                return
            if len(self._buffer) < size:
                return
            section = bytes(self._buffer[:size])
            del self._buffer[:size]
            if not self._complete(section):
                self._buffer = None
                return
        if self._buffer and self._buffer[0] == 0xFF:
            # Stuffing up to the end of the packet.
            self._buffer = None

    def _complete(self, section: bytes) -> bool:
        if section == self._last:
            return True
        if crc32(section):
            self.broken += 1
            return False
        self._last = section
        self._emit(section)
        return True


def _body(section: bytes, table: int, fixed: int) -> bytes | None:
    """A section's content between the header and the CRC; None if it is another table's, or not
    in force yet. `fixed` is the least size of the content."""
    if section[0] != table or not section[1] & 0x80 or len(section) < 12 + fixed:
        return None
    if not section[5] & 1:
        return None
    return section[8:-4]


def _section(table: int, table_id_extension: int, version: int, body: bytes) -> bytes:
    size = 5 + len(body) + 4
    head = bytes((table, 0xB0 | size >> 8, size & 0xFF)) + table_id_extension.to_bytes(2, "big")
    section = head + bytes((0xC1 | (version & 0x1F) << 1, 0, 0)) + body
    return section + crc32(section).to_bytes(4, "big")


def parse_pat(section: bytes) -> tuple[int, int] | None:
    """The first programme's number and its PMT's identifier; None if this section has none."""
    body = _body(section, TABLE_PAT, 0)
    if body is None or section[6]:
        return None
    for position in range(0, len(body) - 3, 4):
        number = body[position] << 8 | body[position + 1]
        if number:
            return number, (body[position + 2] & 0x1F) << 8 | body[position + 3]
    return None


def pat(programmes: dict[int, int], *, stream: int = 1, version: int = 0) -> bytes:
    """A PAT of programme numbers and their PMTs' identifiers."""
    body = b"".join(
        number.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big")
        for number, pid in programmes.items()
    )
    return _section(TABLE_PAT, stream, version, body)


@dataclass(frozen=True, slots=True)
class Descriptor:
    tag: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """An elementary stream in a PMT."""

    stream_type: int
    pid: int
    descriptors: tuple[Descriptor, ...] = ()

    @property
    def registration(self) -> bytes:
        """The four characters that say what a private stream is; empty if nothing does."""
        for descriptor in self.descriptors:
            if descriptor.tag == DESCRIPTOR_REGISTRATION:
                return descriptor.data[:4]
        return b""


@dataclass(frozen=True, slots=True)
class Pmt:
    programme: int
    pcr_pid: int
    entries: tuple[Entry, ...]


def parse_pmt(section: bytes) -> Pmt | None:
    """None if it is another table's section, or not in force yet; raises InvalidBitstream."""
    body = _body(section, TABLE_PMT, 4)
    if body is None:
        return None
    programme = int.from_bytes(section[3:5], "big")
    pcr_pid = (body[0] & 0x1F) << 8 | body[1]
    position = 4 + ((body[2] & 0xF) << 8 | body[3])
    entries: list[Entry] = []
    while position + 5 <= len(body):
        pid = (body[position + 1] & 0x1F) << 8 | body[position + 2]
        start = position + 5
        end = start + ((body[position + 3] & 0xF) << 8 | body[position + 4])
        if end > len(body):
            raise InvalidBitstream("programme map entry longer than its table")
        entries.append(Entry(body[position], pid, _read_descriptors(body[start:end])))
        position = end
    return Pmt(programme, pcr_pid, tuple(entries))


def _read_descriptors(data: bytes) -> tuple[Descriptor, ...]:
    found: list[Descriptor] = []
    position = 0
    while position + 2 <= len(data):
        end = position + 2 + data[position + 1]
        found.append(Descriptor(data[position], data[position + 2 : end]))
        position = end
    return tuple(found)


def pmt(table: Pmt, *, version: int = 0) -> bytes:
    parts = [(0xE000 | table.pcr_pid).to_bytes(2, "big"), b"\xf0\x00"]
    for entry in table.entries:
        info = b"".join(bytes((d.tag, len(d.data))) + d.data for d in entry.descriptors)
        parts.append(bytes((entry.stream_type,)))
        parts.append((0xE000 | entry.pid).to_bytes(2, "big"))
        parts.append((0xF000 | len(info)).to_bytes(2, "big"))
        parts.append(info)
    return _section(TABLE_PMT, table.programme, version, b"".join(parts))
