"""AAC: AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) and ADTS frames (1.A.2)."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from media.codecs.bits import BitReader, BitWriter
from media.errors import InvalidBitstream
from media.units import Codec, Track, TrackId

MAIN: Final = 1
LOW_COMPLEXITY: Final = 2
SBR: Final = 5
PARAMETRIC_STEREO: Final = 29

_RATES: Final = (
    96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350,
)  # fmt: skip
_CHANNELS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 8, 11: 7, 12: 8, 14: 8}
"""Channels by channelConfiguration (table 1.19)."""
_CONFIGURATIONS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 11, 8: 7}

_GENERAL_AUDIO: Final = frozenset({1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23})
_ERROR_RESILIENT: Final = frozenset({17, 19, 20, 21, 22, 23})
_SCALABLE: Final = frozenset({6, 20})
_BSAC: Final = 22
_ESCAPE: Final = 31

MAX_ADTS_FRAME: Final = 8191
_ADTS_HEADER: Final = 7
_PROGRAM_CONFIG: Final = 5


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """What an AudioSpecificConfig says, of the core that every decoder understands.

    `object_type` is the core's (2 for AAC-LC and for HE-AAC), `sample_rate` and `channels` are
    the core's too. Where spectral band replication is announced, `extension_rate` is the rate
    that comes out (0: not announced), and `parametric_stereo` makes two channels of one.
    `frame_samples` are at `sample_rate`.
    """

    object_type: int
    sample_rate: int
    channels: int
    extension_rate: int = 0
    parametric_stereo: bool = False
    frame_samples: int = 1024

    @classmethod
    def parse(cls, asc: bytes) -> "AudioConfig":
        """Raises InvalidBitstream, also for object types that are no AAC."""
        return cls.read(BitReader(asc), late_extension=True)

    @classmethod
    def read(cls, bits: BitReader, *, late_extension: bool) -> "AudioConfig":
        """Reads a config within something larger. `late_extension`: what is left of the bits
        belongs to it, and may announce spectral band replication."""
        kind = _read_object_type(bits)
        rate = _read_rate(bits)
        configuration = bits.read(4)
        extension_rate, stereo = 0, kind == PARAMETRIC_STEREO
        if kind in (SBR, PARAMETRIC_STEREO):
            extension_rate = _read_rate(bits)
            kind = _read_object_type(bits)
            if kind == _BSAC:
                bits.skip(4)
        if kind not in _GENERAL_AUDIO:
            raise InvalidBitstream(f"audio object type {kind} is no AAC")
        short, channels = _read_general_audio(bits, kind, configuration)
        if late_extension and not extension_rate:
            extension_rate, stereo = _read_late_extension(bits, kind)
        return cls(kind, rate, channels, extension_rate, stereo, 960 if short else 1024)

    @property
    def output_rate(self) -> int:
        return self.extension_rate or self.sample_rate

    @property
    def output_channels(self) -> int:
        return 2 if self.parametric_stereo and self.channels == 1 else self.channels

    @property
    def signalled_object_type(self) -> int:
        """The object type for codec strings: 29, 5 or the core's."""
        if self.parametric_stereo:
            return PARAMETRIC_STEREO
        return SBR if self.extension_rate else self.object_type

    def serialize(self) -> bytes:
        """An AudioSpecificConfig that tells extensions in front (hierarchical signalling).

        Raises InvalidBitstream for what has no channelConfiguration.
        """
        configuration = _CONFIGURATIONS.get(self.channels)
        if configuration is None or self.sample_rate >> 24 or self.extension_rate >> 24:
            raise InvalidBitstream(f"AAC with {self.channels} channels, {self.sample_rate} Hz")
        bits = BitWriter()
        _write_object_type(bits, self.signalled_object_type)
        _write_rate(bits, self.sample_rate)
        bits.write(configuration, 4)
        if self.signalled_object_type != self.object_type:
            _write_rate(bits, self.extension_rate or self.sample_rate)
            _write_object_type(bits, self.object_type)
        bits.write(self.frame_samples == 960, 1)
        bits.write(0, 2)
        return bits.serialize()


