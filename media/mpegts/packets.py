"""Transport packets (ISO/IEC 13818-1, 2.4.3): sizes, and what one identifier's packets carry."""

from typing import Final, Protocol

PACKET_SIZE: Final = 188
SYNC_BYTE: Final = 0x47
STRIDES: Final = (188, 192, 204)
"""Distances between sync bytes: plain, with Blu-ray's time code, with Reed-Solomon bytes."""

PID_PAT: Final = 0
PID_FIRST_FREE: Final = 0x10
PID_NULL: Final = 0x1FFF

CLOCK_WRAP: Final = 1 << 33
"""Timestamps count 90 kHz in 33 bits: 26.5 hours."""


class Payloads(Protocol):
    """What takes the payloads of one identifier's packets, in order."""

    def payload(self, data: bytes, start: bool) -> None:
        """`start`: a PES packet begins here, or a section begins within."""

    def lost(self, *, counted: bool) -> None:
        """Packets are missing in front of the next payload; if not `counted`, the sender said
        so itself."""


class PidStream:
    """The packets of one identifier: follows the continuity counter and leaves out repeats."""

    __slots__ = ("_expected", "_last", "_payloads", "errors", "scrambled")

    def __init__(self, payloads: Payloads) -> None:
        self._payloads = payloads
        self._expected = -1
        self._last = b""
        self.errors = 0
        self.scrambled = 0

    def take(self, data: bytes, at: int) -> None:
        """The packet that begins at `at`, 188 bytes of it."""
        flags, control = data[at + 1], data[at + 3]
        if flags & 0x80 or control & 0xC0:
            # Damaged on the way, or scrambled; the gap in the counter tells the rest.
            self.scrambled += control & 0xC0 != 0
            return
        start, end = at + 4, at + PACKET_SIZE
        jump = False
        if control & 0x20:
            length = data[start]
            jump = length > 0 and bool(data[start + 1] & 0x80)
            start += 1 + length
        if not control & 0x10:
            if jump:
                self._expected = -1
            return
        if start >= end:
            return
        counter = control & 0xF
        payload = data[start:end]
        if counter != self._expected:
            if self._expected < 0:
                pass
            elif not jump and counter == (self._expected - 1) & 0xF and payload == self._last:
                return
            else:
                self.errors += not jump
                self._payloads.lost(counted=not jump)
        self._expected = (counter + 1) & 0xF
        self._last = payload
        self._payloads.payload(payload, flags & 0x40 != 0)


class PacketWriter:
    """Cuts what one identifier carries into packets, and counts them."""

    __slots__ = ("_counter", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._counter = 0

    def write(self, data: bytes, adaptation: bytes = b"") -> bytes:
        """Whole packets with `data`, the first of which begins a unit; `adaptation` is the
        first one's adaptation field behind its length."""
        out: list[bytes] = []
        position, first = 0, True
        end = len(data)
        while position < end:
            head = (0x4000 if first else 0) | self.pid
            room = PACKET_SIZE - 4
            if first and adaptation:
                room -= 1 + len(adaptation)
            piece = data[position : position + room]
            position += room
            missing = room - len(piece)
            field = adaptation if first else b""
            first = False
            if field or missing:
                out.append(self._head(head, 0x30) + _adaptation_field(field, missing) + piece)
            else:
                out.append(self._head(head, 0x10) + piece)
        return b"".join(out)

    def write_adaptation(self, adaptation: bytes) -> bytes:
        """One packet without payload; the counter stays."""
        last = (self._counter - 1) & 0xF
        room = PACKET_SIZE - 5 - len(adaptation)
        head = bytes((SYNC_BYTE, self.pid >> 8, self.pid & 0xFF, 0x20 | last))
        return head + bytes((PACKET_SIZE - 5,)) + adaptation + b"\xff" * room

    def _head(self, head: int, control: int) -> bytes:
        counter = self._counter
        self._counter = (counter + 1) & 0xF
        return bytes((SYNC_BYTE, head >> 8, head & 0xFF, control | counter))


def _adaptation_field(field: bytes, stuffing: int) -> bytes:
    """`field` (flags and what they announce, or nothing), and stuffing to fill the packet."""
    if not field:
        if stuffing == 1:
            return b"\x00"
        field, stuffing = b"\x00", stuffing - 2
    return bytes((len(field) + stuffing,)) + field + b"\xff" * stuffing
