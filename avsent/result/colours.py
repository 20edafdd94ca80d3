"""Colours of labels and scores, the same in report, plots, video and subtitles.

Negative is orange, positive a blue teal, neutral a warm grey. All can be distinguished with
protanopia, deuteranopia and tritanopia, too, and white text on each has a contrast of at least 4.5
(WCAG 2.2, level AA).
"""

import math
from collections.abc import Sequence

from avsent.labels import canonical, valence_of

NEGATIVE, NEUTRAL, POSITIVE = "#c2410c", "#78716c", "#0e7490"

_OF_LABEL = {
    "highly negative": "#7c2d12",
    "weakly negative": "#965d44",
    "weakly positive": "#4e727a",
    "highly positive": "#164e63",
    "angry": "#5f0f0f",
    "sad": "#86195c",
    "fearful": "#c2410c",
    "disgust": "#713f12",
    "calm": "#3f3b37",
    "surprised": "#7c5cbf",
}
"""Labels that a model distinguishes from others of the same valence."""
_SPARE = (
    *("#7c5cbf", "#3f3b37", "#86195c", "#713f12", "#164e63", "#5f0f0f"),
    *("#1d4ed8", "#4d7c0f", "#be185d"),
)
"""For labels without a known meaning, so that a chart can distinguish them."""


def colour_of(label: str) -> str:
    """The colour ``#rrggbb`` of a label: its own, else that of its valence (unknown ones: grey)."""
    return _OF_LABEL.get(canonical(label)) or colour_of_score(valence_of(label))


def colours_of(labels: Sequence[str]) -> tuple[str, ...]:
    """A colour for each label of a model: :func:`colour_of`, or a spare one where an earlier label
    has that already. From the eleventh unknown label on, colours repeat."""
    given: list[str] = []
    own = [colour_of(label) for label in labels]
    for colour in own:
        if colour in given:
            spare = [other for other in _SPARE if other not in given and other not in own]
            colour = spare[0] if spare else colour
        given.append(colour)
    return tuple(given)


def colour_of_score(score: float) -> str:
    """The colour ``#rrggbb`` of a score in −1..1: grey at 0, to orange below and to teal above.

    Scores outside count as the nearest end, NaN as 0.
    """
    if math.isnan(score):
        score = 0.0
    share = min(1.0, abs(score))
    ends = (NEUTRAL, NEGATIVE if score < 0 else POSITIVE)
    parts = zip(*(bytes.fromhex(colour[1:]) for colour in ends), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in parts)
