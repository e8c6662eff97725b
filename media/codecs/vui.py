"""Video usability information: the part that H.264 (Annex E) and HEVC (Annex E) share."""

from dataclasses import dataclass
from typing import Final

from media.codecs.bits import BitReader

_SAR: Final = (
    (0, 1), (1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11),
    (80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1),
)  # fmt: skip
_EXTENDED_SAR: Final = 255
_MAX_FRAME_RATE: Final = 1000
"""Encoders without a fixed rate write their clock here; that is no frame rate."""


@dataclass(frozen=True, slots=True)
class Colour:
    """How samples become light: the code points of ISO/IEC 23091-2, 2 meaning unspecified."""

    primaries: int = 2
    transfer: int = 2
    matrix: int = 2
    full_range: bool = False


@dataclass(frozen=True, slots=True)
class Vui:
    """`sample_aspect` is width to height of a pixel, (0, 1) if unknown; `frame_rate` is in frames
    a second, 0 if unknown; `max_reorder_frames` is None where the encoder does not say."""

    sample_aspect: tuple[int, int] = (0, 1)
    colour: Colour = Colour()
    frame_rate: float = 0.0
    max_reorder_frames: int | None = None


def read_sample_aspect(bits: BitReader) -> tuple[int, int]:
    if not bits.flag():
        return (0, 1)
    index = bits.read(8)
    if index == _EXTENDED_SAR:
        return (bits.read(16), bits.read(16))
    return _SAR[index] if index < len(_SAR) else (0, 1)


def read_colour(bits: BitReader) -> Colour:
    """overscan_info, video_signal_type and chroma_loc_info, of which the colours are kept."""
    if bits.flag():
        bits.skip(1)
    colour = Colour()
    if bits.flag():
        bits.skip(3)
        full_range = bits.flag()
        codes = (bits.read(8), bits.read(8), bits.read(8)) if bits.flag() else (2, 2, 2)
        colour = Colour(*codes, full_range=full_range)
    if bits.flag():
        bits.ue()
        bits.ue()
    return colour


def frame_rate(units_in_tick: int, time_scale: int, ticks_per_frame: int) -> float:
    """Frames a second, or 0 where the numbers say nothing of use."""
    if not units_in_tick or not time_scale:
        return 0.0
    rate = time_scale / (units_in_tick * ticks_per_frame)
    return rate if rate <= _MAX_FRAME_RATE else 0.0
