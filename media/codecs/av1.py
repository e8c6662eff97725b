"""AV1: open bitstream units, the sequence header (AV1 specification, 5.3 to 5.9) and av1C."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from media.codecs.bits import BitReader
from media.errors import InvalidBitstream
from media.units import Codec, Track, TrackId

OBU_SEQUENCE_HEADER: Final = 1
OBU_TEMPORAL_DELIMITER: Final = 2
OBU_FRAME_HEADER: Final = 3
OBU_TILE_GROUP: Final = 4
OBU_METADATA: Final = 5
OBU_FRAME: Final = 6
OBU_REDUNDANT_FRAME_HEADER: Final = 7
OBU_TILE_LIST: Final = 8
OBU_PADDING: Final = 15

MAX_OBUS: Final = 4096
"""More OBUs in one temporal unit than any encoder makes."""

_MAX_UINT: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Obu:
    """One OBU; `extension` is the byte with temporal and spatial id, if there is one."""

    type: int
    payload: bytes
    extension: int | None = None

    def serialize(self) -> bytes:
        """With its size field, as `media.units` wants it."""
        return self._head(2) + _leb128(len(self.payload)) + self.payload

    def without_size(self) -> bytes:
        """As RTP packets carry it."""
        return self._head(0) + self.payload

    def _head(self, size_flag: int) -> bytes:
        if self.extension is None:
            return bytes((self.type << 3 | size_flag,))
        return bytes((self.type << 3 | 4 | size_flag, self.extension))


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """A leb128() number (4.10.5) and where it ends; raises InvalidBitstream."""
    value = 0
    for index, byte in enumerate(data[position : position + 8]):
        value |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            if value > _MAX_UINT:
                break
            return value, position + index + 1
    raise InvalidBitstream("broken leb128 number")


def split_obus(data: bytes) -> list[Obu]:
    """The OBUs of a low-overhead bitstream (5.3.1); one without size field reaches to the end."""
    obus: list[Obu] = []
    position, end = 0, len(data)
    while position < end:
        head = data[position]
        if head & 0x80:
            raise InvalidBitstream("forbidden bit in an OBU header")
        position += 1
        extension: int | None = None
        if head & 4:
            if position >= end:
                raise InvalidBitstream("OBU header ends too early")
            extension = data[position]
            position += 1
        size = end - position
        if head & 2:
            size, position = read_leb128(data, position)
        if size > end - position:
            raise InvalidBitstream("OBU longer than its temporal unit")
        obus.append(Obu(head >> 3 & 0xF, data[position : position + size], extension))
        position += size
        if len(obus) > MAX_OBUS:
            raise InvalidBitstream("too many OBUs")
    return obus


def join_obus(obus: Iterable[Obu]) -> bytes:
    """A payload as `media.units` wants it: size fields everywhere, no temporal delimiter."""
    return b"".join(
        [
            obu.serialize()
            for obu in obus
            if obu.type not in (OBU_TEMPORAL_DELIMITER, OBU_PADDING, OBU_TILE_LIST)
        ]
    )


@dataclass(frozen=True, slots=True)
class SequenceHeader:
    """sequence_header_obu() (5.5.1). `width`, `height` are the largest frame's, in pixels;
    `level_idx`, `tier` those of the first operating point; `frame_rate` 0 if unknown."""

    profile: int
    level_idx: int
    tier: int
    width: int
    height: int
    bit_depth: int
    monochrome: bool
    subsampling_x: int
    subsampling_y: int
    chroma_sample_position: int
    primaries: int
    transfer: int
    matrix: int
    full_range: bool
    frame_rate: float
    reduced_still_picture: bool


def parse_sequence_header(payload: bytes) -> SequenceHeader:
    """Reads the payload of an OBU of type 1; raises InvalidBitstream."""
    bits = BitReader(payload)
    profile = bits.read(3)
    if profile > 2:
        raise InvalidBitstream(f"AV1 profile {profile}")
    still = bits.flag()
    reduced = bits.flag()
    if reduced and not still:
        raise InvalidBitstream("reduced AV1 header of a moving picture")
    rate = 0.0
    if reduced:
        level, tier = bits.read(5), 0
    else:
        rate, level, tier = _read_operating_points(bits)
    width_bits, height_bits = bits.read(4) + 1, bits.read(4) + 1
    width, height = bits.read(width_bits) + 1, bits.read(height_bits) + 1
    _skip_tools(bits, reduced)
    colour = _read_colour(bits, profile)
    depth, monochrome, sub_x, sub_y, position, primaries, transfer, matrix, full_range = colour
    return SequenceHeader(
        profile=profile,
        level_idx=level,
        tier=tier,
        width=width,
        height=height,
        bit_depth=depth,
        monochrome=monochrome,
        subsampling_x=sub_x,
        subsampling_y=sub_y,
        chroma_sample_position=position,
        primaries=primaries,
        transfer=transfer,
        matrix=matrix,
        full_range=full_range,
        frame_rate=rate,
        reduced_still_picture=reduced,
    )


def _read_operating_points(bits: BitReader) -> tuple[float, int, int]:
    rate, decoder_model, delay_bits = 0.0, False, 0
    if bits.flag():
        rate = _read_timing(bits)
        decoder_model = bits.flag()
        if decoder_model:
            delay_bits = bits.read(5) + 1
            bits.skip(42)
    initial_delay = bits.flag()
    level = tier = 0
    for index in range(bits.read(5) + 1):
        bits.skip(12)
        point_level = bits.read(5)
        point_tier = bits.read(1) if point_level > 7 else 0
        if decoder_model and bits.flag():
            bits.skip(2 * delay_bits + 1)
        if initial_delay and bits.flag():
            bits.skip(4)
        if index == 0:
            level, tier = point_level, point_tier
    return rate, level, tier


def _read_timing(bits: BitReader) -> float:
    units, scale = bits.read(32), bits.read(32)
    equal = bits.flag()
    # uvlc() of this specification is the ue(v) of the others.
    ticks = bits.ue() + 1 if equal else 0
    if not (units and scale and ticks):
        return 0.0
    rate = scale / (units * ticks)
    return rate if rate <= 1000 else 0.0


def _skip_tools(bits: BitReader, reduced: bool) -> None:
    if not reduced and bits.flag():
        bits.skip(7)
    bits.skip(3)
    if not reduced:
        bits.skip(4)
        order_hint = bits.flag()
        if order_hint:
            bits.skip(2)
        screen_content = 2 if bits.flag() else bits.read(1)
        if screen_content and not bits.flag():
            bits.skip(1)
        if order_hint:
            bits.skip(3)
    bits.skip(3)


def _read_colour(
    bits: BitReader, profile: int
) -> tuple[int, bool, int, int, int, int, int, int, bool]:
    """color_config() (5.5.2)."""
    depth = 8
    if bits.flag():
        depth = 12 if profile == 2 and bits.flag() else 10
    monochrome = profile != 1 and bits.flag()
    codes = (bits.read(8), bits.read(8), bits.read(8)) if bits.flag() else (2, 2, 2)
    if monochrome:
        return depth, True, 1, 1, 0, *codes, bits.flag()
    if codes == (1, 13, 0):
        return depth, False, 0, 0, 0, *codes, True
    full_range = bits.flag()
    sub_x, sub_y = (1, 1) if profile == 0 else (0, 0)
    if profile == 2:
        sub_x, sub_y = 1, 0
        if depth == 12:
            sub_x = bits.read(1)
            sub_y = bits.read(1) if sub_x else 0
    position = bits.read(2) if sub_x and sub_y else 0
    return depth, False, sub_x, sub_y, position, *codes, full_range


def is_keyframe(obus: Iterable[Obu], *, reduced_still_picture: bool = False) -> bool:
    """Whether the first frame of a temporal unit is a key frame that is shown (5.9.2)."""
    for obu in obus:
        if obu.type in (OBU_FRAME, OBU_FRAME_HEADER):
            if reduced_still_picture:
                return True
            # show_existing_frame 0, frame_type KEY_FRAME (0), show_frame 1
            return bool(obu.payload) and obu.payload[0] & 0xF0 == 0x10
    return False


@dataclass(frozen=True, slots=True)
class Av1Config:
    """AV1CodecConfigurationRecord (AV1 in ISOBMFF, 2.3), made of its sequence header OBU."""

    sequence_header: Obu
    metadata: tuple[Obu, ...] = ()

    @classmethod
    def parse(cls, record: bytes) -> "Av1Config":
        """Raises InvalidBitstream; a record without sequence header is no use and invalid too."""
        if len(record) < 4 or record[0] != 0x81:
            raise InvalidBitstream("not an av1C record")
        obus = split_obus(record[4:])
        if not obus or obus[0].type != OBU_SEQUENCE_HEADER:
            raise InvalidBitstream("av1C record without sequence header")
        return cls(obus[0], tuple(obu for obu in obus[1:] if obu.type == OBU_METADATA))

    @property
    def header(self) -> SequenceHeader:
        return parse_sequence_header(self.sequence_header.payload)

    def serialize(self) -> bytes:
        """Raises InvalidBitstream if the sequence header is broken."""
        head = self.header
        flags = (
            head.tier << 7
            | (head.bit_depth > 8) << 6
            | (head.bit_depth == 12) << 5
            | head.monochrome << 4
            | head.subsampling_x << 3
            | head.subsampling_y << 2
            | head.chroma_sample_position
        )
        obus = b"".join(obu.serialize() for obu in (self.sequence_header, *self.metadata))
        return bytes((0x81, head.profile << 5 | head.level_idx, flags, 0)) + obus


def track(track_id: TrackId, av1c: bytes) -> Track:
    """The track of an av1C record; raises InvalidBitstream."""
    config = Av1Config.parse(av1c)
    head = config.header
    return Track(
        id=track_id,
        codec=Codec.AV1,
        config=config.serialize(),
        width=head.width,
        height=head.height,
        frame_rate=head.frame_rate,
    )
