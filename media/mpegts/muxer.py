"""The muxer: tracks and access units in, packets of a transport stream out. No I/O, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from media.codecs import aac, h264, hevc, opus
from media.codecs.nal import join_annexb, split_length_prefixed
from media.errors import UnsupportedCodec
from media.mpegts import opus_units
from media.mpegts.packets import CLOCK_WRAP, PID_NULL, PID_PAT, PacketWriter
from media.mpegts.pes import STREAM_AUDIO, STREAM_PRIVATE, STREAM_VIDEO, pes
from media.mpegts.tables import (
    TYPE_AAC_ADTS,
    TYPE_H264,
    TYPE_HEVC,
    TYPE_PRIVATE,
    Descriptor,
    Entry,
    Pmt,
    pat,
    pmt,
)
from media.units import CLOCK_RATE, AccessUnit, Codec, Kind, Track, TrackId

PCR_LEAD: Final = CLOCK_RATE // 5
"""The clock reference runs so many ticks behind the decoding times, which is how long a receiver
may hold a unit. Every pts and dts is written this much later than it came."""

PID_PMT: Final = 0x1000
PID_FIRST_TRACK: Final = 0x100
_PROGRAMME: Final = 1
_MAX_TRACKS: Final = 16

_TABLE_INTERVAL: Final = CLOCK_RATE // 2
_PCR_INTERVAL: Final = CLOCK_RATE * 80 // 1000
_MAX_PCR_PACKETS: Final = 20
"""Across a longer silence there is no clock to follow anyway."""

_DISCONTINUITY: Final = 0x80
_RANDOM_ACCESS: Final = 0x40
_PCR_FLAG: Final = 0x10

_H264_AUD: Final = b"\x09\xf0"
_HEVC_AUD: Final = b"\x46\x01\x50"


@dataclass(slots=True)
class _Output:
    """A track as it is written."""

    track: Track
    packets: PacketWriter
    entry: Entry
    stream_id: int
    parameter_sets: tuple[bytes, ...] = ()
    audio: aac.AudioConfig | None = None
    announce: bool = True
    """The parameter sets have to go before the next picture, keyframe or not."""


class TsMuxer:
    """One programme of up to 16 tracks. Announce each with `set_track`, then give units in the
    order of their dts; what comes out is whole packets, at once.

    Tables go before every video keyframe, after every change, and every half second; the clock
    reference at least every 100 ms of stream time (as far as units come that often). AV1 has no
    settled mapping to transport streams and is refused.
    """

    def __init__(self) -> None:
        self._outputs: dict[TrackId, _Output] = {}
        self._pat = PacketWriter(PID_PAT)
        self._pmt = PacketWriter(PID_PMT)
        self._pat_section = pat({_PROGRAMME: PID_PMT})
        self._pmt_section = b""
        self._version = -1
        self._entries: tuple[Entry, ...] = ()
        self._tables_due = True
        self._tables_at = 0
        self._pcr: int | None = None
        self._pcr_pid = PID_NULL
        self._next_pid = PID_FIRST_TRACK
        self._discontinuity = False

    @property
    def tracks(self) -> Sequence[Track]:
        return tuple(output.track for output in self._outputs.values())

    def set_track(self, track: Track) -> None:
        """Announces a track or its new parameters. Raises UnsupportedCodec (AV1, too many
        tracks) and InvalidBitstream (a broken config), and then nothing has changed."""
        known = self._outputs.get(track.id)
        if known is not None and known.track == track:
            return
        if known is None and len(self._outputs) >= _MAX_TRACKS:
            raise UnsupportedCodec(f"more than {_MAX_TRACKS} tracks")
        packets = known.packets if known is not None else PacketWriter(self._free_pid())
        self._outputs[track.id] = _output(track, packets)
        self._update_tables()

    def remove_track(self, track: TrackId) -> None:
        if self._outputs.pop(track, None) is not None:
            self._update_tables()

    def gap(self) -> None:
        """What follows is no continuation: receivers are told to set their clocks anew."""
        self._discontinuity = self._pcr is not None
        self._pcr = None
        self._tables_due = True

    def mux(self, unit: AccessUnit) -> bytes:
        """The packets of a unit; nothing for a track that was not announced. Raises
        InvalidBitstream for a payload that is not what its codec wants."""
        output = self._outputs.get(unit.track)
        if output is None:
            return b""
        stream_id, payload = output.stream_id, _payload(output, unit)
        packet = pes(stream_id, unit.pts + PCR_LEAD, unit.dts + PCR_LEAD, payload)
        parts: list[bytes] = []
        video_start = unit.keyframe and output.track.kind is Kind.VIDEO
        if self._tables_due or video_start or unit.dts - self._tables_at >= _TABLE_INTERVAL:
            parts.append(self._tables(unit.dts))
        parts.append(self._missed_references(unit.dts))
        flags = _RANDOM_ACCESS if video_start else 0
        field = self._adaptation(flags, unit.dts) if output.packets.pid == self._pcr_pid else b""
        if not field and flags:
            field = bytes((flags,))
        parts.append(output.packets.write(packet, field))
        return b"".join(parts)

    # Tables

    def _free_pid(self) -> int:
        """One that was not used lately: its counter starts anew."""
        used = {output.packets.pid for output in self._outputs.values()}
        while self._next_pid in used or self._next_pid >= PID_PMT:
            self._next_pid = self._next_pid + 1 if self._next_pid < PID_PMT else PID_FIRST_TRACK
        pid = self._next_pid
        self._next_pid += 1
        return pid

    def _update_tables(self) -> None:
        outputs = sorted(self._outputs.values(), key=lambda output: output.packets.pid)
        entries = tuple(output.entry for output in outputs)
        if entries == self._entries:
            return
        self._entries = entries
        videos = [output for output in outputs if output.track.kind is Kind.VIDEO]
        self._pcr_pid = next((o.packets.pid for o in (*videos, *outputs)), PID_NULL)
        self._version = (self._version + 1) % 32
        table = Pmt(_PROGRAMME, self._pcr_pid, entries)
        self._pmt_section = pmt(table, version=self._version)
        self._tables_due = True

    def _tables(self, now: int) -> bytes:
        self._tables_due = False
        self._tables_at = now
        # A pointer of 0: the section begins at once.
        return self._pat.write(_filled(self._pat_section)) + self._pmt.write(
            _filled(self._pmt_section)
        )

    # The clock reference

    def _adaptation(self, flags: int, now: int) -> bytes:
        """An adaptation field with the clock reference; empty if it would stand still."""
        if self._pcr is not None and now <= self._pcr:
            return bytes((flags,)) if flags else b""
        self._pcr = now
        if self._discontinuity:
            flags |= _DISCONTINUITY
            self._discontinuity = False
        return bytes((flags | _PCR_FLAG,)) + _pcr(now)

    def _missed_references(self, now: int) -> bytes:
        """Packets with nothing but clock references, where the track that carries them pauses."""
        if self._pcr is None or now - self._pcr > _MAX_PCR_PACKETS * _PCR_INTERVAL:
            return b""
        clock = next(o.packets for o in self._outputs.values() if o.packets.pid == self._pcr_pid)
        out: list[bytes] = []
        while now - self._pcr > _PCR_INTERVAL:
            out.append(clock.write_adaptation(self._adaptation(0, self._pcr + _PCR_INTERVAL)))
        return b"".join(out)


def _pcr(ticks: int) -> bytes:
    """33 bits of 90 kHz, 6 reserved ones, and no fraction in 27 MHz."""
    return ((ticks % CLOCK_WRAP) << 15 | 0x7E00).to_bytes(6, "big")


def _filled(section: bytes) -> bytes:
    """A section behind its pointer, and stuffing up to the end of its last packet."""
    data = b"\x00" + section
    return data + b"\xff" * (-len(data) % 184)


def _output(track: Track, packets: PacketWriter) -> _Output:
    pid = packets.pid
    match track.codec:
        case Codec.H264:
            avc = h264.AvcConfig.parse(track.config)
            sets = (*avc.sps, *avc.sps_ext, *avc.pps)
            return _Output(track, packets, Entry(TYPE_H264, pid), STREAM_VIDEO, sets)
        case Codec.HEVC:
            hvc = hevc.HvcConfig.parse(track.config)
            sets = (*hvc.vps, *hvc.sps, *hvc.pps)
            registration = (Descriptor(0x05, b"HEVC"),)
            entry = Entry(TYPE_HEVC, pid, registration)
            return _Output(track, packets, entry, STREAM_VIDEO, sets)
        case Codec.AAC:
            config = aac.AudioConfig.parse(track.config)
            aac.adts_header(config, 0)
            entry = Entry(TYPE_AAC_ADTS, pid)
            return _Output(track, packets, entry, STREAM_AUDIO, audio=config)
        case Codec.OPUS:
            descriptors = opus_units.descriptors(opus.OpusConfig.parse(track.config))
            entry = Entry(TYPE_PRIVATE, pid, descriptors)
            return _Output(track, packets, entry, STREAM_PRIVATE)
        case Codec.AV1:
            raise UnsupportedCodec("AV1 in a transport stream")


def _payload(output: _Output, unit: AccessUnit) -> bytes:
    match output.track.codec:
        case Codec.H264 | Codec.HEVC as codec:
            nals = split_length_prefixed(unit.payload)
            sets = output.parameter_sets if unit.keyframe or output.announce else ()
            output.announce = False
            return join_annexb([_H264_AUD if codec is Codec.H264 else _HEVC_AUD, *sets, *nals])
        case Codec.AAC:
            assert output.audio is not None
            return aac.adts_header(output.audio, len(unit.payload)) + unit.payload
        case Codec.OPUS:
            return opus_units.control_header(len(unit.payload)) + unit.payload
        case _:
            raise UnsupportedCodec(f"{output.track.codec} in a transport stream")
