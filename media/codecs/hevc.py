"""HEVC (ITU-T H.265): what its parameter sets say, and the hvcC record."""

from dataclasses import dataclass, field
from typing import Final

from media.codecs.bits import MAX_HEADER_BYTES, BitReader
from media.codecs.nal import rbsp
from media.codecs.vui import Vui, frame_rate, read_colour, read_sample_aspect
from media.errors import InvalidBitstream
from media.units import Codec, Track, TrackId

NAL_VPS: Final = 32
NAL_SPS: Final = 33
NAL_PPS: Final = 34
NAL_AUD: Final = 35
NAL_END_OF_SEQUENCE: Final = 36
NAL_END_OF_BITSTREAM: Final = 37
NAL_FILLER: Final = 38
NAL_SEI_PREFIX: Final = 39
NAL_SEI_SUFFIX: Final = 40

MAX_SIDE: Final = 16888
"""Pixels; the largest side that level 6.2 allows."""

_RECORD_HEAD: Final = 23


@dataclass(frozen=True, slots=True)
class ProfileTierLevel:
    """general_* of profile_tier_level() (7.3.3); `constraints` are the 48 bits behind the
    compatibility flags, progressive_source first."""

    profile_space: int
    tier: int
    profile_idc: int
    compatibility: int
    constraints: int
    level_idc: int


@dataclass(frozen=True, slots=True)
class Sps:
    """A sequence parameter set. `width`, `height` are pixels of the cropped picture;
    `frame_rate` is 0 where the encoder does not tell."""

    profile: ProfileTierLevel
    id: int
    width: int
    height: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    temporal_layers: int
    temporal_nesting: bool
    max_reorder_frames: int
    vui: Vui

    @property
    def frame_rate(self) -> float:
        return self.vui.frame_rate


def nal_type(nal: bytes) -> int:
    """nal_unit_type; 63 (unspecified) for an empty NAL unit."""
    return (nal[0] >> 1) & 0x3F if nal else 63


def layer_id(nal: bytes) -> int:
    """nuh_layer_id: 0 for the picture, others for further views, alpha or enhancement."""
    return (nal[0] & 1) << 5 | nal[1] >> 3 if len(nal) > 1 else 0


def is_irap(nal_type: int) -> bool:
    """Whether a slice of this type belongs to a random access point (BLA, IDR, CRA)."""
    return 16 <= nal_type <= 23


def is_slice(nal_type: int) -> bool:
    return nal_type < 32


def parse_sps(nal: bytes) -> Sps:
    """Reads a NAL unit of type 33 (7.3.2.2.1); raises InvalidBitstream."""
    if nal_type(nal) != NAL_SPS or len(nal) < 3:
        raise InvalidBitstream("not a sequence parameter set")
    bits = BitReader(rbsp(nal[2:]))
    bits.skip(4)
    layers = bits.read(3) + 1
    nesting = bits.flag()
    if layers > 7:
        raise InvalidBitstream("too many temporal layers")
    profile = _read_profile(bits, layers)
    sps_id = bits.ue(15)
    chroma = bits.ue(3)
    if chroma == 3:
        bits.skip(1)
    width, height = _read_size(bits, chroma)
    luma_depth, chroma_depth = bits.ue(8) + 8, bits.ue(8) + 8
    poc_bits = bits.ue(12) + 4
    reorder = 0
    for _ in range(layers if bits.flag() else 1):
        bits.ue()
        reorder = bits.ue(16)
        bits.ue()
    return Sps(
        profile=profile,
        id=sps_id,
        width=width,
        height=height,
        chroma_format_idc=chroma,
        bit_depth_luma=luma_depth,
        bit_depth_chroma=chroma_depth,
        temporal_layers=layers,
        temporal_nesting=nesting,
        max_reorder_frames=reorder,
        vui=_read_vui(bits, poc_bits),
    )


def _read_profile(bits: BitReader, layers: int) -> ProfileTierLevel:
    general = ProfileTierLevel(
        profile_space=bits.read(2),
        tier=bits.read(1),
        profile_idc=bits.read(5),
        compatibility=bits.read(32),
        constraints=bits.read(48),
        level_idc=bits.read(8),
    )
    if layers > 1:
        present = [(bits.flag(), bits.flag()) for _ in range(layers - 1)]
        bits.skip(2 * (9 - layers))
        for has_profile, has_level in present:
            bits.skip(88 * has_profile + 8 * has_level)
    return general


def _read_size(bits: BitReader, chroma: int) -> tuple[int, int]:
    width, height = bits.ue(MAX_SIDE), bits.ue(MAX_SIDE)
    if bits.flag():
        width -= (2 if chroma in (1, 2) else 1) * (bits.ue(MAX_SIDE) + bits.ue(MAX_SIDE))
        height -= (2 if chroma == 1 else 1) * (bits.ue(MAX_SIDE) + bits.ue(MAX_SIDE))
    if width <= 0 or height <= 0:
        raise InvalidBitstream(f"picture of {width}x{height}")
    return width, height


def _read_vui(bits: BitReader, poc_bits: int) -> Vui:
    """What follows the sizes, for the VUI at its end; without it the stream is of use as well."""
    try:
        _skip_to_vui(bits, poc_bits)
        return _parse_vui(bits) if bits.flag() else Vui()
    except InvalidBitstream:
        return Vui()


