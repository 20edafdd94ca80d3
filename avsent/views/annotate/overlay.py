"""What is drawn at which time: boxes and labels at the faces, the card with the current utterances,
and the timeline of the whole video at the bottom."""

import statistics
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import NamedTuple

from PIL.Image import Image

from avsent.extraction.faces.geometry import Box, Sighting
from avsent.result.record import Result, UtteranceResult, lanes
from avsent.text import score_text
from avsent.views.annotate.drawing import Area, Colour, Style, even, outline, panel, round_box

MAX_GAP_S = 0.35  # no box is drawn across a longer gap between two sightings: the face was away
LINES_AT_ONCE = 2  # lines of an utterance's text on the card; longer texts are shown page by page
MAX_LANES = 4

_GAP_IN_INTERVALS = 1.75  # of analysed frames, if they are far apart: one missing is a gap
_TIME_TOLERANCE_S = 0.002  # times in result files are rounded
_MAX_CARD_SHARE = 0.4  # of the picture's height
_BAR_SHARE, _WORDS_SHARE = 0.34, 0.6  # of the card's width
_WHITE, _SOFT, _PANEL = (255, 255, 255), (203, 213, 225), (15, 23, 42)
_NO_UTTERANCE: Colour = (226, 232, 240)  # boxes of faces without a current utterance
_BAR_RAIL, _TIMELINE_RAIL = (71, 85, 105), (51, 65, 85)
_PANEL_ALPHA = 0.78
_MAX_BOXES_COMPARED = 400
_time_of = attrgetter("time_s")

Pages = tuple[tuple[str, ...], ...]
"""The text of one utterance, in pages of a few lines"""

Scale = tuple[float, float]
"""Pixels of a picture to draw on for each analysed one, across and down"""


