"""CMAF as this packager writes it: an initialization segment, then fragments (`moof`, `mdat`).

ISO/IEC 14496-12 (boxes), 14496-14 (`mp4a`/`esds`), 14496-15 (`avc1`, `hvc1`), 23000-19 (CMAF), and
the ISOBMFF bindings of AV1 and Opus. One track for each file, one `traf` and one `trun` for each
fragment, offsets relative to the `moof`. There is no edit list: composition offsets are signed
(`trun` version 1), so the first picture of a segment is shown at its `tfdt`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from struct import pack
from typing import Final

from media.codecs.aac import AudioConfig
from media.errors import InvalidBitstream
from media.units import CLOCK_RATE, Codec, Kind, Track

TRACK_ID: Final = 1
LEAST_RATE: Final = 4_000
MOST_RATE: Final = 192_000

_SYNC: Final = 0x0200_0000  # depends on no other sample
_DEPENDENT: Final = 0x0101_0000  # depends on others, is no sync sample
_IDENTITY: Final = pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)

_TFHD_BASE_IS_MOOF: Final = 0x020000
_TFHD_DURATION: Final = 0x08
_TFHD_FLAGS: Final = 0x20
_TRUN_OFFSET: Final = 0x001
_TRUN_DURATION: Final = 0x100
_TRUN_SIZE: Final = 0x200
_TRUN_FLAGS: Final = 0x400
_TRUN_COMPOSITION: Final = 0x800

_PICTURE_BOXES: Final = {
    Codec.H264: (b"avc1", b"avcC"),
    Codec.HEVC: (b"hvc1", b"hvcC"),
    Codec.AV1: (b"av01", b"av1C"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One coded picture or frame of sound, in ticks of its track's timescale.

    `offset` is presentation minus decoding time and may be negative.
    """

    time: int
    duration: int
    offset: int
    keyframe: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """`rate` is the timescale, `frame` the samples at that rate that each unit decodes to."""

    rate: int
    frame: int


def sound_format(track: Track) -> SoundFormat:
    """The core rate and frame length of AAC (with SBR, the output has twice as many samples at
    twice the rate), or those of Opus packets of 20 ms. Raises `InvalidBitstream`."""
    if track.codec is Codec.OPUS:
        return SoundFormat(48_000, 960)
    config = AudioConfig.parse(track.config)
    if not LEAST_RATE <= config.sample_rate <= MOST_RATE:
        raise InvalidBitstream(f"a sample rate of {config.sample_rate} Hz")
    return SoundFormat(config.sample_rate, config.frame_samples)


def timescale(track: Track) -> int:
    return sound_format(track).rate if track.kind is Kind.AUDIO else CLOCK_RATE


