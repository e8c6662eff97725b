"""H.264 (ITU-T H.264): what its sequence parameter set says, and the avcC record."""

from dataclasses import dataclass, field
from typing import Final

from media.codecs.bits import MAX_HEADER_BYTES, BitReader
from media.codecs.nal import rbsp
from media.codecs.vui import Vui, frame_rate, read_colour, read_sample_aspect
from media.errors import InvalidBitstream
from media.units import Codec, Track, TrackId

NAL_SLICE: Final = 1
NAL_IDR: Final = 5
NAL_SEI: Final = 6
NAL_SPS: Final = 7
NAL_PPS: Final = 8
NAL_AUD: Final = 9
NAL_END_OF_SEQUENCE: Final = 10
NAL_END_OF_STREAM: Final = 11
NAL_FILLER: Final = 12
NAL_SPS_EXTENSION: Final = 13
NAL_PREFIX: Final = 14
NAL_SUBSET_SPS: Final = 15
NAL_SLICE_EXTENSION: Final = 20

MAX_SIDE: Final = 16384
"""Pixels; the largest level allows fewer."""

_CHROMA_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose sequence parameter set tells chroma format and bit depth (7.3.2.1.1)."""

_PLAIN_PROFILES: Final = frozenset({66, 77, 88})
"""Profiles whose avcC has no tail with chroma format and bit depth (14496-15, 5.3.3.1.2)."""


@dataclass(frozen=True, slots=True)
class Sps:
    """A sequence parameter set. `width`, `height` are pixels of the cropped picture;
    `frame_rate` is 0 and `max_reorder_frames` None where the encoder does not tell."""

    profile_idc: int
    constraint_flags: int
    level_idc: int
    id: int
    width: int
    height: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    separate_planes: bool
    frame_num_bits: int
    poc_type: int
    max_ref_frames: int
    frames_only: bool
    vui: Vui

    @property
    def frame_rate(self) -> float:
        return self.vui.frame_rate

    @property
    def max_reorder_frames(self) -> int | None:
        return self.vui.max_reorder_frames


def nal_type(nal: bytes) -> int:
    """nal_unit_type; 0 (unspecified) for an empty NAL unit."""
    return nal[0] & 0x1F if nal else 0


def parse_sps(nal: bytes) -> Sps:
    """Reads a NAL unit of type 7 (7.3.2.1.1); raises InvalidBitstream."""
    if nal_type(nal) != NAL_SPS:
        raise InvalidBitstream("not a sequence parameter set")
    bits = BitReader(rbsp(nal[1:]))
    profile, constraints, level = bits.read(8), bits.read(8), bits.read(8)
    sps_id = bits.ue(31)
    chroma, luma_depth, chroma_depth, separate = 1, 8, 8, False
    if profile in _CHROMA_PROFILES:
        chroma = bits.ue(3)
        separate = bits.flag() if chroma == 3 else False
        luma_depth, chroma_depth = bits.ue(6) + 8, bits.ue(6) + 8
        bits.skip(1)
        if bits.flag():
            for index in range(8 if chroma != 3 else 12):
                if bits.flag():
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    frame_num_bits = bits.ue(12) + 4
    poc_type = _skip_poc(bits)
    max_ref_frames = bits.ue(255)
    bits.skip(1)
    width_mbs, map_units = bits.ue(MAX_SIDE // 16) + 1, bits.ue(MAX_SIDE // 16) + 1
    frames_only = bits.flag()
    if not frames_only:
        bits.skip(1)
    bits.skip(1)
    height_mbs = map_units if frames_only else 2 * map_units
    width, height = _crop(
        bits, width_mbs * 16, height_mbs * 16, 0 if separate else chroma, frames_only
    )
    return Sps(
        profile_idc=profile,
        constraint_flags=constraints,
        level_idc=level,
        id=sps_id,
        width=width,
        height=height,
        chroma_format_idc=chroma,
        bit_depth_luma=luma_depth,
        bit_depth_chroma=chroma_depth,
        separate_planes=separate,
        frame_num_bits=frame_num_bits,
        poc_type=poc_type,
        max_ref_frames=max_ref_frames,
        frames_only=frames_only,
        vui=_read_vui(bits),
    )


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = scale = 8
    for _ in range(size):
        if scale:
            scale = (last + bits.se()) % 256
        last = scale or last


def _skip_poc(bits: BitReader) -> int:
    poc_type = bits.ue(2)
    if poc_type == 0:
        bits.ue(12)
    elif poc_type == 1:
        bits.skip(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue(255)):
            bits.se()
    return poc_type


def _crop(
    bits: BitReader, width: int, height: int, chroma: int, frames_only: bool
) -> tuple[int, int]:
    if bits.flag():
        unit_x = 2 if chroma in (1, 2) else 1
        unit_y = (2 if chroma == 1 else 1) * (1 if frames_only else 2)
        width -= unit_x * (bits.ue(MAX_SIDE) + bits.ue(MAX_SIDE))
        height -= unit_y * (bits.ue(MAX_SIDE) + bits.ue(MAX_SIDE))
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise InvalidBitstream(f"picture of {width}x{height}")
    return width, height


def _read_vui(bits: BitReader) -> Vui:
    """The VUI (E.1.1). Encoders are known to cut it short; the picture's size is still right."""
    try:
        return _parse_vui(bits) if bits.flag() else Vui()
    except InvalidBitstream:
        return Vui()


