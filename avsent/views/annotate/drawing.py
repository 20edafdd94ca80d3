"""Elements of the drawing: colours, sizes, plates (pictures with alpha) and lettering.

Plates are drawn with Pillow. Text is set with matplotlib's FreeType, which falls back to other
fonts for missing letters; Pillow and OpenCV do not.
"""

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from avsent.result.colours import colour_of, colours_of
from avsent.text import one_line

Colour = tuple[int, int, int]
"""red, green, blue, 0 to 255"""

PixelArea = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are outside"""

WHITE: Colour = (255, 255, 255)
SOFT: Colour = (203, 213, 225)
PANEL: Colour = (15, 23, 42)
NEUTRAL_BOX: Colour = (226, 232, 240)
"""Boxes of faces without a current utterance."""
PANEL_ALPHA = 0.78

MIN_SIDE_PX = 96
"""Smaller pictures get boxes only: letters would not be readable."""

_SMOOTHING = 4  # round corners are drawn this many times larger, then reduced
_BASE_HEIGHT = 360
_WIDEST = 0.75  # upright pictures: sizes as if they were 4:3
_MIN_LETTERS_PX = 9.0

ELLIPSIS = "…"
_MISSING = "□"
_MAX_FONTS = 300
# Tried first for letters that DejaVu lacks: plain fonts that cover a whole script.
_PREFERRED = (
    *("notosanscjk", "sourcehansans", "wqy", "wenquanyi", "droidsansfallback", "pingfang"),
    *("msyh", "yugoth", "malgun", "arialuni", "unifont", "notosans", "freesans"),
)
_NO_LINE_START = frozenset("，。、；：？！）》」』】…,.;:?!)")


def rgb(colour: str) -> Colour:
    """``#rrggbb`` as numbers."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """``colour`` with a ``share`` of ``other`` in it."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def even(pixels: float) -> int:
    """The nearest even number of pixels, at least 2: video keeps one colour for 2x2 pixels."""
    return max(2, 2 * round(pixels / 2))


def new_plate(width: int, height: int) -> Image.Image:
    """A transparent plate."""
    return Image.new("RGBA", (max(1, width), max(1, height)))


def blend(picture: Image.Image, area: PixelArea, colour: Colour, alpha: float = 1.0) -> None:
    """Lay ``colour`` over ``area``, clipped to the picture."""
    left, top, right, bottom = area
    if left < right and top < bottom:
        cover = Image.new("L", (right - left, bottom - top), round(255 * alpha))
        picture.paste((*colour, 255), (left, top), cover)


def blend_frame(
    picture: Image.Image, area: PixelArea, line: int, colour: Colour, alpha: float
) -> None:
    """Lay ``colour`` over the four sides of a box, ``line`` pixels inside ``area``."""
    left, top, right, bottom = area
    for side in (
        (left, top, right, top + line),
        (left, bottom - line, right, bottom),
        (left, top + line, left + line, bottom - line),
        (right - line, top + line, right, bottom - line),
    ):
        blend(picture, side, colour, alpha)


