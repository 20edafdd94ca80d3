"""What all pictures share: frames, fonts, and files that are never half there.

Pictures go through matplotlib's ``Figure`` and not through pyplot, so nothing is shared between
calls but the short change of settings while a file is drawn. The same data give the same bytes
with the same matplotlib and the same fonts.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from avsent.files import write_bytes
from avsent.labels import POLARITY_LABELS, SENTIMENT_7
from avsent.result import colours

SUFFIXES = (".png", ".svg", ".pdf")
DPI = 150
# What of these is installed is asked for the scripts that matplotlib's own font lacks.
_FONTS = (
    *("Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai"),
    *("WenQuanYi Zen Hei", "IPAGothic", "Droid Sans Fallback", "Unifont"),
    *("Arial Unicode MS", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Segoe UI", "Leelawadee UI", "Nirmala UI"),
)
_NO_METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def plain_frame(axes: Axes, grid: Literal["", "x", "y", "both"] = "", size: float = 8) -> None:
    """Left and lower edge alone; a light grid along "x", "y" or "both"; ticks of this size."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=size)
    if grid:
        axes.grid(True, axis=grid, color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path, dpi: float = DPI) -> None:
    """Write a picture under a temporary name, then give it its own.

    The file holds no dates and no random ids: the same figure gives the same bytes. Words in SVG
    and PDF are words, which can be searched and edited. Raises ValueError if the name ends in none
    of ``SUFFIXES``, OutputError if the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path.name}: pictures are written as {', '.join(SUFFIXES)}")
    drawn = io.BytesIO()
    with settings():
        _settle(figure)
        figure.savefig(
            drawn, format=kind[1:], dpi=dpi, metadata=_NO_METADATA[kind], facecolor="white"
        )
    write_bytes(path, drawn.getvalue())


def _settle(figure: Figure) -> None:
    """Lay the figure out, once and to a millionth: matplotlib's solver gives other last digits
    from time to time, and ids in SVG are made from all digits."""
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        x, y, width, height = (round(edge, 6) for edge in axes.get_position(original=True).bounds)
        axes.set_position((x, y, width, height))


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """matplotlib's settings while a picture is made and written."""
    chosen: Any = {
        "svg.hashsalt": "avsent",
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "font.family": ["DejaVu Sans", *_installed()],
    }
    with mpl.rc_context(chosen), warnings.catch_warnings():
        # A name in a script that all fonts lack is drawn as boxes; the rest is still worth it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@cache
def _installed() -> tuple[str, ...]:
    there = {font.name for font in fontManager.ttflist}
    return tuple(name for name in _FONTS if name in there)


BLUE, VERMILLION, BLACK = "#0072B2", "#D55E00", "#000000"

# Okabe & Ito, "Color Universal Design" (2008): told apart by the colour-blind, too. Their yellow
# comes last and darker, as it is hard to see on white.
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#A89C00")


def colours_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """A colour per class: of sentiments those they have everywhere, of others those that single
    points show best. From the ninth class on they come again."""
    if set(names) <= {*POLARITY_LABELS, *SENTIMENT_7}:
        return colours.colours_of(names)
    return tuple(PALETTE[place % len(PALETTE)] for place in range(len(names)))
