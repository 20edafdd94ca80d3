"""Drawing on pictures: outlines, round boxes, text, and the sizes and colours for one video.

Everything is drawn with Pillow, on the picture or on a plate (a small picture with alpha) that is
laid over it. Text is set with matplotlib's FreeType, which falls back to other fonts for missing
letters; Pillow and OpenCV do not.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageColor, ImageDraw

from avsent.extraction.faces.geometry import Box
from avsent.result.colours import colour_of, colours_of
from avsent.result.writers.wrapping import wrap
from avsent.text import one_line

Colour = tuple[int, ...]
"""red, green, blue, 0 to 255"""

Area = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are outside"""

MIN_SIDE_PX = 96  # smaller pictures get boxes only: letters would not be readable

_SMOOTHING = 4  # round corners are drawn this many times larger, then reduced
_BASE_HEIGHT = 360
_MAX_HEIGHT_SHARE = 0.75  # of the width: upright pictures get the sizes of 4:3
_MIN_LETTERS_PX = 9.0

ELLIPSIS = "…"
_MISSING = "□"
_MAX_FONTS = 300
# Tried first for letters that DejaVu lacks: plain fonts that cover a whole script.
_PREFERRED = (
    *("notosanscjk", "sourcehansans", "wqy", "wenquanyi", "droidsansfallback", "pingfang"),
    *("msyh", "yugoth", "malgun", "arialuni", "unifont", "notosans", "freesans"),
)


def even(pixels: float) -> int:
    """The nearest even number of pixels, at least 2: video keeps one colour for 2x2 pixels."""
    return max(2, 2 * round(pixels / 2))


def outline(
    picture: Image.Image, area: Area, line: int, colour: Colour, alpha: float = 1.0
) -> None:
    """Draw the outline of ``area``, ``line`` pixels wide and inside it, clipped to the picture."""
    left, top, right, bottom = area
    width, height = right - left, bottom - top
    for x, y, across, down in (
        (left, top, width, line),
        (left, bottom - line, width, line),
        (left, top + line, line, height - 2 * line),
        (right - line, top + line, line, height - 2 * line),
    ):
        if across > 0 and down > 0:
            picture.paste(colour, (x, y), Image.new("L", (across, down), round(255 * alpha)))


def panel(size: tuple[int, int], radius: float, colour: Colour, alpha: float) -> Image.Image:
    """A plate that is a round box."""
    plate = Image.new("RGBA", size)
    round_box(plate, (0, 0, *size), radius, colour, alpha)
    return plate


def round_box(
    plate: Image.Image, area: Box, radius: float, colour: Colour, alpha: float = 1.0
) -> None:
    """Lay a box with smooth round corners over a plate; edges are rounded to pixels."""
    left, top, right, bottom = (round(edge) for edge in area)
    width, height = _SMOOTHING * (right - left), _SMOOTHING * (bottom - top)
    if width <= 0 or height <= 0:
        return
    cover = Image.new("L", (width, height))
    radius = min(_SMOOTHING * radius, width / 2, height / 2)
    ImageDraw.Draw(cover).rounded_rectangle(
        (0, 0, width - 1, height - 1), radius, fill=round(255 * alpha)
    )
    _paint(plate, cover.reduce(_SMOOTHING), left, top, colour)


def _paint(plate: Image.Image, cover: Image.Image, left: int, top: int, colour: Colour) -> None:
    """Lay ``colour`` over a plate with opacity ``cover`` (0 to 255)."""
    alpha = Image.new("L", plate.size)
    alpha.paste(cover, (left, top))
    layer = Image.new("RGBA", plate.size, colour)
    layer.putalpha(alpha)
    plate.alpha_composite(layer)


