"""Words as pictures: any script for which DejaVu (inside matplotlib) or the system has a font.

OpenCV's own letters know ASCII only. What no font has is shown as a box.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font

from avsent.text import one_line
from avsent.views.annotate.plates import Bytes

ELLIPSIS = "…"
_MISSING = "□"
_MAX_FONTS = 300
# Tried first where DejaVu lacks something: fonts that hold a whole script, in a plain style.
_PREFERRED = (
    *("notosanscjk", "sourcehansans", "wqy", "wenquanyi", "droidsansfallback", "pingfang"),
    *("msyh", "yugoth", "malgun", "arialuni", "unifont", "notosans", "freesans"),
)
_SEPARATE = frozenset("，。、；：？！）》」』】…,.;:?!)")  # these do not begin a line


class Lettering:
    """Writes in one size and weight; ``size`` is the height of the letters' square in pixels."""

    def __init__(self, size: float, *, bold: bool = False) -> None:
        self.size = size
        self._path = str(_own_font(bold))
        self._font: Any = FT2Font(self._path)
        self._font.set_size(size, 72)
        self.ascent = round(0.93 * size)
        """Pixels from the top of a line to its base line."""
        self.line_height = round(1.26 * size)

    def width(self, text: str) -> int:
        """Pixels that ``text`` takes, in one line."""
        font, text = self._set(text)
        return -(-int(font.get_width_height()[0]) // 64) if text else 0

    def render(self, text: str) -> tuple[Bytes, int]:
        """How far each pixel is covered, 0 to 255 [height, width], and the first row's distance
        from the top of the line (which may be negative)."""
        font, text = self._set(text)
        if not text.strip():
            return np.zeros((1, max(1, self.width(text))), np.uint8), 0
        font.draw_glyphs_to_bitmap(antialiased=True)
        cover = np.array(font.get_image(), np.uint8)
        below = int(font.get_descent()) // 64
        return cover, self.ascent + below - cover.shape[0]

    def wrap(self, text: str, width: int) -> list[str]:
        """``text`` in lines no wider than ``width`` pixels, broken between words, or inside
        words that are too wide or of scripts without blanks."""
        lines: list[str] = []
        line = ""
        for word in one_line(text).split(" "):
            joined = f"{line} {word}" if line else word
            if self.width(joined) <= width:
                line = joined
                continue
            if line and self.width(word) <= width:
                lines.append(line)
                line = word
                continue
            *full, line = self._cut(joined, width)
            lines += full
        return [*lines, line] if line else lines

    def shortened(self, text: str, width: int) -> str:
        """``text`` in one line of at most ``width`` pixels, ended by an ellipsis if cut."""
        text = one_line(text)
        if self.width(text) <= width:
            return text
        while text and self.width(text + ELLIPSIS) > width:
            text = text[:-1].rstrip()
        return text + ELLIPSIS

    def _cut(self, word: str, width: int) -> list[str]:
        """Pieces of ``word`` that are as long as fit, of one character at least."""
        pieces = []
        while self.width(word) > width and len(word) > 1:
            low, high = 1, len(word) - 1  # the longest piece that fits, by halving
            while low < high:
                middle = (low + high + 1) // 2
                low, high = (
                    (middle, high) if self.width(word[:middle]) <= width else (low, middle - 1)
                )
            while low > 1 and word[low] in _SEPARATE:
                low -= 1
            blank = word.rfind(" ", 1, low)
            # A blank to break at counts if it does not leave most of the line empty.
            if blank > low // 2:
                low = blank
            pieces.append(word[:low].rstrip())
            word = word[low:].lstrip()
        return [*pieces, word]

    def _set(self, text: str) -> tuple[Any, str]:
        """The font to use, with ``text`` set in it, and what of it can be shown."""
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


def _own_font(bold: bool) -> Path:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return Path(get_data_path()) / "fonts" / "ttf" / name


@cache
def _system_fonts() -> tuple[str, ...]:
    """Files of some of the system's fonts, those that likely hold whole scripts first."""
    from matplotlib.font_manager import fontManager  # seconds, the first time on a system

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
    """The file of the first font that has the character, None where none has."""
    return next((file for file in _system_fonts() if ord(character) in _characters(file)), None)


@cache
def _characters(file: str) -> frozenset[int]:
    """What a font has letters for."""
    try:
        return frozenset(FT2Font(file).get_charmap())
    except (OSError, RuntimeError, ValueError):  # not a font that FreeType can read
        return frozenset()
