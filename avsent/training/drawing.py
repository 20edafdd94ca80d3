"""What all pictures share: colours, frames, and files that are never half there."""

from __future__ import annotations

import io
import os
import secrets
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from avsent.errors import OutputError
from avsent.labels import POLARITY_LABELS

BLUE, VERMILLION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#777777"

# Okabe & Ito, "Color Universal Design" (2008): told apart by the colour-blind, too. Their yellow
# comes last and darker, as it is hard to see on white.
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#A89C00")
_OF_POLARITY = dict(zip(POLARITY_LABELS, (VERMILLION, GREY, BLUE), strict=True))

SUFFIXES = (".png", ".svg")
_DPI = 150


def colours_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """A colour per class; polarities have their own. From the ninth class on they come again."""
    if set(names) <= set(_OF_POLARITY):
        return tuple(_OF_POLARITY[name] for name in names)
    return tuple(PALETTE[place % len(PALETTE)] for place in range(len(names)))


def plain_frame(axes: Axes, grid: str = "") -> None:
    """Left and lower edge alone; a light grid along "x", "y" or "both"."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    if grid in ("x", "both"):
        axes.xaxis.grid(True, color="#E5E5E5", lw=0.6)
    if grid in ("y", "both"):
        axes.yaxis.grid(True, color="#E5E5E5", lw=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture under a temporary name, then give it its own.

    The file holds no dates and no random ids: the same figure gives the same bytes.

    Raises:
        ValueError: the name ends in neither ``.png`` nor ``.svg``.
        OutputError: the file cannot be written.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ValueError(f"{path.name}: pictures are written as {' or '.join(SUFFIXES)}")
    drawn = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if kind == ".svg" else {"Software": None}
    with mpl.rc_context({"svg.hashsalt": "avsent"}), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the rest is still worth it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(drawn, format=kind[1:], dpi=_DPI, metadata=metadata, facecolor="white")
    temporary = path.with_name(f".avsent-{secrets.token_hex(6)}.tmp")
    try:
        try:
            temporary.write_bytes(drawn.getvalue())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