def _read_object_type(bits: BitReader) -> int:
    kind = bits.read(5)
    return 32 + bits.read(6) if kind == _ESCAPE else kind


def _write_object_type(bits: BitWriter, kind: int) -> None:
    if kind < _ESCAPE:
        bits.write(kind, 5)
    else:
        bits.write(_ESCAPE, 5)
        bits.write(kind - 32, 6)


def _read_rate(bits: BitReader) -> int:
    index = bits.read(4)
    rate = bits.read(24) if index == 15 else _RATES[index] if index < len(_RATES) else 0
    if not rate:
        raise InvalidBitstream("AAC without a sample rate")
    return rate


def _write_rate(bits: BitWriter, rate: int) -> None:
    if rate in _RATES:
        bits.write(_RATES.index(rate), 4)
    else:
        bits.write(15, 4)
        bits.write(rate, 24)


def _read_general_audio(bits: BitReader, kind: int, configuration: int) -> tuple[bool, int]:
    """GASpecificConfig (4.4.1): whether frames have 960 samples, and the channels."""
    short = bits.flag()
    if bits.flag():
        bits.skip(14)
    extension = bits.flag()
    channels = _CHANNELS.get(configuration, 0)
    if configuration == 0:
        channels = _read_program_config(bits)
    if not channels:
        raise InvalidBitstream(f"AAC channel configuration {configuration}")
    if kind in _SCALABLE:
        bits.skip(3)
    if extension:
        if kind == _BSAC:
            bits.skip(16)
        if kind in _ERROR_RESILIENT and kind not in (_BSAC,):
            bits.skip(3)
        bits.skip(1)
    return short, channels


def _read_program_config(bits: BitReader) -> int:
    """program_config_element() (4.4.1.1); gives the number of channels."""
    bits.skip(10)
    front, side, back = bits.read(4), bits.read(4), bits.read(4)
    effects, data, coupling = bits.read(2), bits.read(3), bits.read(4)
    for width in (4, 4, 3):
        if bits.flag():
            bits.skip(width)
    channels = effects
    for _ in range(front + side + back):
        channels += 2 if bits.flag() else 1
        bits.skip(4)
    bits.skip(4 * effects + 4 * data + 5 * coupling)
    bits.align()
    bits.skip(8 * bits.read(8))
    return channels


def _read_late_extension(bits: BitReader, kind: int) -> tuple[int, bool]:
    """The backward compatible signalling behind the core's config (1.6.6.1)."""
    if kind in _ERROR_RESILIENT:
        bits.skip(min(2, bits.left))
    if bits.left < 16 or bits.read(11) != 0x2B7 or _read_object_type(bits) != SBR:
        return 0, False
    if not bits.left or not bits.flag():
        return 0, False
    rate = _read_rate(bits)
    if bits.left >= 12 and bits.read(11) == 0x548:
        return rate, bits.flag()
    return rate, False


def track(track_id: TrackId, asc: bytes) -> Track:
    """The track of an AudioSpecificConfig; rate and channels are the core's, so that a unit
    lasts 1024 samples of `sample_rate` with HE-AAC as well. Raises InvalidBitstream."""
    config = AudioConfig.parse(asc)
    return Track(
        id=track_id,
        codec=Codec.AAC,
        config=asc,
        sample_rate=config.sample_rate,
        channels=config.channels,
    )


# ADTS


