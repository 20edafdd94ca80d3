"""Everything that is drawn on one picture, by its time."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from avsent.extraction.faces.types import Box, Sighting
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult
from avsent.views.annotate.boxes import FaceBoxes
from avsent.views.annotate.labels import Area, Wanted, draw_label, label_text, place_labels
from avsent.views.annotate.panel import Said, Words, card_height, card_width, draw_card
from avsent.views.annotate.plates import Canvas, Colour, ColourSpace, Painter, Plate
from avsent.views.annotate.schedule import Schedule
from avsent.views.annotate.style import PANEL, UNHEARD, WHITE, Style, even
from avsent.views.annotate.timeline import draw_strip, head_x, strip_height

_PLATES_KEPT = 128
_MOST_BOXES_COMPARED = 400


class Overlay:
    """Draws the result of one video, picture after picture.

    Words are laid out once, when they are needed for the first time; the last plates are kept.
    """

    def __init__(
        self,
        style: Style,
        space: ColourSpace,
        result: Result,
        sightings: Sequence[Sighting],
        duration_s: float,
    ) -> None:
        self._style = style
        self._space = space
        self._faces = FaceBoxes(sightings)
        self._schedule = Schedule(result.utterances)
        self._duration_s = duration_s
        self._plates: OrderedDict[Hashable, Plate] = OrderedDict()
        self._words: OrderedDict[UtteranceKey, Words] = OrderedDict()
        self._place: tuple[tuple[UtteranceKey, ...], int] = ((), 0)
        self._strip_top = style.height - style.height % 2 - strip_height(style)
        self._strip = Plate.of(draw_strip(style, result.utterances, duration_s), space)

    def draw(self, painter: Painter, time_s: float, scale: tuple[float, float]) -> None:
        """Draw what belongs to ``time_s``; ``scale``: pixels here for each analysed one."""
        said = self._schedule.at(time_s)
        faces = {
            track: _scaled(box, scale) for track, box in sorted(self._faces.at(time_s).items())
        }
        speaking = {u.track: u for u in said if u.track is not None and u.track in faces}
        for track in sorted(faces, key=lambda track: track in speaking):
            self._draw_box(painter, faces[track], speaking.get(track))
        if not self._style.has_words:
            return
        blocked = self._draw_card(painter, said, time_s, scale)
        self._draw_labels(painter, faces, speaking, blocked)
        self._draw_strip(painter, time_s)

    def _draw_box(self, painter: Painter, box: Box, utterance: UtteranceResult | None) -> None:
        style = self._style
        left, top, right, bottom = (round(edge) for edge in box)
        if utterance is None:
            line, colour, alpha = max(1, style.line // 2), UNHEARD, 0.75
        else:
            line, colour, alpha = style.line, style.line_colour(utterance.sentiment), 1.0
        _frame(painter, (left, top, right, bottom), line, colour, alpha)
        # A dark edge outside, so that the line is seen on any ground.
        edge = max(1, round(style.unit / 2))
        outer = (left - edge, top - edge, right + edge, bottom + edge)
        _frame(painter, outer, edge, PANEL, 0.5 * alpha)

    def _draw_labels(
        self,
        painter: Painter,
        faces: dict[int, Box],
        speaking: dict[int, UtteranceResult],
        blocked: Sequence[Area],
    ) -> None:
        order = sorted(faces, key=lambda track: (track not in speaking, track))
        plates = [
            [self._label(track, speaking.get(track), short=short) for short in (False, True)]
            for track in order
        ]
        wanted = [
            Wanted(
                faces[track],
                (long.width, long.height),
                (short.width, short.height),
                track in speaking,
            )
            for track, (long, short) in zip(order, plates, strict=True)
        ]
        room = (0, 0, self._style.width, self._strip_top)
        for place, pair in zip(place_labels(wanted, room, blocked), plates, strict=True):
            if place is not None:
                short, left, top = place
                painter.put(pair[short], left, top)

    def _label(self, track: int, utterance: UtteranceResult | None, *, short: bool) -> Plate:
        text = label_text(track, utterance, short=short)
        colour = None if utterance is None else self._style.colour(utterance.sentiment)
        return self._plate((text, colour), lambda: draw_label(self._style, text, colour))

    def _draw_card(
        self,
        painter: Painter,
        said: Sequence[UtteranceResult],
        time_s: float,
        scale: tuple[float, float],
    ) -> list[Area]:
        """Draw the card, if anything is said; the areas it covers."""
        if not said:
            return []
        shown, pages = [], []
        for utterance in _once(said):
            words = self._words_of(utterance)
            length_s = max(1e-6, utterance.end_s - utterance.start_s)
            number = words.page_at((time_s - utterance.start_s) / length_s)
            page = words.pages[number] if words.pages else ()
            lines = max(map(len, words.pages), default=0)
            shown.append(Said(utterance, page, lines))
            pages.append((_key(utterance), number))
        height = card_height(self._style, shown)
        top = self._card_top(said, height, scale)
        plate = self._plate(tuple(pages), lambda: draw_card(self._style, shown))
        painter.put(plate, self._style.margin, top)
        left = self._style.margin
        return [(left, top, left + card_width(self._style), top + height)]

    def _card_top(
        self, said: Sequence[UtteranceResult], height: int, scale: tuple[float, float]
    ) -> int:
        """Below, or above where it would cover less of the faces; one place for one set of
        utterances, so that it does not jump while they last."""
        keys = tuple(map(_key, said))
        if self._place[0] == keys:
            return self._place[1]
        margin = even(self._style.margin * 0.6)
        places = [self._strip_top - margin - height, margin]
        start_s, end_s = min(u.start_s for u in said), max(u.end_s for u in said)
        boxes = self._faces.between(start_s, end_s)
        boxes = boxes[:: 1 + len(boxes) // _MOST_BOXES_COMPARED]
        covered = [
            sum(_covered(_scaled(box, scale), top, top + height) for box in boxes) for top in places
        ]
        top = places[1] if covered[1] < 0.7 * covered[0] else places[0]
        self._place = (keys, top)
        return top

    def _draw_strip(self, painter: Painter, time_s: float) -> None:
        painter.put(self._strip, 0, self._strip_top)
        x = head_x(self._style, time_s, self._duration_s)
        half = max(1, round(self._style.unit))
        top, bottom = self._strip_top + half, self._strip_top + self._strip.height - half
        painter.fill((x - 2 * half, top, x + 2 * half, bottom), PANEL)
        painter.fill((x - half, top, x + half, bottom), WHITE)

    def _words_of(self, utterance: UtteranceResult) -> Words:
        key = _key(utterance)
        if key not in self._words:
            self._words[key] = Words.of(utterance.text, self._style)
            _forget(self._words)
        return self._words[key]

    def _plate(self, key: Hashable, draw: Callable[[], Canvas]) -> Plate:
        if key not in self._plates:
            self._plates[key] = Plate.of(draw(), self._space)
            _forget(self._plates)
        self._plates.move_to_end(key)
        return self._plates[key]


UtteranceKey = tuple[int, float, float]


def _key(utterance: UtteranceResult) -> UtteranceKey:
    return utterance.index, utterance.start_s, utterance.end_s


def _forget(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _PLATES_KEPT:
        kept.popitem(last=False)


def _once(said: Sequence[UtteranceResult]) -> list[UtteranceResult]:
    """The utterances, the same words at the same time (one for each face) only with the last."""
    shown = []
    for number, utterance in enumerate(said):
        same = [u for u in said[number + 1 :] if _words_key(u) == _words_key(utterance)]
        shown.append(dataclasses.replace(utterance, text=None) if same else utterance)
    return shown


def _words_key(utterance: UtteranceResult) -> tuple[str | None, float, float]:
    return utterance.text, utterance.start_s, utterance.end_s


def _scaled(box: Box, scale: tuple[float, float]) -> Box:
    return box[0] * scale[0], box[1] * scale[1], box[2] * scale[0], box[3] * scale[1]


def _covered(box: Box, top: int, bottom: int) -> float:
    """How much of ``box`` lies between two rows, in pixels."""
    return max(0.0, min(box[3], bottom) - max(box[1], top)) * (box[2] - box[0])


def _frame(painter: Painter, area: Area, line: int, colour: Colour, alpha: float) -> None:
    """The four sides of a box, ``line`` pixels inside ``area``."""
    left, top, right, bottom = area
    painter.fill((left, top, right, top + line), colour, alpha)
    painter.fill((left, bottom - line, right, bottom), colour, alpha)
    painter.fill((left, top + line, left + line, bottom - line), colour, alpha)
    painter.fill((right - line, top + line, right, bottom - line), colour, alpha)
