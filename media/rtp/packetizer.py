"""Access units into RTP payloads: H.264 (RFC 6184), HEVC (RFC 7798), Opus (RFC 7587); AV1 has its
file.

The payloads of one picture are of equal size as far as the format lets them: equal packets can be
handed to the kernel in one call (see `media.rtp.layout`). Nothing of the bitstream is changed.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Protocol

from media.codecs.h264 import AvcConfig
from media.codecs.hevc import HvcConfig
from media.codecs.nal import split_length_prefixed
from media.codecs.opus import packet_samples
from media.errors import UnsupportedCodec
from media.rtp.av1 import Av1Cutter
from media.rtp.layout import MAX_PAYLOAD, equal_size
from media.units import CLOCK_RATE, AccessUnit, Codec, Track

OPUS_RATE: Final = 48_000
"""The RTP clock of Opus, whatever rate it was coded at (RFC 7587 section 4.1)."""

OPUS_MAX: Final = 1400
"""Bytes of a packet; it cannot be split, and the longest frame of 20 ms has 1275 (RFC 6716 3.4)."""

OPUS_TOLERANCE: Final = 480
"""Samples (10 ms) that a packet's time may be off before sound is no longer taken as continuous."""


class FrameCutter(Protocol):
    """Cuts the units of one track; follows changes of its parameters through `set_track`."""

    clock_rate: int
    marks: bool
    """Whether a unit's last packet carries the marker bit."""

    def set_track(self, track: Track) -> None: ...

    def cut(self, unit: AccessUnit) -> tuple[bytes, ...]:
        """The payloads, none longer than `MAX_PAYLOAD`; raises `InvalidBitstream`."""
        ...

    def timestamp(self, unit: AccessUnit) -> int:
        """The unit's time on the RTP clock, not yet cut to 32 bits. Call once for each unit."""
        ...


def cutter_for(track: Track) -> FrameCutter:
    """Raises `UnsupportedCodec` for AAC, which browsers do not take over RTP."""
    match track.codec:
        case Codec.H264:
            return H264Cutter(track)
        case Codec.HEVC:
            return HevcCutter(track)
        case Codec.AV1:
            return Av1Cutter(track)
        case Codec.OPUS:
            return OpusCutter()
        case Codec.AAC:
            raise UnsupportedCodec("AAC cannot be sent over WebRTC")


class _NalCutter:
    """What H.264 and HEVC have in common: small NAL units share a packet, large ones are split.

    Before every keyframe go the parameter sets, in one packet with what else is small there.
    """

    clock_rate = CLOCK_RATE
    marks = True
    header_length: ClassVar[int]

    def __init__(self, track: Track) -> None:
        self._parameter_sets: tuple[bytes, ...] = ()
        self.set_track(track)

    def set_track(self, track: Track) -> None:
        raise NotImplementedError

    def timestamp(self, unit: AccessUnit) -> int:
        return unit.pts

    def cut(self, unit: AccessUnit) -> tuple[bytes, ...]:
        nals: Sequence[bytes] = split_length_prefixed(unit.payload)
        if unit.keyframe:
            nals = (*self._parameter_sets, *nals)
        payloads: list[bytes] = []
        together: list[bytes] = []
        room = MAX_PAYLOAD - self.header_length
        for nal in nals:
            if len(nal) <= self.header_length:
                continue
            if together and 2 + len(nal) > room:
                payloads.append(self._join(together))
                together, room = [], MAX_PAYLOAD - self.header_length
            if 2 + len(nal) <= room:
                together.append(nal)
                room -= 2 + len(nal)
            elif len(nal) <= MAX_PAYLOAD:
                payloads.append(nal)
            else:
                payloads.extend(self._split(nal))
        if together:
            payloads.append(self._join(together))
        return tuple(payloads)

    def _join(self, nals: list[bytes]) -> bytes:
        if len(nals) == 1:
            return nals[0]
        parts = [self._aggregation_header(nals)]
        for nal in nals:
            parts.append(len(nal).to_bytes(2, "big"))
            parts.append(nal)
        return b"".join(parts)

    def _split(self, nal: bytes) -> Iterator[bytes]:
        """Fragments of equal length, only the last one shorter."""
        start, middle, end = self._fragment_headers(nal)
        body = self.header_length
        length = len(nal) - body
        size = equal_size(length, MAX_PAYLOAD - len(start))
        header = start
        for at in range(body, len(nal), size):
            if at + size >= len(nal):
                header = end
            yield header + nal[at : at + size]
            header = middle

    def _aggregation_header(self, nals: list[bytes]) -> bytes:
        raise NotImplementedError

    def _fragment_headers(self, nal: bytes) -> tuple[bytes, bytes, bytes]:
        """Of the first fragment, of those between, of the last."""
        raise NotImplementedError


class H264Cutter(_NalCutter):
    """RFC 6184, packetization mode 1: single NAL units, STAP-A (24) and FU-A (28)."""

    header_length = 1

    def set_track(self, track: Track) -> None:
        config = AvcConfig.parse(track.config)
        self._parameter_sets = (*config.sps, *config.pps)

    def _aggregation_header(self, nals: list[bytes]) -> bytes:
        # Section 5.7.1: forbidden bit if any has it, the highest reference importance of all.
        forbidden = max(nal[0] & 0x80 for nal in nals)
        return bytes((forbidden | max(nal[0] & 0x60 for nal in nals) | 24,))

    def _fragment_headers(self, nal: bytes) -> tuple[bytes, bytes, bytes]:
        indicator = nal[0] & 0xE0 | 28
        kind = nal[0] & 0x1F
        return (
            bytes((indicator, 0x80 | kind)),
            bytes((indicator, kind)),
            bytes((indicator, 0x40 | kind)),
        )


class HevcCutter(_NalCutter):
    """RFC 7798 without decoding order numbers: single NAL units, AP (48) and FU (49)."""

    header_length = 2

    def set_track(self, track: Track) -> None:
        config = HvcConfig.parse(track.config)
        self._parameter_sets = (*config.vps, *config.sps, *config.pps)

    def _aggregation_header(self, nals: list[bytes]) -> bytes:
        # Section 4.4.2: the lowest layer and temporal id of those inside.
        forbidden = max(nal[0] & 0x80 for nal in nals)
        layer = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
        temporal = min(nal[1] & 7 for nal in nals)
        return bytes((forbidden | 48 << 1 | layer >> 5, (layer & 0x1F) << 3 | temporal))

    def _fragment_headers(self, nal: bytes) -> tuple[bytes, bytes, bytes]:
        header = bytes((nal[0] & 0x81 | 49 << 1, nal[1]))
        kind = nal[0] >> 1 & 0x3F
        return (
            header + bytes((0x80 | kind,)),
            header + bytes((kind,)),
            header + bytes((0x40 | kind,)),
        )


class OpusCutter:
    """One packet a unit. Timestamps count samples, so that the receiver sees no false gaps: an
    ingest clock in milliseconds would jitter by up to one, and every odd step costs a stretch of
    sound."""

    clock_rate = OPUS_RATE
    marks = False

    def __init__(self) -> None:
        self._next: int | None = None

    def set_track(self, track: Track) -> None:
        self._next = None

    def cut(self, unit: AccessUnit) -> tuple[bytes, ...]:
        return (unit.payload,) if 0 < len(unit.payload) <= OPUS_MAX else ()

    def timestamp(self, unit: AccessUnit) -> int:
        true = unit.pts * OPUS_RATE // CLOCK_RATE
        if self._next is not None and abs(true - self._next) <= OPUS_TOLERANCE:
            true = self._next
        self._next = true + packet_samples(unit.payload)
        return true