def split_adts(data: bytes) -> tuple[list[tuple[AudioConfig, bytes]], bytes]:
    """The raw frames in a piece of an ADTS stream, and its unfinished rest (< 8 KiB).

    A frame counts as one if another or nothing follows it; other bytes are passed over. A frame
    with several raw blocks can be split only where it carries their positions (with a CRC);
    without them it is passed over as well.
    """
    frames: list[tuple[AudioConfig, bytes]] = []
    position, end = 0, len(data)
    while True:
        position = data.find(b"\xff", position)
        if position < 0:
            return frames, b""
        if end - position < _ADTS_HEADER:
            return frames, data[position:]
        size = _adts_size(data, position)
        if not size:
            position += 1
            continue
        if position + size > end:
            return frames, data[position:]
        follower = data[position + size : position + size + 2]
        if follower[:1] in (b"", b"\xff") and (len(follower) < 2 or _is_sync(follower[1])):
            frames += _read_adts(data[position : position + size])
            position += size
        else:
            position += 1


def _adts_size(data: bytes, at: int) -> int:
    """The size of the frame whose header starts here, 0 if none does."""
    if not _is_sync(data[at + 1]) or (data[at + 2] >> 2) & 0xF >= len(_RATES):
        return 0
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return size if size > _ADTS_HEADER else 0


def _is_sync(second: int) -> bool:
    """Whether this may follow 0xFF: the rest of the syncword, and layer 0."""
    return second & 0xF6 == 0xF0


def _read_adts(frame: bytes) -> list[tuple[AudioConfig, bytes]]:
    """The raw blocks of a whole frame; none if they cannot be told apart."""
    guarded = not frame[1] & 1
    blocks = frame[6] & 3
    start = _ADTS_HEADER + (2 * blocks + 2 if guarded else 0)
    if start >= len(frame) or (blocks and not guarded):
        return []
    cuts = [start]
    for index in range(blocks):
        at = _ADTS_HEADER + 2 * index
        cuts.append(start + int.from_bytes(frame[at : at + 2], "big"))
    cuts.append(len(frame))
    if blocks and any(later - earlier < 3 for earlier, later in pairwise(cuts)):
        return []
    # Each of several guarded blocks is followed by its own CRC.
    tail = 2 if blocks else 0
    raw = [frame[a : b - tail] for a, b in pairwise(cuts)]
    try:
        config = _adts_config(frame, raw[0])
    except InvalidBitstream:
        return []
    return [(config, block) for block in raw]


def _adts_config(frame: bytes, block: bytes) -> AudioConfig:
    configuration = (frame[2] & 1) << 2 | frame[3] >> 6
    channels = _CHANNELS.get(configuration, 0)
    if not channels:
        channels = _inband_channels(block)
    return AudioConfig((frame[2] >> 6) + 1, _RATES[(frame[2] >> 2) & 0xF], channels)


def _inband_channels(block: bytes) -> int:
    """Channels of a frame whose header leaves them to the block: to its program config, and
    where it has none to two single channels, as in bilingual broadcasts."""
    bits = BitReader(block[:256])
    if bits.read(3) != _PROGRAM_CONFIG:
        return 2
    return _read_program_config(bits)


def adts_header(config: AudioConfig, size: int) -> bytes:
    """The header for one raw frame of `size` bytes; raises InvalidBitstream for what ADTS
    cannot say (object types above 4, odd rates, frames of more than 8184 bytes)."""
    configuration = _CONFIGURATIONS.get(config.channels, 0)
    total = size + _ADTS_HEADER
    if (
        not 1 <= config.object_type <= 4
        or config.sample_rate not in _RATES
        or not 1 <= configuration <= 7
        or total > MAX_ADTS_FRAME
    ):
        raise InvalidBitstream(f"not for ADTS: {config}, {size} bytes")
    rate = _RATES.index(config.sample_rate)
    return bytes(
        (
            0xFF,
            0xF1,
            (config.object_type - 1) << 6 | rate << 2 | configuration >> 2,
            (configuration & 3) << 6 | total >> 11,
            (total >> 3) & 0xFF,
            (total & 7) << 5 | 0x1F,
            0xFC,
        )
    )


def without_extensions(config: AudioConfig) -> AudioConfig:
    """The core alone, as an ADTS header would say it."""
    return replace(config, extension_rate=0, parametric_stereo=False)
