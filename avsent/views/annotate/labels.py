"""The plates at the faces: who it is, and the sentiment while it speaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avsent.extraction.faces.types import Box
from avsent.result.utterance import UtteranceResult
from avsent.views.annotate.plates import Canvas, Colour
from avsent.views.annotate.style import PANEL, WHITE, Style

Area = tuple[int, int, int, int]
"""left, top, right, bottom in pixels"""


def signed(score: float) -> str:
    """A score with its sign, a true minus: ``+0.63``, ``−0.20``, ``0.00``."""
    text = f"{score:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def label_text(track: int, utterance: UtteranceResult | None, *, short: bool) -> str:
    """What stands at a face: ``track 1 · positive +0.63``; short: ``1 · +0.63``."""
    if utterance is None:
        return f"{track}" if short else f"track {track}"
    if short:
        return f"{track} · {signed(utterance.score)}"
    return f"track {track} · {utterance.sentiment} {signed(utterance.score)}"


def draw_label(style: Style, text: str, colour: Colour | None) -> Canvas:
    """The plate with ``text``; without a colour it is of one that nothing is said about."""
    letters = style.label
    text = letters.shortened(text, round(0.9 * style.width))
    pad = even_pad(style)
    canvas = Canvas.blank(letters.width(text) + 2 * pad, letters.line_height + pad)
    area = (0, 0, canvas.width, canvas.height)
    if colour is None:
        canvas.round_box(area, 3 * style.unit, PANEL, 0.6)
    else:
        canvas.round_box(area, 3 * style.unit, colour, 0.94)
    cover, top = letters.render(text)
    canvas.paint(cover, pad, top + pad // 2, WHITE)
    return canvas


def even_pad(style: Style) -> int:
    """Pixels left and right of a label's text."""
    return max(2, 2 * round(2.5 * style.unit))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A label to be placed at a face: sizes of its long and its short form."""

    box: Box
    long: tuple[int, int]
    short: tuple[int, int]
    needed: bool
    """Whether it is drawn where there is no free place, too."""


def place_labels(
    wanted: Sequence[Wanted], room: Area, blocked: Sequence[Area] = ()
) -> list[tuple[bool, int, int] | None]:
    """For each label whether it is short, and its left and top; None: it is not drawn.

    Tried in this order: above the box, below it, and inside at its top; the long form before the
    short one, which is preferred at boxes much narrower than the long form, if there are
    several. No label lies on another or on what is ``blocked``; the first in the list choose
    first.
    """
    taken = list(blocked)
    places: list[tuple[bool, int, int] | None] = []
    for label in wanted:
        crowded = len(wanted) > 1 and label.long[0] > 2.5 * (label.box[2] - label.box[0])
        forms = [True, False] if crowded else [False, True]
        options = [
            (short, *place)
            for short in forms
            for place in _places(label.box, label.short if short else label.long, room)
        ]
        free = [o for o in options if not any(meet(_area(o, label), area) for area in taken)]
        chosen = free[0] if free else options[-1] if label.needed else None
        places.append(chosen)
        if chosen is not None:
            taken.append(_area(chosen, label))
    return places


def meet(one: Area, other: Area) -> bool:
    """Whether two areas have a pixel in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _area(place: tuple[bool, int, int], label: Wanted) -> Area:
    short, left, top = place
    width, height = label.short if short else label.long
    return left, top, left + width, top + height


def _places(box: Box, size: tuple[int, int], room: Area) -> list[tuple[int, int]]:
    width, height = size
    left = min(max(round(box[0]), room[0]), max(room[0], room[2] - width))
    tops = [round(box[1]) - height - 2, round(box[3]) + 2]
    inside = [top for top in tops if room[1] <= top and top + height <= room[3]]
    return [
        (left, top) for top in [*inside, min(max(round(box[1]) + 2, room[1]), room[3] - height)]
    ]
