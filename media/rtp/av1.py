"""AV1 into RTP payloads (RTP Payload Format for AV1, AOMedia 2022, section 4).

A payload is an aggregation header and OBU elements. An element may be cut anywhere, so the elements
of a frame are poured into packets of one size, and only the last packet is shorter.
"""

from typing import Final

from media.codecs.av1 import OBU_SEQUENCE_HEADER, OBU_TEMPORAL_DELIMITER, split_obus
from media.rtp.layout import MAX_PAYLOAD, equal_size
from media.units import CLOCK_RATE, AccessUnit, Track

_CONTINUES: Final = 0x80
_CONTINUED: Final = 0x40
_NEW_SEQUENCE: Final = 0x08

_CONFIG_HEAD: Final = 4
_COUNTED: Final = 3
"""As many elements a packet may have for its last one to go without a length."""


class Av1Cutter:
    """Puts the sequence header before a keyframe that does not bring its own."""

    clock_rate = CLOCK_RATE
    marks = True

    def __init__(self, track: Track) -> None:
        self._configuration: list[bytes] = []
        self.set_track(track)

    def set_track(self, track: Track) -> None:
        obus = split_obus(track.config[_CONFIG_HEAD:])
        self._configuration = [
            obu.without_size() for obu in obus if obu.type == OBU_SEQUENCE_HEADER
        ]

    def timestamp(self, unit: AccessUnit) -> int:
        return unit.pts

    def cut(self, unit: AccessUnit) -> tuple[bytes, ...]:
        obus = [obu for obu in split_obus(unit.payload) if obu.type != OBU_TEMPORAL_DELIMITER]
        elements = [obu.without_size() for obu in obus]
        if unit.keyframe and all(obu.type != OBU_SEQUENCE_HEADER for obu in obus):
            elements = self._configuration + elements
        return _pour(elements, new_sequence=unit.keyframe)


def _pour(elements: list[bytes], *, new_sequence: bool) -> tuple[bytes, ...]:
    # Each packet has one byte of header; elements that share a packet have lengths of up to 2
    # bytes.
    total = sum(map(len, elements)) + 2 * (len(elements) - 1)
    if total <= 0:
        return ()
    size = equal_size(total, MAX_PAYLOAD - 1)
    payloads: list[bytes] = []
    packet: list[bytes] = []
    room = size
    continues = False
    for element in elements:
        at = 0
        if len(packet) == _COUNTED:
            room -= 2  # With a fourth element, the last one needs its length too.
            if room <= 0:
                payloads.append(_payload(packet, continues, False, new_sequence and not payloads))
                continues = False
                packet, room = [], size
        while at < len(element):
            # With a length in front, a piece needs the length's own room.
            piece = element[at : at + room]
            at += len(piece)
            packet.append(piece)
            room -= len(piece) + 2
            if room <= 0 or at < len(element):
                payloads.append(
                    _payload(packet, continues, at < len(element), new_sequence and not payloads)
                )
                continues = at < len(element)
                packet, room = [], size
    if packet:
        payloads.append(_payload(packet, continues, False, new_sequence and not payloads))
    return tuple(payloads)


def _payload(pieces: list[bytes], continues: bool, continued: bool, new_sequence: bool) -> bytes:
    """All pieces but the last carry their length; with more than three of them the last one too."""
    count = len(pieces) if len(pieces) <= _COUNTED else 0
    header = count << 4
    if continues:
        header |= _CONTINUES
    if continued:
        header |= _CONTINUED
    if new_sequence:
        header |= _NEW_SEQUENCE
    parts = [bytes((header,))]
    for number, piece in enumerate(pieces):
        if count == 0 or number < len(pieces) - 1:
            parts.append(_leb128(len(piece)))
        parts.append(piece)
    return b"".join(parts)


def _leb128(value: int) -> bytes:
    low = value & 0x7F
    return bytes((low,)) if value < 0x80 else bytes((low | 0x80,)) + _leb128(value >> 7)
