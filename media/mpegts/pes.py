"""Packetized elementary streams (ISO/IEC 13818-1, 2.4.3.6): headers, and putting them together."""

from dataclasses import dataclass
from typing import Final, Protocol

from media.mpegts.packets import CLOCK_WRAP

STREAM_PRIVATE: Final = 0xBD
STREAM_AUDIO: Final = 0xC0
STREAM_VIDEO: Final = 0xE0

MAX_PES: Final = 4 << 20
"""Bytes of one PES packet. A picture that needs more is no live stream's."""

_UNBOUNDED: Final = MAX_PES + 1
_WITHOUT_HEADER: Final = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})
_HEAD: Final = 9


@dataclass(frozen=True, slots=True)
class PesHeader:
    """`pts`, `dts` as sent, 33 bits of 90 kHz; None: not sent. `size` is the header's."""

    pts: int | None
    dts: int | None
    size: int


def parse_header(data: bytes) -> PesHeader | None:
    """None if `data` begins with no PES header, or with too little of one."""
    if len(data) < _HEAD or data[:3] != b"\x00\x00\x01" or data[3] in _WITHOUT_HEADER:
        return None
    size = _HEAD + data[8]
    if data[6] & 0xC0 != 0x80 or len(data) < size:
        return None
    kind = data[7] >> 6
    pts = _read_time(data, 9) if kind & 2 and data[8] >= 5 else None
    dts = _read_time(data, 14) if kind == 3 and data[8] >= 10 else pts
    return PesHeader(pts, dts, size)


def _read_time(data: bytes, at: int) -> int:
    return (
        (data[at] & 0xE) << 29
        | data[at + 1] << 22
        | (data[at + 2] & 0xFE) << 14
        | data[at + 3] << 7
        | data[at + 4] >> 1
    )


def _write_time(marker: int, value: int) -> bytes:
    return bytes(
        (
            marker << 4 | value >> 29 & 0xE | 1,
            value >> 22 & 0xFF,
            value >> 14 & 0xFE | 1,
            value >> 7 & 0xFF,
            value << 1 & 0xFE | 1,
        )
    )


def pes(stream_id: int, pts: int, dts: int, payload: bytes) -> bytes:
    """A whole PES packet; times are taken modulo 33 bits. Payloads beyond 64 KiB leave their
    length open, which is allowed to video alone."""
    pts, dts = pts % CLOCK_WRAP, dts % CLOCK_WRAP
    if pts == dts:
        flags, times = 0x80, _write_time(2, pts)
    else:
        flags, times = 0xC0, _write_time(3, pts) + _write_time(1, dts)
    size = 3 + len(times) + len(payload)
    if size > 0xFFFF:
        size = 0
    # 0x84: the payload begins with the beginning of a unit (data_alignment_indicator).
    head = bytes((0, 0, 1, stream_id, size >> 8, size & 0xFF, 0x84, flags, len(times)))
    return head + times + payload


class PesSink(Protocol):
    """Takes one elementary stream."""

    def head(self, payload: bytes) -> None:
        """A PES packet has begun and its payload begins so; all before it has been given."""

    def pes(self, pts: int | None, dts: int | None, payload: bytes) -> None:
        """A whole PES packet."""

    def lost(self) -> None:
        """A PES packet got damaged and was dropped."""

    def finish(self) -> None:
        """The stream is over."""


class PesAssembler:
    """Puts the PES packets of one identifier together. At most `MAX_PES` bytes are kept."""

    __slots__ = ("_expected", "_open", "_parts", "_sink", "_size", "damaged")

    def __init__(self, sink: PesSink) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._size = 0
        self._expected = _UNBOUNDED
        self._open = False
        self.damaged = 0

    def payload(self, data: bytes, start: bool) -> None:
        if start:
            self._complete()
            self._open = True
            self._expected = 0
        elif not self._open:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._expected == 0 and not self._look_at_head():
            return
        if self._size >= self._expected:
            if self._size > MAX_PES:
                self._drop()
            else:
                self._complete()

    def lost(self, *, counted: bool) -> None:
        if self._open:
            self._drop()
        else:
            self._sink.lost()

    def finish(self) -> None:
        """Gives what is there, at the end of the stream."""
        self._complete()
        self._sink.finish()

    def _look_at_head(self) -> bool:
        """Learns how long the packet will be; False as long as that cannot be read."""
        if self._size < 6:
            return False
        first = b"".join(self._parts)
        length = first[4] << 8 | first[5]
        self._expected = 6 + length if length else _UNBOUNDED
        header = parse_header(first)
        if header is not None:
            self._sink.head(first[header.size :])
        return True

    def _complete(self) -> None:
        if not self._open:
            return
        data = b"".join(self._parts)
        expected = self._expected
        header = parse_header(data)
        if header is None or (expected < _UNBOUNDED and len(data) < expected):
            self._drop()
            return
        self._reset()
        self._sink.pes(header.pts, header.dts, data[header.size : expected])

    def _drop(self) -> None:
        self.damaged += 1
        self._reset()
        self._sink.lost()

    def _reset(self) -> None:
        self._parts = []
        self._size = 0
        self._expected = _UNBOUNDED
        self._open = False
