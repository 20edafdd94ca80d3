"""The strip at the bottom: all utterances of the video in their colours."""

from __future__ import annotations

from collections.abc import Sequence

from avsent.result.utterance import UtteranceResult
from avsent.views.annotate.plates import Canvas, Colour
from avsent.views.annotate.schedule import lanes
from avsent.views.annotate.style import PANEL, PANEL_ALPHA, Style, even

MAX_LANES = 4
_RAIL: Colour = (51, 65, 85)


def strip_height(style: Style) -> int:
    """Pixels from the strip's top to the picture's bottom."""
    return even(style.timeline + 2 * gap(style))


def gap(style: Style) -> int:
    """Pixels above and below the rail."""
    return even(4 * style.unit)


def head_x(style: Style, time_s: float, duration_s: float) -> int:
    """Where the play head is at ``time_s``: pixels from the picture's left."""
    share = min(1.0, max(0.0, time_s / duration_s)) if duration_s > 0 else 0.0
    return round(style.margin + share * _length(style))


def draw_strip(style: Style, utterances: Sequence[UtteranceResult], duration_s: float) -> Canvas:
    """The strip as wide as the picture, without the play head."""
    canvas = Canvas.blank(style.width, strip_height(style))
    canvas.fill((0, 0, canvas.width, canvas.height), PANEL, PANEL_ALPHA)
    left, top = style.margin, gap(style)
    bottom = top + style.timeline
    canvas.fill((left, top, left + _length(style), bottom), _RAIL)
    chosen, count = lanes(utterances, min(MAX_LANES, max(1, style.timeline // 2)))
    for utterance, lane in zip(utterances, chosen, strict=True):
        start = head_x(style, utterance.start_s, duration_s)
        # A pixel free between neighbours; what is shorter than a pixel is seen all the same.
        end = max(start + 1, head_x(style, utterance.end_s, duration_s) - 1)
        high = style.timeline / count
        area = (start, top + lane * high, end, top + (lane + 1) * high)
        canvas.fill(area, style.line_colour(utterance.sentiment))
    return canvas


def _length(style: Style) -> int:
    return max(2, style.width - 2 * style.margin)