class Lettering:
    """Text in one size (height of the em square in pixels) and weight."""

    def __init__(self, size: float, *, bold: bool = False) -> None:
        self.size = size
        name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
        self._path = str(Path(get_data_path()) / "fonts" / "ttf" / name)
        self._font: Any = FT2Font(self._path)
        self._font.set_size(size, 72)
        self.ascent = round(0.93 * size)
        """Pixels from the top of a line to its base line."""
        self.line_height = round(1.26 * size)

    def width(self, text: str) -> int:
        """Pixels that ``text`` takes in one line."""
        return ceil(self._advance(text) / 64)

    def write(
        self, plate: Image.Image, text: str, left: int, top: int, colour: Colour, end: int
    ) -> int:
        """Write one line on a plate, shortened to end before ``end``; returns its right edge."""
        text = self.shortened(text, end - left)
        if text:
            font = self._set(text)
            font.draw_glyphs_to_bitmap(antialiased=True)
            cover = Image.fromarray(np.array(font.get_image(), np.uint8))
            below = int(font.get_descent()) // 64
            _paint(plate, cover, left, top + self.ascent + below - cover.height, colour)
        return left + self.width(text)

    def wrap(self, text: str, width: int) -> list[str]:
        """``text`` in lines of at most ``width`` pixels."""
        return wrap(one_line(text), 64 * width, measure=self._advance, even=False)

    def shortened(self, text: str, width: int) -> str:
        """``text`` in one line of at most ``width`` pixels, with an ellipsis if cut."""
        text = one_line(text)
        if self.width(text) <= width:
            return text
        while text and self.width(text + ELLIPSIS) > width:
            text = text[:-1].rstrip()
        return text + ELLIPSIS

    def _advance(self, text: str) -> int:
        """Width of ``text`` in 1/64 pixels."""
        return int(self._set(text).get_width_height()[0])

    def _set(self, text: str) -> Any:
        """The font with ``text`` set, in which letters that no font has are replaced."""
        font = self._font
        others = {c: _font_with(c) for c in text if not font.get_char_index(ord(c))}
        text = "".join(_MISSING if others.get(c, "") is None else c for c in text)
        if files := sorted(filter(None, set(others.values()))):
            from matplotlib.font_manager import get_font

            font = get_font([self._path, *files])
            font.set_size(self.size, 72)
        font.set_text(text, 0.0)
        return font


@cache
def _system_fonts() -> tuple[str, ...]:
    """Files of the system's fonts, those that likely cover whole scripts first."""
    from matplotlib.font_manager import fontManager  # takes seconds the first time on a system

    def rank(file: str) -> tuple[list[bool], bool, str]:
        name = Path(file).name.lower().replace("-", "")
        return [not name.startswith(start) for start in _PREFERRED], "regular" not in name, file

    upright = {entry.fname for entry in fontManager.ttflist if entry.style == "normal"}
    files = sorted((file for file in upright if "emoji" not in file.lower()), key=rank)
    return tuple(files[:_MAX_FONTS])


@lru_cache(maxsize=20_000)
def _font_with(character: str) -> str | None:
    """The first font file with the character, or None."""
    return next((file for file in _system_fonts() if ord(character) in _characters(file)), None)


@cache
def _characters(file: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):  # not a font that FreeType can read
        return frozenset()


class Style:
    """Sizes in pixels, lettering and colours for one size of picture and one model's labels."""

    def __init__(self, width: int, height: int, labels: Sequence[str]) -> None:
        self.width, self.height = width, height
        self.unit = unit = min(height, _MAX_HEIGHT_SHARE * width) / _BASE_HEIGHT
        self.line, self.margin, self.timeline = even(2 * unit), even(10 * unit), even(6 * unit)
        self.padding = even(8 * unit)
        letters = max(_MIN_LETTERS_PX, 14.5 * unit)
        self.text, self.heading = Lettering(letters), Lettering(letters, bold=True)
        self.label = Lettering(max(_MIN_LETTERS_PX, 12 * unit), bold=True)
        self._colours = dict(zip(labels, colours_of(labels), strict=True))
        self.has_words = min(width, height) >= MIN_SIDE_PX
        """Whether there is room for anything besides boxes."""

    def colour(self, label: str) -> Colour:
        """The colour of a label's plates."""
        return ImageColor.getrgb(self._colours.get(label) or colour_of(label))

    def line_colour(self, label: str) -> Colour:
        """A label's colour for thin lines and letters on dark: a little lighter."""
        return tuple(round(part + 0.3 * (255 - part)) for part in self.colour(label))
