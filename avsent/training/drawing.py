"""Colours of the pictures of training."""

from __future__ import annotations

from avsent import colours
from avsent.labels import POLARITY_LABELS, SENTIMENT_7

BLUE, VERMILLION, BLACK, GREY = "#0072B2", "#D55E00", "#000000", "#777777"

# Okabe & Ito, "Color Universal Design" (2008): told apart by the colour-blind, too. Their yellow
# comes last and darker, as it is hard to see on white.
PALETTE = (BLUE, VERMILLION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", BLACK, "#A89C00")


def colours_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """A colour per class: of sentiments those they have everywhere, of others those that single
    points show best. From the ninth class on they come again."""
    if set(names) <= {*POLARITY_LABELS, *SENTIMENT_7}:
        return colours.colours_of(names)
    return tuple(PALETTE[place % len(PALETTE)] for place in range(len(names)))