def silence(track: Track) -> bytes | None:
    """A frame of digital silence to stand in for one that was lost: AAC, mono or stereo, with no
    spectral data (ISO/IEC 14496-3, 4.4.2: max_sfb of zero); None for what we cannot make."""
    channels = AudioConfig.parse(track.config).channels if track.codec is Codec.AAC else 0
    if channels not in (1, 2):
        return None
    if channels == 1:
        # SCE, tag, global_gain, ics_info, no pulse, no tns, no gain control; END
        text = "00000000000000000000000000000111"
    else:
        ics = "00000000000"
        text = "001000010000000000000" + ics + ics + "111"
    text = text.ljust(-(-len(text) // 8) * 8, "0")
    return int(text, 2).to_bytes(len(text) // 8, "big")


def initialization(track: Track) -> bytes:
    """`ftyp` and `moov` for a track. Raises `InvalidBitstream` for a senseless configuration."""
    scale = timescale(track)
    if max(track.width, track.height) >= 1 << 16:
        raise InvalidBitstream(f"a picture of {track.width}x{track.height}")
    brands = b"iso6cmfccmf2mp41"
    sound = track.kind is Kind.AUDIO
    tkhd = pack(">II I I I 8x hh h 2x", 0, 0, TRACK_ID, 0, 0, 0, 0, 0x0100 if sound else 0)
    tkhd += _IDENTITY + pack(">II", track.width << 16, track.height << 16)
    mdhd = pack(">IIII HH", 0, 0, scale, 0, 0x55C4, 0)
    handler, name = (b"soun", b"Sound\0") if sound else (b"vide", b"Video\0")
    hdlr = pack(">I 4s 12x", 0, handler) + name
    header = _full(b"smhd", bytes(4)) if sound else _full(b"vmhd", bytes(8), flags=1)
    dinf = _box(b"dinf", _full(b"dref", pack(">I", 1) + _full(b"url ", flags=1)))
    entry = _sound_entry(track, scale) if sound else _picture_entry(track)
    stbl = _box(
        b"stbl",
        _full(b"stsd", pack(">I", 1) + entry),
        _full(b"stts", bytes(4)),
        _full(b"stsc", bytes(4)),
        _full(b"stsz", bytes(8)),
        _full(b"stco", bytes(4)),
    )
    mvhd = pack(">IIII IH 10x", 0, 0, scale, 0, 0x10000, 0x0100)
    mvhd += _IDENTITY + bytes(24) + pack(">I", TRACK_ID + 1)
    trak = _box(
        b"trak",
        _full(b"tkhd", tkhd, flags=3),
        _box(
            b"mdia",
            _full(b"mdhd", mdhd),
            _full(b"hdlr", hdlr),
            _box(b"minf", header, dinf, stbl),
        ),
    )
    mvex = _box(b"mvex", _full(b"trex", pack(">IIIII", TRACK_ID, 1, 0, 0, 0)))
    moov = _box(b"moov", _full(b"mvhd", mvhd), trak, mvex)
    return _box(b"ftyp", pack(">4sI", b"iso6", 0), brands) + moov


def fragment(sequence: int, samples: Sequence[Sample], *, kind: Kind) -> bytes:
    """`moof` and `mdat` of at least one sample; `sequence` rises by one with each fragment."""
    flags = _TRUN_OFFSET | _TRUN_SIZE
    tfhd_flags = _TFHD_BASE_IS_MOOF
    tfhd = pack(">I", TRACK_ID)
    fields: list[int] = []
    if kind is Kind.AUDIO:
        duration = samples[0].duration
        tfhd_flags |= _TFHD_FLAGS
        if all(sample.duration == duration for sample in samples):
            tfhd_flags |= _TFHD_DURATION
            tfhd += pack(">I", duration)
            fields = [len(sample.payload) for sample in samples]
            form = "I" * len(samples)
        else:
            flags |= _TRUN_DURATION
            for sample in samples:
                fields += (sample.duration, len(sample.payload))
            form = "II" * len(samples)
        tfhd += pack(">I", _SYNC)
    else:
        flags |= _TRUN_DURATION | _TRUN_FLAGS | _TRUN_COMPOSITION
        for sample in samples:
            dependence = _SYNC if sample.keyframe else _DEPENDENT
            fields += (sample.duration, len(sample.payload), dependence, sample.offset)
        form = "IIIi" * len(samples)
    run = pack(f">{form}", *fields)
    mfhd = _full(b"mfhd", pack(">I", sequence))
    head = _full(b"tfhd", tfhd, flags=tfhd_flags)
    head += _full(b"tfdt", pack(">Q", samples[0].time), version=1)
    # headers of moof and traf around mfhd, tfhd and tfdt; trun up to its run; then mdat's header
    size = 8 + len(mfhd) + 8 + len(head) + 20 + len(run)
    trun = _full(b"trun", pack(">Ii", len(samples), size + 8) + run, version=1, flags=flags)
    moof = _box(b"moof", mfhd, _box(b"traf", head, trun))
    return moof + _box(b"mdat", *[sample.payload for sample in samples])


def _box(name: bytes, *content: bytes) -> bytes:
    return b"".join((pack(">I4s", 8 + sum(map(len, content)), name), *content))


def _full(name: bytes, content: bytes = b"", *, version: int = 0, flags: int = 0) -> bytes:
    return _box(name, pack(">I", version << 24 | flags), content)


def _picture_entry(track: Track) -> bytes:
    name, config = _PICTURE_BOXES[track.codec]
    fields = pack(
        ">6x H 16x HH II I H 32x H h",
        *(1, track.width, track.height, 0x480000, 0x480000, 0, 1, 24, -1),
    )
    return _box(name, fields, _box(config, track.config))


def _sound_entry(track: Track, rate: int) -> bytes:
    fields = pack(
        ">6x H 8x HH 4x I", 1, track.channels or 2, 16, (rate if rate < 65536 else 0) << 16
    )
    if track.codec is Codec.OPUS:
        return _box(b"Opus", fields, _box(b"dOps", track.config))
    decoder = pack(">BB3xII", 0x40, 0x15, 0, 0) + _descriptor(5, track.config)
    elementary = pack(">HB", TRACK_ID, 0) + _descriptor(4, decoder) + _descriptor(6, b"\x02")
    return _box(b"mp4a", fields, _full(b"esds", _descriptor(3, elementary)))


def _descriptor(tag: int, content: bytes) -> bytes:
    """ISO/IEC 14496-1, 8.3.3: the size in groups of seven bits, always four of them."""
    size = len(content)
    groups = [size >> shift & 0x7F | (0x80 if shift else 0) for shift in (21, 14, 7, 0)]
    return bytes((tag, *groups)) + content
