"""Where the packets of a frame lie in the send buffer, the same for every viewer.

Packets of equal size lie edge to edge, so that the kernel cuts one long buffer into datagrams
(UDP_SEGMENT, generic segmentation offload). The views into the buffer are made once a frame, not
once a packet and viewer: making them would cost as much as encrypting.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

HEADER: Final = 12
"""Bytes of an RTP header as we write it: no extension, no contributing sources."""

MAX_PAYLOAD: Final = 1170
"""Bytes: with RTP header, the two bytes of RTX and the longest tag that is a datagram of 1200."""

MAX_SEGMENTS: Final = 64
"""The kernel's UDP_MAX_SEGMENTS before Linux 5.12 or so, kept as the bound everywhere."""

MAX_GROUP: Final = 65_000
"""Bytes of one group; a UDP datagram carries no more than 65,507."""

RTP_VERSION: Final = 0x8000
MARKER: Final = 0x80

_ROC: Final = 4

Slot: TypeAlias = tuple[int, bytes, memoryview, memoryview, memoryview, memoryview]
"""A packet's place: first two header bytes without the payload type; plain payload; views of
header, of body and tag, of what a SHA-1 tag signs (header, body, four bytes more), and of the
tag."""


@dataclass(frozen=True, slots=True)
class Group:
    """Packets for one system call: all `segment` bytes long, the last perhaps shorter."""

    slots: tuple[Slot, ...]
    view: memoryview
    segment: int


class SendBuffer:
    """64 kB that every frame of a track is protected in, one viewer after the other."""

    def __init__(self) -> None:
        self._view = memoryview(bytearray(MAX_GROUP))

    def lay_out(
        self, fragments: Sequence[bytes], *, overhead: int, marker: bool
    ) -> tuple[Group, ...]:
        """The groups of one frame; each begins at the buffer's start, so send one before sealing
        the next. `overhead` is what protection adds to a packet, `marker` whether the frame's last
        packet carries the marker bit."""
        groups = []
        for run in equal_runs(fragments, overhead=overhead):
            slots = []
            at = 0
            for number in run:
                payload = fragments[number]
                flags = RTP_VERSION
                if marker and number == len(fragments) - 1:
                    flags |= MARKER
                slots.append(self._slot(at, flags, payload, overhead))
                at += HEADER + len(payload) + overhead
            segment = HEADER + len(fragments[run[0]]) + overhead
            groups.append(Group(tuple(slots), self._view[:at], segment))
        return tuple(groups)

    def _slot(self, at: int, flags: int, payload: bytes, overhead: int) -> Slot:
        view = self._view
        body = at + HEADER
        tag = body + len(payload)
        return (
            flags,
            payload,
            view[at:body],
            view[body : tag + overhead],
            view[at : tag + _ROC],
            view[tag : tag + overhead],
        )


def equal_size(length: int, most: int) -> int:
    """The smallest size, no more than `most`, whose multiples cover `length` in as few pieces as
    possible; all but the last piece have it."""
    pieces = -(-length // most)
    return -(-length // pieces)


def equal_runs(fragments: Sequence[bytes], *, overhead: int) -> list[range]:
    """Splits a frame where a packet's size differs from its predecessor's; a shorter one may still
    close its run. Bounded by `MAX_SEGMENTS` and `MAX_GROUP`."""
    runs = []
    start = 0
    while start < len(fragments):
        size = len(fragments[start])
        most = min(MAX_SEGMENTS, MAX_GROUP // (HEADER + size + overhead))
        end = start + 1
        while end < len(fragments) and end - start < most and len(fragments[end]) <= size:
            end += 1
            if len(fragments[end - 1]) < size:
                break
        runs.append(range(start, end))
        start = end
    return runs
