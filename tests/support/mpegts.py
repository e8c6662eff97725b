"""A sender of transport streams that can be made to do everything wrong."""

from collections.abc import Iterator, Sequence

from media.mpegts.packets import PACKET_SIZE, PID_PAT, PacketWriter
from media.mpegts.pes import STREAM_AUDIO, STREAM_VIDEO, pes
from media.mpegts.tables import TYPE_AAC_ADTS, TYPE_H264, Entry, Pmt, pat, pmt
from media.units import AccessUnit, Track

PMT_PID = 0x20
VIDEO_PID = 0x31
AUDIO_PID = 0x32

H264_AND_AAC = (Entry(TYPE_H264, VIDEO_PID), Entry(TYPE_AAC_ADTS, AUDIO_PID))


def section_payload(section: bytes) -> bytes:
    return b"\x00" + section


class Sender:
    """Keeps the continuity counters, so that only what a test breaks is broken."""

    def __init__(self) -> None:
        self._writers: dict[int, PacketWriter] = {}

    def write(self, pid: int, data: bytes, adaptation: bytes = b"") -> bytes:
        return self._writers.setdefault(pid, PacketWriter(pid)).write(data, adaptation)

    def tables(
        self,
        entries: Sequence[Entry] = H264_AND_AAC,
        *,
        version: int = 0,
        pmt_pid: int = PMT_PID,
        programme: int = 1,
    ) -> bytes:
        table = pmt(Pmt(programme, VIDEO_PID, tuple(entries)), version=version)
        return self.write(PID_PAT, section_payload(pat({programme: pmt_pid}))) + self.write(
            pmt_pid, section_payload(table)
        )

    def video(
        self, pts: int | None, payload: bytes, *, dts: int | None = None, pid: int = VIDEO_PID
    ) -> bytes:
        """A PES packet whose length is left open, as encoders do; without `pts`, no times."""
        if pts is None:
            return self.write(pid, bytes((0, 0, 1, STREAM_VIDEO, 0, 0, 0x80, 0, 0)) + payload)
        packet = bytearray(pes(STREAM_VIDEO, pts, pts if dts is None else dts, payload))
        packet[4:6] = b"\x00\x00"
        return self.write(pid, bytes(packet))

    def audio(self, pts: int, payload: bytes, *, pid: int = AUDIO_PID) -> bytes:
        return self.write(pid, pes(STREAM_AUDIO, pts, pts, payload))


def packets(stream: bytes) -> Iterator[bytes]:
    for at in range(0, len(stream), PACKET_SIZE):
        yield stream[at : at + PACKET_SIZE]


def units_of(items: Sequence[Track | AccessUnit]) -> list[AccessUnit]:
    return [item for item in items if isinstance(item, AccessUnit)]


def tracks_of(items: Sequence[Track | AccessUnit]) -> list[Track]:
    return [item for item in items if isinstance(item, Track)]
