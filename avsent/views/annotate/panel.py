"""The card with what is being said: sentiment, bar from −1 to 1, and the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avsent.result.utterance import UtteranceResult
from avsent.views.annotate.labels import signed
from avsent.views.annotate.plates import Canvas, Colour
from avsent.views.annotate.style import PANEL, PANEL_ALPHA, SOFT, WHITE, Style, even

LINES_AT_ONCE = 2
"""Of an utterance's words; longer ones are turned over like pages."""

_MAX_SHARE = 0.4  # of the picture's height
_RAIL: Colour = (71, 85, 105)
_BAR_SHARE = 0.34  # of the card's width
_WORDS_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Words:
    """The text of one utterance, broken into pages of a few lines."""

    pages: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, text: str | None, style: Style) -> Words:
        """The text as it fits on the card; no pages if there is none."""
        lines = style.text.wrap(text or "", card_width(style) - 2 * padding(style))
        starts = range(0, len(lines), LINES_AT_ONCE)
        return cls(tuple(tuple(lines[start : start + LINES_AT_ONCE]) for start in starts))

    def page_at(self, share: float) -> int:
        """Which page to show when a ``share`` of the utterance's time has gone by: each has as
        much of it as it has of the letters."""
        letters = [sum(map(len, page)) for page in self.pages]
        due, page = share * sum(letters), 0
        while page < len(letters) - 1 and due >= letters[page]:
            due -= letters[page]
            page += 1
        return page


@dataclass(frozen=True, slots=True)
class Said:
    """One utterance as the card shows it: the page, and how many lines to keep free for pages."""

    utterance: UtteranceResult
    page: tuple[str, ...] = ()
    lines: int = 0


def card_width(style: Style) -> int:
    """Pixels from the card's left to its right."""
    return style.width - style.width % 2 - 2 * style.margin


def padding(style: Style) -> int:
    """Pixels between the card's edges and what it holds."""
    return even(8 * style.unit)


def most_rows(style: Style) -> int:
    """Utterances for which a card has room, without words."""
    room = _MAX_SHARE * style.height - 2 * padding(style)
    return max(1, int(room // head_height(style)))


def head_height(style: Style) -> int:
    """Pixels that a row with label, score and bar takes."""
    return style.heading.line_height + round(3 * style.unit)


def card_height(style: Style, said: Sequence[Said]) -> int:
    """Pixels from the card's top to its bottom."""
    rows = min(len(said), most_rows(style))
    lines = _lines(style, said)
    inside = rows * head_height(style) + lines * style.text.line_height
    return even(inside + 2 * padding(style))


def draw_card(style: Style, said: Sequence[Said]) -> Canvas:
    """The card for utterances at the same time. Where there are many, the words are left out,
    then the last ones are counted only."""
    canvas = Canvas.blank(card_width(style), card_height(style, said))
    area = (0, 0, canvas.width, canvas.height)
    canvas.round_box(area, 6 * style.unit, PANEL, PANEL_ALPHA)
    top, rows = padding(style), most_rows(style)
    with_words = _lines(style, said) > 0
    for number, one in enumerate(said):
        if number == rows - 1 and len(said) > rows:
            more = f"and {len(said) - number} more at the same time"
            _write(canvas, style, more, padding(style), top, SOFT, bold=False)
            break
        _head(canvas, style, one.utterance, top)
        top += head_height(style)
        for line in one.page if with_words else ():
            _write(canvas, style, line, padding(style), top, WHITE, bold=False)
            top += style.text.line_height
        if with_words:
            top += (one.lines - len(one.page)) * style.text.line_height
    return canvas


def _lines(style: Style, said: Sequence[Said]) -> int:
    """Lines of words on the card: all, or none where that is too many."""
    lines = sum(one.lines for one in said)
    room = _MAX_SHARE * style.height - 2 * padding(style)
    needed = len(said) * head_height(style) + lines * style.text.line_height
    return lines if needed <= room or len(said) == 1 else 0


def _head(canvas: Canvas, style: Style, utterance: UtteranceResult, top: int) -> None:
    """Label, score and track on the left, the bar on the right."""
    colour = style.line_colour(utterance.sentiment)
    left, height = padding(style), style.heading.line_height
    dot = round(0.62 * style.heading.size)
    above = top + (height - dot) // 2
    canvas.round_box((left, above, left + dot, above + dot), dot / 2, colour)
    left += dot + round(0.45 * style.heading.size)

    end = round(_WORDS_SHARE * canvas.width)
    label = f"{utterance.sentiment} {signed(utterance.score)}"
    left = _write(canvas, style, label, left, top, WHITE, bold=True, end=end)
    who = "voice alone" if utterance.track is None else f"track {utterance.track}"
    left += round(0.6 * style.heading.size)
    if left + style.text.width(who) <= end:
        _write(canvas, style, who, left, top, SOFT, bold=False)
    _bar(canvas, style, utterance, top + height // 2)


def _bar(canvas: Canvas, style: Style, utterance: UtteranceResult, middle: int) -> None:
    """A rail from −1 to 1 with the score on it."""
    colour = style.line_colour(utterance.sentiment)
    right = canvas.width - padding(style)
    ends = ("−1", "+1")
    text_top = middle - style.heading.line_height // 2
    widths = [style.text.width(end) for end in ends]
    left = round(right - _BAR_SHARE * canvas.width)
    _write(canvas, style, ends[0], left, text_top, SOFT, bold=False)
    _write(canvas, style, ends[1], right - widths[1], text_top, SOFT, bold=False)
    thick = max(2.0, 5 * style.unit)
    knob = 1.1 * thick
    gap = round(0.3 * style.heading.size + knob)
    left, right = left + widths[0] + gap, right - widths[1] - gap
    canvas.round_box((left, middle - thick / 2, right, middle + thick / 2), thick / 2, _RAIL)
    centre = (left + right) / 2
    at = centre + max(-1.0, min(1.0, utterance.score)) * (right - left) / 2
    from_, to = sorted((centre, at))
    canvas.round_box((from_, middle - thick / 2, to, middle + thick / 2), 0, colour)
    tick = max(1.0, style.unit)
    canvas.round_box(
        (centre - tick / 2, middle - thick, centre + tick / 2, middle + thick), 0, SOFT
    )
    knob = 1.1 * thick
    canvas.round_box((at - knob, middle - knob, at + knob, middle + knob), knob, WHITE)
    inner = 0.62 * knob
    canvas.round_box((at - inner, middle - inner, at + inner, middle + inner), inner, colour)


def _write(
    canvas: Canvas,
    style: Style,
    text: str,
    left: int,
    top: int,
    colour: Colour,
    *,
    bold: bool,
    end: int | None = None,
) -> int:
    """Write one line, shortened if it would go beyond ``end``; where it ends."""
    letters = style.heading if bold else style.text
    text = letters.shortened(text, (canvas.width if end is None else end) - left)
    cover, above = letters.render(text)
    canvas.paint(cover, left, top + above, colour)
    return left + letters.width(text)