class Overlay:
    """Draws the result of one video on its pictures, in the order of their times."""

    def __init__(
        self, style: Style, result: Result, sightings: Sequence[Sighting], duration_s: float
    ) -> None:
        self._style, self._duration_s = style, duration_s
        self._faces, self._utterances = FaceBoxes(sightings), Utterances(result.utterances)
        self._strip = draw_strip(style, result.utterances, duration_s)
        self._strip_top = style.height - self._strip.height
        self._label, self._pages = lru_cache(128)(draw_label), lru_cache(128)(pages_of)
        # The card is drawn again only when its content changes.
        self._rows: list[CardRow] = []
        self._card, self._card_top = self._strip, 0

    def draw(self, picture: Image, time_s: float, scale: Scale) -> None:
        """Draw what belongs to ``time_s`` on an RGBA picture."""
        current = self._utterances.at(time_s)
        found = sorted(self._faces.at(time_s).items())
        faces = {track: _scaled(box, scale) for track, box in found}
        speaking = {u.track: u for u in current if u.track is not None and u.track in faces}
        for track in sorted(faces, key=lambda track: track in speaking):
            self._draw_box(picture, faces[track], speaking.get(track))
        if not self._style.has_words:
            return
        blocked = []
        if current:
            self._draw_card(picture, current, time_s, scale)
            blocked.append(_area(self._card, self._style.margin, self._card_top))
        wanted = []
        for track in sorted(faces, key=lambda track: (track not in speaking, track)):
            utterance = speaking.get(track)
            colour = None if utterance is None else self._style.colour(utterance.sentiment)
            texts = (label_text(track, utterance, short=short) for short in (False, True))
            long, short = (self._label(self._style, text, colour) for text in texts)
            wanted.append(WantedLabel(faces[track], long, short, utterance is not None))
        room = (0, 0, self._style.width, self._strip_top)
        for plate, left, top in place_labels(wanted, room, blocked):
            picture.paste(plate, (left, top), plate)
        self._draw_timeline(picture, time_s)

    def _draw_box(self, picture: Image, box: Box, utterance: UtteranceResult | None) -> None:
        style = self._style
        left, top, right, bottom = map(round, box)
        line, colour, alpha = max(1, style.line // 2), _NO_UTTERANCE, 0.75
        if utterance is not None:
            line, colour, alpha = style.line, style.line_colour(utterance.sentiment), 1.0
        outline(picture, (left, top, right, bottom), line, colour, alpha)
        # A dark edge outside makes the line visible on any background.
        edge = max(1, round(style.unit / 2))
        outer = (left - edge, top - edge, right + edge, bottom + edge)
        outline(picture, outer, edge, _PANEL, 0.5 * alpha)

    def _draw_card(
        self, picture: Image, current: list[UtteranceResult], time_s: float, scale: Scale
    ) -> None:
        # Utterances of the same time (one for each face) may share a text: only the last shows it.
        last = {(u.text, u.start_s, u.end_s): u for u in current}
        rows = []
        for u in current:
            text = u.text if last[u.text, u.start_s, u.end_s] is u else None
            pages = self._pages(text, self._style)
            number = page_at(pages, (time_s - u.start_s) / max(1e-6, u.end_s - u.start_s))
            page = pages[number] if pages else ()
            rows.append(CardRow(u, page, max(map(len, pages), default=0)))
        if rows != self._rows:
            self._rows, self._card = rows, draw_card(self._style, rows)
            self._card_top = self._place_card(current, scale)
        picture.paste(self._card, (self._style.margin, self._card_top), self._card)

    def _place_card(self, current: list[UtteranceResult], scale: Scale) -> int:
        """The top of the card: below, or above where it would cover less of the faces."""
        margin, height = even(self._style.margin * 0.6), self._card.height
        below, above = self._strip_top - margin - height, margin
        boxes = self._faces.between(min(u.start_s for u in current), max(u.end_s for u in current))
        boxes = boxes[:: 1 + len(boxes) // _MAX_BOXES_COMPARED]

        def covered(top: int) -> float:
            return sum(
                max(0.0, min(box[3], top + height) - max(box[1], top)) * (box[2] - box[0])
                for box in (_scaled(box, scale) for box in boxes)
            )

        return above if covered(above) < 0.7 * covered(below) else below

    def _draw_timeline(self, picture: Image, time_s: float) -> None:
        picture.paste(self._strip, (0, self._strip_top), self._strip)
        x = play_head_x(self._style, time_s, self._duration_s)
        half = max(1, round(self._style.unit))
        top, bottom = self._strip_top + half, self._strip_top + self._strip.height - half
        picture.paste(_PANEL, (x - 2 * half, top, x + 2 * half, bottom))
        picture.paste(_WHITE, (x - half, top, x + half, bottom))


class Utterances:
    """Finds the utterances of a time."""

    def __init__(self, utterances: Sequence[UtteranceResult]) -> None:
        self._ordered = sorted(utterances, key=lambda u: (u.start_s, u.end_s, u.index))
        # Latest end of the first 1, 2, ... utterances: ascending, so that it can be bisected.
        self._ends_s = list(accumulate((u.end_s for u in self._ordered), max))

    def at(self, time_s: float) -> list[UtteranceResult]:
        """Utterances that last at ``time_s``, the earliest first."""
        ended = bisect_right(self._ends_s, time_s)
        begun = bisect_right(self._ordered, time_s, key=lambda u: u.start_s)
        return [u for u in self._ordered[ended:begun] if time_s < u.end_s]


class FaceBoxes:
    """Boxes of all tracks over time, interpolated between two sightings of a face."""

    def __init__(self, sightings: Sequence[Sighting]) -> None:
        self._tracks: dict[int, list[Sighting]] = {}
        for sighting in sorted(sightings, key=_time_of):
            self._tracks.setdefault(sighting.track, []).append(sighting)
        gaps_s = [b.time_s - a.time_s for seen in self._tracks.values() for a, b in pairwise(seen)]
        self.max_gap_s = max(MAX_GAP_S, _GAP_IN_INTERVALS * statistics.median(gaps_s or [0.0]))

    def at(self, time_s: float) -> dict[int, Box]:
        """Box of every face in the picture at ``time_s``, by track."""
        found = {track: self._box(seen, time_s) for track, seen in self._tracks.items()}
        return {track: box for track, box in found.items() if box is not None}

    def between(self, start_s: float, end_s: float) -> list[Box]:
        """All boxes found from ``start_s`` to ``end_s``, of all faces."""
        seen = [sighting for track in self._tracks.values() for sighting in track]
        return [sighting.box for sighting in seen if start_s < sighting.time_s <= end_s]

    def _box(self, seen: list[Sighting], time_s: float) -> Box | None:
        after = bisect_right(seen, time_s, key=_time_of)
        near = seen[max(0, after - 1) : after + 1]
        for sighting in near:
            if abs(time_s - sighting.time_s) <= _TIME_TOLERANCE_S:
                return sighting.box
        if len(near) < 2 or near[1].time_s - near[0].time_s > self.max_gap_s:
            return None
        share = (time_s - near[0].time_s) / (near[1].time_s - near[0].time_s)
        left, top, right, bottom = (
            a + share * (b - a) for a, b in zip(near[0].box, near[1].box, strict=True)
        )
        return left, top, right, bottom


def _scaled(box: Box, scale: Scale) -> Box:
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]


def _area(plate: Image, left: int, top: int) -> Area:
    return left, top, left + plate.width, top + plate.height


# Labels at the faces


def score_label(score: float) -> str:
    """A score with its sign, a true minus: ``+0.63``, ``−0.20``, ``0.00``."""
    text = score_text(score)
    return "0.00" if text == "+0.00" else text.replace("-", "−")


def label_text(track: int, utterance: UtteranceResult | None, *, short: bool) -> str:
    """The label of a face: ``track 1 · positive +0.63``; short: ``1 · +0.63``. Of an unsure
    decision: ``track 1 · positive? +0.06``; short: ``1 · ? +0.06``."""
    name = f"{track}" if short else f"track {track}"
    if utterance is None:
        return name
    label = utterance.marked_label
    if short:
        label = label[len(utterance.sentiment) :]
    return f"{name} · {label}{' ' if label else ''}{score_label(utterance.score)}"


def draw_label(style: Style, text: str, colour: Colour | None) -> Image:
    """Plate with ``text``; no colour: the face has no utterance at the time."""
    text = style.label.shortened(text, round(0.9 * style.width))
    pad = even(5 * style.unit)
    ground, alpha = (_PANEL, 0.6) if colour is None else (colour, 0.94)
    size = (style.label.width(text) + 2 * pad, style.label.line_height + pad)
    plate = panel(size, 3 * style.unit, ground, alpha)
    style.label.write(plate, text, pad, pad // 2, _WHITE, plate.width)
    return plate


class WantedLabel(NamedTuple):
    """A label at a face, in long and short form; ``needed``: draw it even if no place is free."""

    box: Box
    long: Image
    short: Image
    needed: bool


def place_labels(
    wanted: Sequence[WantedLabel], room: Area, blocked: Sequence[Area] = ()
) -> list[tuple[Image, int, int]]:
    """Left and top of each label that has a free place, in one of its forms.

    Tries above the box, below it, then inside at its top; first the long form, but if there are
    several labels and the box is much narrower, first the short one. Labels do not overlap each
    other or ``blocked`` areas; earlier labels choose first.
    """
    taken = list(blocked)
    places = []
    for label in wanted:
        box_left, box_top, box_right, box_bottom = map(round, label.box)
        crowded = len(wanted) > 1 and label.long.width > 2.5 * (box_right - box_left)
        options = []
        for plate in (label.short, label.long) if crowded else (label.long, label.short):
            left = min(max(box_left, room[0]), max(room[0], room[2] - plate.width))
            lowest = room[3] - plate.height
            outside = (box_top - plate.height - 2, box_bottom + 2)
            tops = [top for top in outside if room[1] <= top <= lowest]
            tops.append(min(max(box_top + 2, room[1]), lowest))
            options += [(plate, left, top) for top in tops]
        free = [one for one in options if not any(overlap(_area(*one), area) for area in taken)]
        chosen = (free or (options[-1:] if label.needed else []))[:1]
        taken += [_area(*place) for place in chosen]
        places += chosen
    return places


def overlap(one: Area, other: Area) -> bool:
    """Whether two areas have a pixel in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


# The card: sentiment, bar from −1 to 1, and the words


def pages_of(text: str | None, style: Style) -> Pages:
    """``text`` in pages that fit on the card; none without text."""
    lines = style.text.wrap(text or "", style.width - 2 * (style.margin + style.padding))
    return tuple(tuple(lines[n : n + LINES_AT_ONCE]) for n in range(0, len(lines), LINES_AT_ONCE))


def page_at(pages: Pages, share: float) -> int:
    """Number of the page to show after a ``share`` of the utterance's time; each page takes time
    in proportion to its letters."""
    ends = list(accumulate(sum(map(len, page)) for page in pages))
    return min(bisect_right(ends, share * ends[-1]), len(pages) - 1) if pages else 0


class CardRow(NamedTuple):
    """One utterance on the card: the page to show, and the length of its longest page."""

    utterance: UtteranceResult
    page: tuple[str, ...] = ()
    lines: int = 0


def draw_card(style: Style, rows: Sequence[CardRow]) -> Image:
    """The card of utterances at the same time; if they are many, without text, and if they are
    more still, the last ones are only counted."""
    pad, text = style.padding, style.text
    row_height = style.heading.line_height + round(3 * style.unit)
    room = _MAX_CARD_SHARE * style.height - 2 * pad
    most_rows = max(1, int(room // row_height))
    lines = sum(row.lines for row in rows)
    if len(rows) > 1 and len(rows) * row_height + lines * text.line_height > room:
        lines = 0
    inside = min(len(rows), most_rows) * row_height + lines * text.line_height
    size = (style.width - 2 * style.margin, even(inside + 2 * pad))
    card = panel(size, 6 * style.unit, _PANEL, _PANEL_ALPHA)
    top = pad
    for number, row in enumerate(rows):
        if number == most_rows - 1 and len(rows) > most_rows:
            more = f"and {len(rows) - number} more at the same time"
            text.write(card, more, pad, top, _SOFT, card.width)
            break
        _draw_heading(card, style, row.utterance, top)
        top += row_height
        if lines:
            for place, line in enumerate(row.page):
                text.write(card, line, pad, top + place * text.line_height, _WHITE, card.width)
            top += row.lines * text.line_height
    return card


def _draw_heading(card: Image, style: Style, utterance: UtteranceResult, top: int) -> None:
    """Label, score and track on the left, the bar on the right."""
    left, size, height = style.padding, style.heading.size, style.heading.line_height
    dot = round(0.62 * size)
    above = top + (height - dot) // 2
    colour = style.line_colour(utterance.sentiment)
    round_box(card, (left, above, left + dot, above + dot), dot / 2, colour)
    left += dot + round(0.45 * size)
    end = round(_WORDS_SHARE * card.width)
    label = f"{utterance.marked_label} {score_label(utterance.score)}"
    left = style.heading.write(card, label, left, top, _WHITE, end) + round(0.6 * size)
    who = "voice alone" if utterance.track is None else f"track {utterance.track}"
    if left + style.text.width(who) <= end:
        style.text.write(card, who, left, top, _SOFT, card.width)
    _draw_bar(card, style, colour, utterance.score, top)


def _draw_bar(card: Image, style: Style, colour: Colour, score: float, text_top: int) -> None:
    """A rail from −1 to 1 with the score on it."""
    right = card.width - style.padding
    left = round(right - _BAR_SHARE * card.width)
    middle = text_top + style.heading.line_height // 2
    thick = max(2.0, 5 * style.unit)
    knob = 1.1 * thick
    gap = round(0.3 * style.heading.size + knob)
    right -= style.text.width("+1")
    style.text.write(card, "+1", right, text_top, _SOFT, card.width)
    left = style.text.write(card, "−1", left, text_top, _SOFT, card.width) + gap
    right -= gap
    round_box(card, (left, middle - thick / 2, right, middle + thick / 2), thick / 2, _BAR_RAIL)
    centre = (left + right) / 2
    at = centre + max(-1.0, min(1.0, score)) * (right - left) / 2
    start, end = sorted((centre, at))
    round_box(card, (start, middle - thick / 2, end, middle + thick / 2), 0, colour)
    tick = max(1.0, style.unit) / 2
    round_box(card, (centre - tick, middle - thick, centre + tick, middle + thick), 0, _SOFT)
    for radius, disc in ((knob, _WHITE), (0.62 * knob, colour)):
        area = (at - radius, middle - radius, at + radius, middle + radius)
        round_box(card, area, radius, disc)


# The timeline: all utterances of the video in their colours


def play_head_x(style: Style, time_s: float, duration_s: float) -> int:
    """Place of the play head at ``time_s``, in pixels from the left."""
    share = min(1.0, max(0.0, time_s / duration_s)) if duration_s > 0 else 0.0
    return round(style.margin + share * max(2, style.width - 2 * style.margin))


def draw_strip(style: Style, utterances: Sequence[UtteranceResult], duration_s: float) -> Image:
    """The strip as wide as the picture, without the play head."""
    gap = even(4 * style.unit)
    strip = panel((style.width, even(style.timeline + 2 * gap)), 0, _PANEL, _PANEL_ALPHA)
    left, right = (play_head_x(style, time_s, 1.0) for time_s in (0.0, 1.0))
    strip.paste(_TIMELINE_RAIL, (left, gap, right, gap + style.timeline))
    spans = [(utterance.start_s, utterance.end_s) for utterance in utterances]
    chosen = lanes(spans, most=min(MAX_LANES, max(1, style.timeline // 2)))
    high = style.timeline / (1 + max(chosen, default=0))
    for utterance, lane in zip(utterances, chosen, strict=True):
        start = play_head_x(style, utterance.start_s, duration_s)
        # One pixel stays free between neighbours; an utterance has at least one.
        end = max(start + 1, play_head_x(style, utterance.end_s, duration_s) - 1)
        area = (start, round(gap + lane * high), end, round(gap + (lane + 1) * high))
        strip.paste(style.line_colour(utterance.sentiment), area)
    return strip
