"""The demuxer: bytes of a transport stream in, tracks and access units out. No I/O, no clock."""

from collections.abc import Sequence
from typing import Final

from media.errors import InvalidBitstream
from media.mpegts import opus_units
from media.mpegts.packets import (
    PACKET_SIZE,
    PID_FIRST_FREE,
    PID_NULL,
    PID_PAT,
    STRIDES,
    SYNC_BYTE,
    PidStream,
)
from media.mpegts.pes import PesAssembler
from media.mpegts.pictures import VideoReader
from media.mpegts.sound import AacReader, OpusReader, adts_reader, latm_reader
from media.mpegts.tables import (
    TYPE_AAC_ADTS,
    TYPE_AAC_LATM,
    TYPE_AC3,
    TYPE_EAC3,
    TYPE_H264,
    TYPE_HEVC,
    TYPE_MPEG1_AUDIO,
    TYPE_MPEG1_VIDEO,
    TYPE_MPEG2_AUDIO,
    TYPE_MPEG2_VIDEO,
    Entry,
    Pmt,
    Sections,
    parse_pat,
    parse_pmt,
)
from media.mpegts.times import Unwrapper
from media.stream import AUDIO, VIDEO
from media.units import AccessUnit, Codec, Kind, Track, TrackId

_FOREIGN: Final = {
    TYPE_MPEG1_VIDEO: "MPEG-1 video",
    TYPE_MPEG2_VIDEO: "MPEG-2 video",
    TYPE_MPEG1_AUDIO: "MPEG-1 audio (MP2 or MP3)",
    TYPE_MPEG2_AUDIO: "MPEG-2 audio (MP2 or MP3)",
    TYPE_AC3: "AC-3 audio",
    TYPE_EAC3: "E-AC-3 audio",
}
_FOREIGN_PRIVATE: Final = {
    b"AV01": "AV1 video",
    b"AC-3": "AC-3 audio",
    b"EAC3": "E-AC-3 audio",
    b"BSSD": "SMPTE 302M audio",
    b"Opus": "Opus audio with an unknown arrangement of channels",
}
_CODECS: Final = {
    TYPE_H264: Codec.H264,
    TYPE_HEVC: Codec.HEVC,
    TYPE_AAC_ADTS: Codec.AAC,
    TYPE_AAC_LATM: Codec.AAC,
}
_SYNC_AFTER: Final = 3
"""So many sync bytes in the right places make a beginning."""

_Reader = VideoReader | AacReader | OpusReader


class _Elementary:
    """An elementary stream in use."""

    def __init__(self, entry: Entry, codec: Codec, reader: _Reader) -> None:
        self.entry = entry
        self.codec = codec
        self.reader = reader
        self.assembler = PesAssembler(reader)
        self.packets = PidStream(self.assembler)

    @property
    def track(self) -> TrackId:
        return VIDEO if self.codec.kind is Kind.VIDEO else AUDIO

    @property
    def damaged(self) -> int:
        return self.reader.damaged + self.assembler.damaged


