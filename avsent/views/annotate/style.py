"""Sizes and colours of what is drawn, from the size of the picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avsent.result.colours import colour_of, colours_of
from avsent.views.annotate.lettering import Lettering
from avsent.views.annotate.plates import Colour, mixed, rgb

WHITE: Colour = (255, 255, 255)
SOFT: Colour = (203, 213, 225)
PANEL: Colour = (15, 23, 42)
UNHEARD: Colour = (226, 232, 240)
"""Faces that no utterance is about at the time."""

PANEL_ALPHA = 0.78
MIN_SIDE_PX = 96
"""Smaller pictures get boxes only: no letters would be readable."""

_BASE_HEIGHT = 360
_WIDEST = 0.75  # of the width, in upright pictures: as if they were 4:3
_MIN_LETTERS_PX = 9.0


@dataclass(frozen=True, slots=True, eq=False)
class Style:
    """Everything in pixels; even where chroma wants it."""

    width: int
    height: int
    unit: float
    line: int
    margin: int
    timeline: int
    text: Lettering
    heading: Lettering
    label: Lettering
    label_colours: dict[str, Colour]

    @classmethod
    def of(cls, width: int, height: int, labels: Sequence[str]) -> Style:
        """For pictures of this size and a model's labels."""
        unit = min(height, _WIDEST * width) / _BASE_HEIGHT
        letters = max(_MIN_LETTERS_PX, 14.5 * unit)
        return cls(
            width=width,
            height=height,
            unit=unit,
            line=even(2.0 * unit),
            margin=even(10 * unit),
            timeline=even(6 * unit),
            text=Lettering(letters),
            heading=Lettering(letters, bold=True),
            label=Lettering(max(_MIN_LETTERS_PX, 12.0 * unit), bold=True),
            label_colours={
                label: rgb(colour) for label, colour in zip(labels, colours_of(labels), strict=True)
            },
        )

    @property
    def has_words(self) -> bool:
        """Whether there is room for anything besides boxes."""
        return min(self.width, self.height) >= MIN_SIDE_PX

    def colour(self, label: str) -> Colour:
        """The colour of a label, as plates of it are."""
        return self.label_colours.get(label) or rgb(colour_of(label))

    def line_colour(self, label: str) -> Colour:
        """The colour of a label for thin lines and letters on dark: a little lighter."""
        return mixed(self.colour(label), WHITE, 0.3)


def even(pixels: float) -> int:
    """The nearest even number of pixels, 2 at least."""
    return max(2, 2 * round(pixels / 2))
