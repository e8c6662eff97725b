"""Drawing with numpy alone, for the demo's picture: shapes, letters, colours.

A fresh machine has neither fonts nor a drawing library. Shapes are distances to their outline in
pixels, which gives smooth edges for nothing; letters are strokes.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Field = NDArray[np.float32]
Point = tuple[float, float]
Colour = tuple[int, int, int]


def grid(width: int, height: int) -> tuple[Field, Field]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x + 0.5, y + 0.5


def box(
    x: Field, y: Field, left: float, top: float, right: float, bottom: float, r: float
) -> Field:
    dx = np.abs(x - (left + right) / 2) - (right - left) / 2 + r
    dy = np.abs(y - (top + bottom) / 2) - (bottom - top) / 2 + r
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - r, np.float32)


def disc(x: Field, y: Field, cx: float, cy: float, r: float) -> Field:
    return np.asarray(np.hypot(x - cx, y - cy) - r, np.float32)


def line(x: Field, y: Field, a: Point, b: Point) -> Field:
    ux, uy = b[0] - a[0], b[1] - a[1]
    length = ux * ux + uy * uy
    along = np.clip(((x - a[0]) * ux + (y - a[1]) * uy) / length, 0, 1) if length else 0.0
    return np.asarray(np.hypot(x - a[0] - along * ux, y - a[1] - along * uy), np.float32)


def ink(distance: Field) -> Field:
    """How much of each pixel is inside."""
    return np.asarray(np.clip(0.5 - distance, 0, 1), np.float32)


# Letters: strokes in a box whose height is that of a capital, y down


def _arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    steps = max(6, int(abs(end - start) / 15))
    angles = (math.radians(start + (end - start) * i / steps) for i in range(steps + 1))
    return [(cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles]


def _curve(a: Point, b: Point, c: Point) -> list[Point]:
    ts = [i / 10 for i in range(11)]
    return [
        (
            (1 - t) ** 2 * a[0] + 2 * t * (1 - t) * b[0] + t * t * c[0],
            (1 - t) ** 2 * a[1] + 2 * t * (1 - t) * b[1] + t * t * c[1],
        )
        for t in ts
    ]


_GLYPHS: Final[dict[str, tuple[float, list[list[Point]]]]] = {
    "0": (0.6, [_arc(0.3, 0.5, 0.29, 0.5, 0, 360)]),
    "1": (0.6, [[(0.12, 0.2), (0.36, 0.0), (0.36, 1.0)]]),
    "2": (0.6, [[*_arc(0.3, 0.29, 0.27, 0.29, 190, 392), (0.03, 1.0), (0.58, 1.0)]]),
    "3": (0.6, [_arc(0.28, 0.25, 0.25, 0.25, 200, 450), _arc(0.28, 0.75, 0.29, 0.25, 270, 520)]),
    "4": (0.6, [[(0.45, 1.0), (0.45, 0.0), (0.01, 0.7), (0.59, 0.7)]]),
    "5": (0.6, [[(0.53, 0.0), (0.13, 0.0), (0.09, 0.45), *_arc(0.29, 0.68, 0.29, 0.32, 226, 510)]]),
    "6": (
        0.6,
        [_arc(0.3, 0.69, 0.28, 0.31, 0, 360), _curve((0.45, 0.0), (0.1, 0.3), (0.02, 0.68))],
    ),
    "7": (0.6, [[(0.02, 0.0), (0.58, 0.0), (0.22, 1.0)]]),
    "8": (0.6, [_arc(0.3, 0.25, 0.23, 0.25, 0, 360), _arc(0.3, 0.75, 0.28, 0.25, 0, 360)]),
    "9": (
        0.6,
        [_arc(0.3, 0.31, 0.28, 0.31, 0, 360), _curve((0.58, 0.32), (0.5, 0.7), (0.15, 1.0))],
    ),
    ":": (0.12, [[(0.06, 0.3), (0.06, 0.3)], [(0.06, 0.8), (0.06, 0.8)]]),
    ".": (0.12, [[(0.06, 1.0), (0.06, 1.0)]]),
    " ": (0.3, []),
    "C": (0.62, [_arc(0.36, 0.5, 0.36, 0.5, -45, -315)]),
    "E": (0.5, [[(0.5, 0.0), (0.0, 0.0), (0.0, 1.0), (0.5, 1.0)], [(0.0, 0.48), (0.42, 0.48)]]),
    "I": (0.0, [[(0.0, 0.0), (0.0, 1.0)]]),
    "L": (0.46, [[(0.0, 0.0), (0.0, 1.0), (0.46, 1.0)]]),
    "T": (0.6, [[(0.0, 0.0), (0.6, 0.0)], [(0.3, 0.0), (0.3, 1.0)]]),
    "U": (0.58, [[(0.0, 0.0), *_arc(0.29, 0.7, 0.29, 0.3, 180, 0), (0.58, 0.0)]]),
    "V": (0.68, [[(0.0, 0.0), (0.34, 1.0), (0.68, 0.0)]]),
    "d": (0.52, [_arc(0.26, 0.69, 0.26, 0.31, 0, 360), [(0.52, 0.0), (0.52, 1.0)]]),
    "e": (0.54, [[(0.01, 0.69), *_arc(0.27, 0.69, 0.27, 0.31, 0, -310)]]),
    "i": (0.0, [[(0.0, 0.38), (0.0, 1.0)], [(0.0, 0.1), (0.0, 0.1)]]),
    "m": (
        0.8,
        [
            [(0.0, 0.38), (0.0, 1.0)],
            [*_arc(0.2, 0.59, 0.2, 0.21, 180, 360), (0.4, 1.0)],
            [*_arc(0.6, 0.59, 0.2, 0.21, 180, 360), (0.8, 1.0)],
        ],
    ),
    "n": (
        0.46,
        [[(0.0, 0.38), (0.0, 1.0)], [*_arc(0.23, 0.61, 0.23, 0.23, 180, 360), (0.46, 1.0)]],
    ),
    "o": (0.54, [_arc(0.27, 0.69, 0.27, 0.31, 0, 360)]),
    "r": (0.28, [[(0.0, 0.38), (0.0, 1.0)], _arc(0.26, 0.64, 0.26, 0.26, 180, 280)]),
    "t": (
        0.34,
        [[(0.14, 0.14), *_arc(0.34, 0.82, 0.2, 0.18, 180, 90)], [(0.0, 0.38), (0.34, 0.38)]],
    ),
}


def _strokes(text: str, size: float, gap: float) -> Iterator[tuple[Point, Point]]:
    left = 0.0
    for char in text:
        width, lines = _GLYPHS[char]
        for line in lines:
            points = [((left + px) * size, py * size) for px, py in line]
            yield from itertools.pairwise(points)
        left += width + gap


def text_width(text: str, size: float, gap: float) -> float:
    return size * (sum(_GLYPHS[char][0] + gap for char in text) - gap)


class Canvas:
    """An RGB picture that shapes are painted onto."""

    def __init__(self, width: int, height: int, colour: Colour) -> None:
        self.x, self.y = grid(width, height)
        self.rgb = np.empty((height, width, 3), np.float32)
        self.rgb[:] = colour

    def paint(self, distance: Field, colour: Colour, opacity: float = 1.0) -> None:
        self.mix(ink(distance) * np.float32(opacity), colour)

    def write(
        self,
        text: str,
        left: float,
        top: float,
        size: float,
        colour: Colour,
        *,
        weight: float = 0.13,
        gap: float = 0.24,
    ) -> None:
        """Letters of this height; `weight` of the stroke and `gap` between letters are in units of
        the height."""
        margin = math.ceil(weight * size)
        columns = slice(
            max(0, int(left) - margin), int(left + text_width(text, size, gap)) + margin
        )
        rows = slice(max(0, int(top) - margin), int(top + size) + margin + 1)
        x, y = self.x[rows, columns], self.y[rows, columns]
        distance = np.full(x.shape, 1e6, np.float32)
        for a, b in _strokes(text, size, gap):
            np.minimum(distance, line(x - left, y - top, a, b), out=distance)
        share = ink(distance - np.float32(weight * size / 2))
        area = self.rgb[rows, columns]
        area += share[..., None] * (np.array(colour, np.float32) - area)

    def mix(self, share: Field, colour: Colour) -> None:
        self.rgb += share[..., None] * (np.array(colour, np.float32) - self.rgb)

    def planes(self, *, dither: bool = False) -> "Tile":
        """Y, U and V (BT.709, limited range); colour at half the resolution. Noise of half a step
        (`dither`) keeps wide gradients from showing bands."""
        red, green, blue = np.moveaxis(self.rgb, 2, 0) / np.float32(255)
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        y = 16 + 219 * luma
        if dither:
            y = y + np.random.default_rng(0).uniform(-0.5, 0.5, y.shape)
        u = 128 + 224 * (blue - luma) / 1.8556
        v = 128 + 224 * (red - luma) / 1.5748
        return Tile(_rounded(y), _rounded(_halved(u)), _rounded(_halved(v)))


def _halved(plane: Field) -> Field:
    height, width = plane.shape
    return np.asarray(plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3)), np.float32)


def _rounded(plane: Field) -> Plane:
    return np.asarray(np.clip(np.rint(plane), 0, 255), np.uint8)


@dataclass(frozen=True, slots=True)
class Tile:
    """A piece of picture as Y, U and V planes."""

    y: Plane
    u: Plane
    v: Plane

    def place(self, other: "Tile", left: int, top: int) -> None:
        """Puts another tile here; both numbers even."""
        for mine, theirs, scale in (
            (self.y, other.y, 1),
            (self.u, other.u, 2),
            (self.v, other.v, 2),
        ):
            height, width = theirs.shape
            mine[top // scale : top // scale + height, left // scale : left // scale + width] = (
                theirs
            )