def _skip_to_vui(bits: BitReader, poc_bits: int) -> None:
    for _ in range(6):
        bits.ue()
    if bits.flag() and bits.flag():
        _skip_scaling_lists(bits)
    bits.skip(2)
    if bits.flag():
        bits.skip(8)
        bits.ue()
        bits.ue()
        bits.skip(1)
    deltas = 0
    for index in range(bits.ue(64)):
        deltas = _skip_reference_set(bits, index, deltas)
    if bits.flag():
        bits.skip(bits.ue(32) * (poc_bits + 1))
    bits.skip(2)


def _skip_scaling_lists(bits: BitReader) -> None:
    for size_id in range(4):
        for _ in range(2 if size_id == 3 else 6):
            if not bits.flag():
                bits.ue()
                continue
            if size_id > 1:
                bits.se()
            for _ in range(min(64, 1 << (4 + 2 * size_id))):
                bits.se()


def _skip_reference_set(bits: BitReader, index: int, previous: int) -> int:
    """st_ref_pic_set() (7.3.7); gives its NumDeltaPocs, which the next one may build on."""
    if index and bits.flag():
        bits.skip(1)
        bits.ue()
        return sum(1 for _ in range(previous + 1) if bits.flag() or bits.flag())
    count = bits.ue(16) + bits.ue(16)
    for _ in range(count):
        bits.ue()
        bits.skip(1)
    return count


def _parse_vui(bits: BitReader) -> Vui:
    aspect = read_sample_aspect(bits)
    colour = read_colour(bits)
    bits.skip(3)
    if bits.flag():
        for _ in range(4):
            bits.ue()
    rate = frame_rate(bits.read(32), bits.read(32), 1) if bits.flag() else 0.0
    return Vui(aspect, colour, rate)


def parameter_set_id(nal: bytes) -> int:
    """The id of a VPS or PPS among its kind; of an SPS, use `parse_sps`."""
    kind = nal_type(nal)
    bits = BitReader(rbsp(nal[2:64]))
    if kind == NAL_VPS:
        return bits.read(4)
    if kind == NAL_PPS:
        return bits.ue(63)
    raise InvalidBitstream("neither a video nor a picture parameter set")


@dataclass(frozen=True, slots=True)
class HvcConfig:
    """HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, 8.3.3.1).

    `length_size` is how many bytes the peer's samples use for a NAL unit's length; what
    `serialize` writes is always for the 4 bytes of `media.units`.
    """

    vps: tuple[bytes, ...]
    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    length_size: int = field(default=4, compare=False)

    @classmethod
    def parse(cls, record: bytes) -> "HvcConfig":
        """Raises InvalidBitstream; a record without parameter sets is no use and invalid too."""
        if len(record) < _RECORD_HEAD or record[0] > 1:
            raise InvalidBitstream("not an hvcC record")
        sets: dict[int, list[bytes]] = {NAL_VPS: [], NAL_SPS: [], NAL_PPS: []}
        position = _RECORD_HEAD
        for _ in range(record[22]):
            head = record[position : position + 3]
            if len(head) < 3:
                raise InvalidBitstream("hvcC record ends too early")
            position += 3
            kept = sets.get(head[0] & 0x3F)
            for _ in range(int.from_bytes(head[1:], "big")):
                start = position + 2
                position = start + int.from_bytes(record[position:start], "big")
                if position > len(record):
                    raise InvalidBitstream("parameter set longer than its record")
                if kept is not None and position > start:
                    kept.append(record[start:position])
        if not all(sets.values()):
            raise InvalidBitstream("hvcC record without parameter sets")
        vps, sps, pps = (tuple(sets[kind]) for kind in (NAL_VPS, NAL_SPS, NAL_PPS))
        return cls(vps, sps, pps, (record[21] & 3) + 1)

    def serialize(self) -> bytes:
        """Raises InvalidBitstream if the parameter sets are not what they should be."""
        if not (self.vps and self.sps and self.pps):
            raise InvalidBitstream("wrong number of parameter sets")
        sps = parse_sps(self.sps[0])
        profile = sps.profile
        parts = [
            bytes((1, profile.profile_space << 6 | profile.tier << 5 | profile.profile_idc)),
            profile.compatibility.to_bytes(4, "big"),
            profile.constraints.to_bytes(6, "big"),
            bytes((profile.level_idc, 0xF0, 0, 0xFC, 0xFC | sps.chroma_format_idc)),
            bytes((0xF8 | (sps.bit_depth_luma - 8), 0xF8 | (sps.bit_depth_chroma - 8), 0, 0)),
            bytes((sps.temporal_layers << 3 | sps.temporal_nesting << 2 | 3, 3)),
        ]
        for kind, nals in ((NAL_VPS, self.vps), (NAL_SPS, self.sps), (NAL_PPS, self.pps)):
            # The upper bit: all sets of this kind are here, none within the pictures.
            parts.append(bytes((0x80 | kind,)) + len(nals).to_bytes(2, "big"))
            for nal in nals:
                if len(nal) > MAX_HEADER_BYTES:
                    raise InvalidBitstream("parameter set too long")
                parts.append(len(nal).to_bytes(2, "big") + nal)
        return b"".join(parts)


def track(track_id: TrackId, config: HvcConfig) -> Track:
    """The track as its first sequence parameter set describes it; raises InvalidBitstream."""
    sps = parse_sps(config.sps[0])
    return Track(
        id=track_id,
        codec=Codec.HEVC,
        config=config.serialize(),
        width=sps.width,
        height=sps.height,
        frame_rate=sps.frame_rate,
    )
