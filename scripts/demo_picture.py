"""The demo's picture: a shop window with a clock, drawn once and then only where it moves."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from scripts.demo_drawing import Canvas, Colour, Field, Tile, box, disc, text_width

WIDTH: Final = 1280
HEIGHT: Final = 720
FLASH_SECONDS: Final = 0.2

_WHITE: Final = (255, 255, 255)
_INK: Final = (34, 26, 64)
_PANEL: Final = (44, 34, 84)
_ACCENT: Final = (255, 122, 89)
_TRACK: Final = (92, 80, 140)
_MUTED: Final = (196, 186, 232)
_CARDS: Final[tuple[tuple[Colour, Colour], ...]] = (
    ((255, 214, 200), (238, 108, 77)),
    ((206, 240, 226), (30, 150, 120)),
    ((255, 236, 179), (230, 160, 20)),
    ((214, 226, 255), (72, 98, 214)),
    ((250, 212, 236), (206, 70, 150)),
)
_CARD_PITCH: Final = 256
_SHELF: Final = slice(460, 680)
_STEP: Final = 2
"""Pixels that the shelf moves in a frame: even, since colour has half the resolution."""


def _background() -> Tile:
    canvas = Canvas(WIDTH, HEIGHT, (58, 40, 112))
    x, y = canvas.x, canvas.y
    for cx, cy, reach, colour, strength in (
        (180.0, 60.0, 720.0, (118, 72, 190), 0.85),
        (1180.0, 180.0, 640.0, (232, 96, 128), 0.70),
        (640.0, 760.0, 760.0, (40, 92, 168), 0.75),
    ):
        glow = np.exp(-((np.hypot(x - cx, y - cy) / reach * 1.9) ** 2)) * strength
        canvas.mix(np.asarray(glow, np.float32), colour)
    canvas.paint(box(x, y, 64, 64, 74, 118, 5), _ACCENT)
    canvas.write("Vitrine demo", 98, 68, 46, _WHITE)
    canvas.paint(box(x, y, 1078, 66, 1216, 116, 25), _ACCENT)
    canvas.paint(disc(x, y, 1106, 91, 7), _WHITE)
    canvas.write("LIVE", 1130, 80, 22, _WHITE, weight=0.16, gap=0.34)
    shadow = np.exp(-np.maximum(box(x, y, 200, 178, 1080, 414, 36), 0) / 22) * 0.35
    canvas.mix(np.asarray(shadow, np.float32), (14, 8, 34))
    canvas.paint(box(x, y, 200, 168, 1080, 404, 36), _PANEL)
    return canvas.planes(dither=True)


def _mug(x: Field, y: Field) -> Field:
    handle = np.abs(disc(x, y, 148, 106, 22)) - 6
    return np.minimum(box(x, y, 76, 66, 148, 150, 14), np.asarray(handle, np.float32))


def _bag(x: Field, y: Field) -> Field:
    handle = np.maximum(np.abs(disc(x, y, 110, 84, 24)) - 5, y - 90)
    return np.minimum(box(x, y, 64, 84, 156, 158, 12), np.asarray(handle, np.float32))


def _bottle(x: Field, y: Field) -> Field:
    neck = box(x, y, 98, 44, 122, 90, 6)
    return np.minimum(box(x, y, 80, 82, 140, 162, 18), neck)


def _lamp(x: Field, y: Field) -> Field:
    shade = np.maximum(np.abs(x - 110) - 22 - (y - 54) * 0.5, np.maximum(54 - y, y - 104))
    foot = np.minimum(box(x, y, 106, 100, 114, 152, 3), box(x, y, 80, 150, 140, 162, 6))
    return np.minimum(np.asarray(shade, np.float32), foot)


def _gift(x: Field, y: Field) -> Field:
    ribbon = np.minimum(np.abs(disc(x, y, 94, 66, 14)), np.abs(disc(x, y, 126, 66, 14))) - 5
    body = np.minimum(box(x, y, 66, 102, 154, 160, 8), box(x, y, 58, 80, 162, 108, 8))
    body = np.maximum(body, -box(x, y, 104, 80, 116, 162, 0))
    return np.minimum(body, np.asarray(ribbon, np.float32))


_ICONS: Final[tuple[Callable[[Field, Field], Field], ...]] = (_mug, _bag, _bottle, _lamp, _gift)


def _shelf() -> Tile:
    """The belt of cards, once round; what lies behind it is the same everywhere, so that it can
    move over it."""
    cards = []
    for icon, (paper, ink) in zip(_ICONS, _CARDS, strict=True):
        canvas = Canvas(_CARD_PITCH, _SHELF.stop - _SHELF.start, _INK)
        x, y = canvas.x, canvas.y
        canvas.paint(box(x, y, 18, 12, 238, 208, 24), paper)
        canvas.paint(icon(x - 18, y + 2), ink)
        canvas.paint(box(x, y, 54, 178, 202, 190, 6), ink, 0.35)
        cards.append(canvas.planes())
    twice = [*cards, *cards]
    return Tile(
        np.concatenate([card.y for card in twice], axis=1),
        np.concatenate([card.u for card in twice], axis=1),
        np.concatenate([card.v for card in twice], axis=1),
    )


_DIGIT_SIZE: Final = 96
_CELL: Final = 76
_NARROW: Final = 40
_CLOCK_TOP: Final = 192
_BAR: Final = 600


def _digit(char: str) -> Tile:
    width = _NARROW if char in ":." else _CELL
    canvas = Canvas(width, _DIGIT_SIZE + 28, _PANEL)
    left = (width - text_width(char, _DIGIT_SIZE, 0)) / 2
    canvas.write(char, left, 14, _DIGIT_SIZE, _WHITE, weight=0.12)
    return canvas.planes()


def _lamp_tile(strength: float) -> Tile:
    canvas = Canvas(64, 64, _PANEL)
    canvas.paint(disc(canvas.x, canvas.y, 32, 32, 15), _TRACK)
    glow = np.exp(-np.maximum(disc(canvas.x, canvas.y, 32, 32, 13), 0) / 6) * strength
    canvas.mix(np.asarray(glow, np.float32), _ACCENT)
    canvas.paint(disc(canvas.x, canvas.y, 32, 32, 15), (255, 220, 170), strength)
    return canvas.planes()


def _bar(colour: Colour) -> Tile:
    canvas = Canvas(_BAR, 12, _PANEL)
    canvas.paint(box(canvas.x, canvas.y, 0, 2, _BAR, 10, 4), colour)
    return canvas.planes()


class Window:
    """Draws frame after frame into the same picture. `planes` is that of the newest, as one array
    of yuv420p: 1080 rows of 1280 bytes."""

    def __init__(self) -> None:
        self.planes = np.empty((HEIGHT * 3 // 2, WIDTH), np.uint8)
        flat = self.planes.reshape(-1)
        luma = WIDTH * HEIGHT
        half = (HEIGHT // 2, WIDTH // 2)
        self._picture = Tile(
            flat[:luma].reshape(HEIGHT, WIDTH),
            flat[luma : luma * 5 // 4].reshape(half),
            flat[luma * 5 // 4 :].reshape(half),
        )
        self._picture.place(_background(), 0, 0)
        self._belt = _shelf()
        self._digits = {char: _digit(char) for char in "0123456789:."}
        self._flashes = [_lamp_tile(level / 6) for level in range(7)]
        self._bar, self._fill = _bar(_TRACK), _bar(_ACCENT)
        self._shown = ""
        utc = Canvas(80, 40, _PANEL)
        utc.write("UTC", 8, 7, 26, _MUTED, gap=0.3)
        self._picture.place(utc.planes(), 960, 342)

    def draw(self, wall: float, frame: int) -> None:
        """The picture for a moment: `wall` in seconds since 1970, UTC."""
        milliseconds = math.floor(wall * 1000 + 0.5)
        self._draw_clock(milliseconds)
        into_second = milliseconds % 1000 / 1000
        strength = max(0.0, 1 - into_second / FLASH_SECONDS)
        self._picture.place(self._flashes[math.ceil(strength * 6)], 244, 332)
        self._draw_progress(into_second)
        self._draw_belt(frame)

    def _draw_clock(self, milliseconds: int) -> None:
        seconds, rest = divmod(milliseconds, 1000)
        hours, minutes = seconds // 3600 % 24, seconds // 60 % 60
        shown = f"{hours:02}:{minutes:02}:{seconds % 60:02}.{rest:03}"
        left = (WIDTH - 9 * _CELL - 3 * _NARROW) // 2
        for index, char in enumerate(shown):
            tile = self._digits[char]
            if self._shown[index : index + 1] != char:
                self._picture.place(tile, left, _CLOCK_TOP)
            left += tile.y.shape[1]
        self._shown = shown

    def _draw_progress(self, share: float) -> None:
        self._picture.place(self._bar, 324, 358)
        width = round(share * _BAR / 2) * 2
        if width:
            done = Tile(
                self._fill.y[:, :width],
                self._fill.u[:, : width // 2],
                self._fill.v[:, : width // 2],
            )
            self._picture.place(done, 324, 358)

    def _draw_belt(self, frame: int) -> None:
        left = frame * _STEP % (_CARD_PITCH * len(_CARDS))
        belt, picture = self._belt, self._picture
        rows = slice(_SHELF.start // 2, _SHELF.stop // 2)
        picture.y[_SHELF] = belt.y[:, left : left + WIDTH]
        picture.u[rows] = belt.u[:, left // 2 : (left + WIDTH) // 2]
        picture.v[rows] = belt.v[:, left // 2 : (left + WIDTH) // 2]