def round_box(
    plate: Image.Image,
    area: tuple[float, float, float, float],
    radius: float,
    colour: Colour,
    alpha: float = 1.0,
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
        font, text = self._set(text)
        return -(-int(font.get_width_height()[0]) // 64) if text else 0

    def write(
        self, plate: Image.Image, text: str, left: int, top: int, colour: Colour, end: int
    ) -> int:
        """Write one line on a plate, shortened to end before ``end``; returns its right edge."""
        text = self.shortened(text, end - left)
        cover, above = self.render(text)
        _paint(plate, Image.fromarray(cover), left, top + above, colour)
        return left + self.width(text)

    def render(self, text: str) -> tuple[NDArray[np.uint8], int]:
        """Opacity 0 to 255 [height, width], and the distance of the first row from the top of the
        line (may be negative)."""
        font, text = self._set(text)
        if not text.strip():
            return np.zeros((1, max(1, self.width(text))), np.uint8), 0
        font.draw_glyphs_to_bitmap(antialiased=True)
        cover = np.array(font.get_image(), np.uint8)
        below = int(font.get_descent()) // 64
        return cover, self.ascent + below - cover.shape[0]

    def wrap(self, text: str, width: int) -> list[str]:
        """``text`` in lines of at most ``width`` pixels, broken between words; words that are too
        wide, or of scripts without blanks, are broken inside."""
        lines: list[str] = []
        line = ""
        for word in one_line(text).split(" "):
            joined = f"{line} {word}" if line else word
            if self.width(joined) <= width:
                line = joined
            elif line and self.width(word) <= width:
                lines.append(line)
                line = word
            else:
                *full, line = self._cut(joined, width)
                lines += full
        return [*lines, line] if line else lines

    def shortened(self, text: str, width: int) -> str:
        """``text`` in one line of at most ``width`` pixels, with an ellipsis if cut."""
        text = one_line(text)
        if self.width(text) <= width:
            return text
        while text and self.width(text + ELLIPSIS) > width:
            text = text[:-1].rstrip()
        return text + ELLIPSIS

    def _cut(self, word: str, width: int) -> list[str]:
        """The longest pieces of ``word`` that fit, of at least one character."""
        pieces = []
        while self.width(word) > width and len(word) > 1:
            # Break at a blank, unless that leaves most of the line empty.
            lengths = range(1, len(word))
            length = max(1, bisect_right(lengths, width, key=lambda n: self.width(word[:n])))
            while length > 1 and word[length] in _NO_LINE_START:
                length -= 1
            blank = word.rfind(" ", 1, length)
            length = blank if blank > length // 2 else length
            pieces.append(word[:length].rstrip())
            word = word[length:].lstrip()
        return [*pieces, word]

    def _set(self, text: str) -> tuple[Any, str]:
        """The font with ``text`` set, and ``text`` with missing letters replaced."""
        text = one_line(text)
        font = self._font
        lacking = frozenset(c for c in text if not font.get_char_index(ord(c)))
        if lacking:
            found = {c: _font_with(c) for c in lacking}
            text = "".join(_MISSING if found.get(c, "") is None else c for c in text)
            more = sorted({file for file in found.values() if file is not None})
            if more:
                from matplotlib.font_manager import get_font

                font = get_font([self._path, *more])
                font.set_size(self.size, 72)
        font.set_text(text, 0.0)
        return font, text


@cache
def _system_fonts() -> tuple[str, ...]:
    """Files of the system's fonts, those that likely cover whole scripts first."""
    from matplotlib.font_manager import fontManager  # takes seconds the first time on a system

    files = {
        entry.fname
        for entry in fontManager.ttflist
        if entry.style == "normal" and "emoji" not in entry.fname.lower()
    }

    def place(file: str) -> tuple[int, bool, str]:
        name = Path(file).name.lower().replace("-", "")
        ranks = [rank for rank, start in enumerate(_PREFERRED) if name.startswith(start)]
        return ranks[0] if ranks else len(_PREFERRED), "regular" not in name, file

    return tuple(sorted(files, key=place)[:_MAX_FONTS])


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
        self.unit = unit = min(height, _WIDEST * width) / _BASE_HEIGHT
        self.line, self.margin, self.timeline = even(2 * unit), even(10 * unit), even(6 * unit)
        self.padding = even(8 * unit)
        letters = max(_MIN_LETTERS_PX, 14.5 * unit)
        self.text, self.heading = Lettering(letters), Lettering(letters, bold=True)
        self.label = Lettering(max(_MIN_LETTERS_PX, 12 * unit), bold=True)
        self._colours = dict(zip(labels, map(rgb, colours_of(labels)), strict=True))
        self.has_words = min(width, height) >= MIN_SIDE_PX
        """Whether there is room for anything besides boxes."""

    def colour(self, label: str) -> Colour:
        """The colour of a label's plates."""
        return self._colours.get(label) or rgb(colour_of(label))

    def line_colour(self, label: str) -> Colour:
        """A label's colour for thin lines and letters on dark: a little lighter."""
        return mixed(self.colour(label), WHITE, 0.3)