def _parse_vui(bits: BitReader) -> Vui:
    aspect = read_sample_aspect(bits)
    colour = read_colour(bits)
    rate = 0.0
    if bits.flag():
        rate = frame_rate(bits.read(32), bits.read(32), 2)
        bits.skip(1)
    nal_hrd = bits.flag()
    if nal_hrd:
        _skip_hrd(bits)
    vcl_hrd = bits.flag()
    if vcl_hrd:
        _skip_hrd(bits)
    if nal_hrd or vcl_hrd:
        bits.skip(1)
    bits.skip(1)
    reorder = None
    if bits.flag():
        bits.skip(1)
        for _ in range(4):
            bits.ue()
        reorder = bits.ue(16)
    return Vui(aspect, colour, rate, reorder)


def _skip_hrd(bits: BitReader) -> None:
    count = bits.ue(31) + 1
    bits.skip(8)
    for _ in range(count):
        bits.ue()
        bits.ue()
        bits.skip(1)
    bits.skip(20)


def pps_ids(nal: bytes) -> tuple[int, int]:
    """pic_parameter_set_id, and the seq_parameter_set_id it belongs to."""
    if nal_type(nal) != NAL_PPS:
        raise InvalidBitstream("not a picture parameter set")
    bits = BitReader(rbsp(nal[1:64]))
    return bits.ue(255), bits.ue(31)


@dataclass(frozen=True, slots=True)
class AvcConfig:
    """AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1).

    `length_size` is how many bytes the peer's samples use for a NAL unit's length; what
    `serialize` writes is always for the 4 bytes of `media.units`.
    """

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    sps_ext: tuple[bytes, ...] = ()
    length_size: int = field(default=4, compare=False)

    @classmethod
    def parse(cls, record: bytes) -> "AvcConfig":
        """Raises InvalidBitstream; a record without parameter sets is no use and invalid too."""
        if len(record) < 7 or record[0] != 1:
            raise InvalidBitstream("not an avcC record")
        sps, position = _read_sets(record, 6, record[5] & 0x1F)
        if position >= len(record):
            raise InvalidBitstream("avcC record ends too early")
        pps, position = _read_sets(record, position + 1, record[position])
        sps_ext: tuple[bytes, ...] = ()
        if record[1] not in _PLAIN_PROFILES and len(record) >= position + 4:
            sps_ext, position = _read_sets(record, position + 4, record[position + 3])
        if not sps or not pps:
            raise InvalidBitstream("avcC record without parameter sets")
        return cls(sps, pps, sps_ext, (record[4] & 3) + 1)

    def serialize(self) -> bytes:
        """Raises InvalidBitstream if the parameter sets are not what they should be."""
        if not 0 < len(self.sps) <= 31 or not 0 < len(self.pps) <= 255:
            raise InvalidBitstream("wrong number of parameter sets")
        first = self.sps[0]
        if len(first) < 4:
            raise InvalidBitstream("sequence parameter set too short")
        parts = [bytes((1, *first[1:4], 0xFF, 0xE0 | len(self.sps)))]
        parts += [_with_length(nal) for nal in self.sps]
        parts.append(bytes((len(self.pps),)))
        parts += [_with_length(nal) for nal in self.pps]
        if first[1] not in _PLAIN_PROFILES:
            sps = parse_sps(first)
            luma, chroma = sps.bit_depth_luma - 8, sps.bit_depth_chroma - 8
            count = len(self.sps_ext)
            parts.append(bytes((0xFC | sps.chroma_format_idc, 0xF8 | luma, 0xF8 | chroma, count)))
            parts += [_with_length(nal) for nal in self.sps_ext]
        return b"".join(parts)


def _read_sets(record: bytes, position: int, count: int) -> tuple[tuple[bytes, ...], int]:
    sets: list[bytes] = []
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(record[position:start], "big")
        if position > len(record):
            raise InvalidBitstream("parameter set longer than its record")
        sets.append(record[start:position])
    return tuple(nal for nal in sets if nal), position


def _with_length(nal: bytes) -> bytes:
    if len(nal) > MAX_HEADER_BYTES:
        raise InvalidBitstream("parameter set too long")
    return len(nal).to_bytes(2, "big") + nal


def track(track_id: TrackId, config: AvcConfig) -> Track:
    """The track as its first sequence parameter set describes it; raises InvalidBitstream."""
    sps = parse_sps(config.sps[0])
    return Track(
        id=track_id,
        codec=Codec.H264,
        config=config.serialize(),
        width=sps.width,
        height=sps.height,
        frame_rate=sps.frame_rate,
    )


def profile_level_id(track: Track) -> str:
    """Profile, constraints and level as in SDP (RFC 6184, 8.1) and codec strings: "42e01f"."""
    return AvcConfig.parse(track.config).sps[0][1:4].hex()