class TsDemuxer:
    """Reads the first programme of a stream, of it the first video and the first audio track
    (`VIDEO`, `AUDIO`) whose codec we carry.

    Nothing that a sender does makes it raise; what is damaged is left out and counted:

    - A gap in a continuity counter drops the unit that was under way, and no other: the next
      one is given although a picture may refer to what is missing, as every decoder conceals
      that, whereas waiting for a keyframe would freeze the picture for seconds.
    - Times are ticks of 90 kHz that go on past 33 bits, for both tracks together.

    Memory: at most two PES packets and two pictures under way, each of at most `MAX_PES` bytes.
    """

    def __init__(self) -> None:
        self._out: list[Track | AccessUnit] = []
        self._buffer = b""
        self._stride = 0
        self._clock = Unwrapper()
        self._pat = Sections(self._on_pat)
        self._pmt = Sections(self._on_pmt)
        self._programme = 0
        self._pmt_pid = PID_NULL
        self._elementary: list[_Elementary] = []
        self._unsupported: tuple[str, ...] = ()
        self._pids: dict[int, PidStream] = {PID_PAT: PidStream(self._pat)}
        self._old_errors = 0
        self._old_broken = 0
        self._old_damaged = 0
        self._old_scrambled = 0
        self.resyncs = 0

    @property
    def continuity_errors(self) -> int:
        """Gaps in the continuity counters of tables and tracks."""
        return self._old_errors + sum(stream.errors for stream in self._pids.values())

    @property
    def damaged_units(self) -> int:
        """Access units, or PES packets of them, that were dropped."""
        return self._old_damaged + sum(stream.damaged for stream in self._elementary)

    @property
    def scrambled_packets(self) -> int:
        return self._old_scrambled + sum(stream.scrambled for stream in self._pids.values())

    @property
    def broken_tables(self) -> int:
        """Sections whose CRC is wrong, or whose length is impossible."""
        return self._old_broken + self._pat.broken + self._pmt.broken

    @property
    def unsupported(self) -> Sequence[str]:
        """What the programme has and we leave out, in plain words."""
        return self._unsupported

    @property
    def tracks(self) -> frozenset[TrackId]:
        """The tracks that the programme has by now, whether units of them came or not."""
        return frozenset(stream.track for stream in self._elementary)

    def feed(self, data: bytes) -> list[Track | AccessUnit]:
        """Takes any piece of the stream; gives what became complete by it, in order."""
        if self._buffer:
            data = self._buffer + data
        position = self._run(data, 0)
        self._buffer = data[position:]
        return self._take()

    def flush(self) -> list[Track | AccessUnit]:
        """Gives what is still held, at the end of the stream."""
        data, self._buffer = self._buffer, b""
        for position in range(0, len(data) - PACKET_SIZE + 1, self._stride or PACKET_SIZE):
            if data[position] != SYNC_BYTE:
                break
            self._packet(data, position)
        for stream in self._elementary:
            stream.assembler.finish()
        return self._take()

    def _take(self) -> list[Track | AccessUnit]:
        out, self._out = self._out, []
        return out

    def _emit(self, item: Track | AccessUnit) -> None:
        self._out.append(item)

    # Packets

    def _run(self, data: bytes, position: int) -> int:
        """Takes the whole packets from `position` on; gives where the rest begins."""
        while True:
            if not self._stride:
                position = self._synchronize(data, position)
                if not self._stride:
                    return position
            stride = self._stride
            last = len(data) - stride
            pids = self._pids
            while position <= last and data[position] == SYNC_BYTE:
                stream = pids.get((data[position + 1] & 0x1F) << 8 | data[position + 2])
                if stream is not None:
                    stream.take(data, position)
                position += stride
            if position > last:
                return position
            self._stride = 0
            self.resyncs += 1

    def _packet(self, data: bytes, position: int) -> None:
        stream = self._pids.get((data[position + 1] & 0x1F) << 8 | data[position + 2])
        if stream is not None:
            stream.take(data, position)

    def _synchronize(self, data: bytes, position: int) -> int:
        """Looks for sync bytes in the right places, and sets the stride if they are there.
        Gives where packets begin, or what need not be looked at again."""
        end = len(data)
        while True:
            position = data.find(SYNC_BYTE, position)
            if position < 0:
                return end
            for stride in STRIDES:
                places = range(position, position + _SYNC_AFTER * stride, stride)
                if places[-1] >= end:
                    # Not enough to tell.
                    return position
                if all(data[place] == SYNC_BYTE for place in places):
                    self._stride = stride
                    return position
            position += 1

    # Tables

    def _on_pat(self, section: bytes) -> None:
        found = parse_pat(section)
        if found is None or found == (self._programme, self._pmt_pid):
            return
        pid = found[1]
        if not PID_FIRST_FREE <= pid < PID_NULL:
            return
        self._drop(self._elementary)
        self._forget_pid(self._pmt_pid)
        self._old_broken += self._pmt.broken
        self._programme, self._pmt_pid = found
        self._pmt = Sections(self._on_pmt)
        self._pids[pid] = PidStream(self._pmt)

    def _on_pmt(self, section: bytes) -> None:
        try:
            table = parse_pmt(section)
        except InvalidBitstream:
            self._pmt.broken += 1
            return
        if table is not None and table.programme == self._programme:
            self._apply(table)

    def _apply(self, table: Pmt) -> None:
        """Uses the tracks of this table; those that stay as they were go on undisturbed."""
        chosen: dict[Kind, tuple[Entry, Codec]] = {}
        unsupported: list[str] = []
        for entry in table.entries:
            codec = _codec(entry)
            usable = PID_FIRST_FREE <= entry.pid < PID_NULL and entry.pid != self._pmt_pid
            if codec is None or not usable:
                foreign = _foreign(entry)
                if foreign:
                    unsupported.append(foreign)
            elif codec.kind in chosen:
                unsupported.append(f"a further {codec.kind} track ({codec})")
            else:
                chosen[codec.kind] = (entry, codec)
        wanted = {entry.pid: (entry, codec) for entry, codec in chosen.values()}
        kept = [s for s in self._elementary if wanted.get(s.entry.pid) == (s.entry, s.codec)]
        self._drop([stream for stream in self._elementary if stream not in kept])
        for stream in kept:
            del wanted[stream.entry.pid]
        self._elementary = kept
        for pid, (entry, codec) in wanted.items():
            added = _Elementary(entry, codec, self._reader(entry, codec))
            self._elementary.append(added)
            self._pids[pid] = added.packets
        self._unsupported = tuple(dict.fromkeys(unsupported))

    def _reader(self, entry: Entry, codec: Codec) -> _Reader:
        if codec.kind is Kind.VIDEO:
            return VideoReader(VIDEO, codec, self._clock, self._emit)
        config = opus_units.config_of(entry)
        if config is not None:
            return OpusReader(AUDIO, self._clock, self._emit, config)
        if entry.stream_type == TYPE_AAC_LATM:
            return latm_reader(AUDIO, self._clock, self._emit)
        return adts_reader(AUDIO, self._clock, self._emit)

    def _drop(self, streams: list[_Elementary]) -> None:
        """These tracks end here; what is whole of them is given first."""
        for stream in streams:
            stream.assembler.finish()
            self._old_damaged += stream.damaged
            self._forget_pid(stream.entry.pid)
        self._elementary = [stream for stream in self._elementary if stream not in streams]

    def _forget_pid(self, pid: int) -> None:
        stream = self._pids.pop(pid, None)
        if stream is not None:
            self._old_errors += stream.errors
            self._old_scrambled += stream.scrambled


def _codec(entry: Entry) -> Codec | None:
    if opus_units.config_of(entry) is not None:
        return Codec.OPUS
    return _CODECS.get(entry.stream_type)


def _foreign(entry: Entry) -> str | None:
    """Names what a streamer would miss; data streams (cues, metadata) are passed over."""
    return _FOREIGN.get(entry.stream_type) or _FOREIGN_PRIVATE.get(entry.registration)
