"""Plates, letters, labels and the card, without a video."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import HOSTILE, LABELS, make_utterance, patient
from hypothesis import given
from hypothesis import strategies as st

from avsent.result.colours import colour_of
from avsent.views.annotate.labels import Wanted, label_text, meet, place_labels, signed
from avsent.views.annotate.lettering import Lettering
from avsent.views.annotate.panel import Said, Words, card_height, card_width, draw_card, padding
from avsent.views.annotate.plates import Canvas, ColourSpace, Painter, Plate, mixed, rgb
from avsent.views.annotate.style import WHITE, Style
from avsent.views.annotate.timeline import draw_strip, head_x

SPACE = ColourSpace("bt601")
RED = (255, 0, 0)


def grey(height: int = 40, width: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    chroma = (height // 2, width // 2)
    return (
        np.full((height, width), 90, np.uint8),
        np.full(chroma, 128, np.uint8),
        np.full(chroma, 128, np.uint8),
    )


def test_colours_are_those_of_the_standards() -> None:
    assert SPACE.of(RED) == (81, 90, 240)
    assert SPACE.of(WHITE) == (235, 128, 128)
    assert SPACE.of((0, 0, 0)) == (16, 128, 128)
    assert ColourSpace("bt709").of(RED) == (63, 102, 240)
    assert ColourSpace("bt601", full_range=True).of((0, 255, 0)) == (150, 44, 21)
    assert rgb("#c2410c") == (194, 65, 12)
    assert mixed((0, 100, 200), (100, 0, 200), 0.25) == (25, 75, 200)


def test_an_opaque_plate_covers_and_a_clear_one_does_not() -> None:
    canvas = Canvas.blank(10, 8)
    canvas.fill((0, 0, 4, 8), RED)
    planes = grey()
    Painter(planes, SPACE).put(Plate.of(canvas, SPACE), 20, 10)
    y, u, v = planes
    assert (y[10:18, 20:24] == 81).all()
    assert (u[5:9, 10:12] == 90).all()
    assert (v[5:9, 10:12] == 240).all()
    y[10:18, 20:24], u[5:9, 10:12], v[5:9, 10:12] = 90, 128, 128
    for plane, before in zip(planes, grey(), strict=True):
        assert (plane == before).all()


def test_half_transparent_is_the_mean() -> None:
    canvas = Canvas.blank(4, 4)
    canvas.fill((0, 0, 4, 4), WHITE, 0.5)
    planes = grey()
    Painter(planes, SPACE).put(Plate.of(canvas, SPACE), 0, 0)
    assert planes[0][0, 0] == pytest.approx((90 + 235) / 2, abs=1)
    assert planes[1][0, 0] == 128


@pytest.mark.parametrize("left", [-7, -100, 55, 60, 1])
@pytest.mark.parametrize("top", [-5, 37, 40, 3])
def test_what_lies_outside_is_left_out(left: int, top: int) -> None:
    canvas = Canvas.blank(10, 8)
    canvas.fill((0, 0, 10, 8), RED)
    planes = grey()
    painter = Painter(planes, SPACE)
    painter.put(Plate.of(canvas, SPACE), left, top)
    expected = np.full((40, 60), 90)
    x, y = left - left % 2, top - top % 2
    expected[max(0, y) : max(0, y + 8), max(0, x) : max(0, x + 10)] = 81
    assert (planes[0] == expected).all()
    painter.fill((left, top, left + 3, top + 3), RED)
    painter.fill((left + 3, top, left, top + 3), RED)  # nothing


def test_letters_cover_their_width() -> None:
    letters = Lettering(20)
    cover, top = letters.render("Hag")
    assert cover.max() > 200
    assert cover.shape[1] == pytest.approx(letters.width("Hag"), abs=4)  # without bearings
    assert top >= 0
    assert top + cover.shape[0] <= letters.line_height
    # Both stand on the base line, which only the g goes below.
    flat, above = letters.render("H")
    assert above + flat.shape[0] == pytest.approx(letters.ascent, abs=1)
    assert top + cover.shape[0] > letters.ascent + 2


@pytest.mark.parametrize("text", ["", " ", HOSTILE, "我很好 мир سلام ελλάδα 😀 \U000e0001", "\x00"])
def test_any_text_can_be_written(text: str) -> None:
    letters = Lettering(14)
    cover, _ = letters.render(text)
    assert cover.ndim == 2
    assert all(letters.width(line) <= 90 for line in letters.wrap(text, 90))
    assert letters.width(letters.shortened(text, 50)) <= 50


WORDS = st.lists(st.text("abcdefgh我.W", min_size=1, max_size=30), min_size=1, max_size=12).map(
    " ".join
)


@patient
@given(WORDS, st.integers(60, 400))
def test_wrapping_loses_nothing(text: str, width: int) -> None:
    letters = Lettering(14)
    lines = letters.wrap(text, width)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(letters.width(line) <= width for line in lines)


def test_words_are_not_broken_where_they_fit() -> None:
    text = "so we went down to the river and sat there for a while"
    letters = Lettering(14)
    lines = letters.wrap(text, 120)
    assert len(lines) > 2
    assert " ".join(lines) == text


def test_pages_are_turned_in_the_course_of_the_utterance() -> None:
    style = Style.of(640, 360, LABELS)
    words = Words.of("word " * 150, style)
    assert len(words.pages) > 2
    assert all(len(page) <= 2 for page in words.pages)
    seen = [words.page_at(share / 100) for share in range(101)]
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(words.pages)))
    assert Words.of(None, style).pages == ()
    assert Words(()).page_at(0.5) == 0


def test_a_label_says_who_and_how() -> None:
    said = dataclasses.replace(make_utterance(0, 3), score=-0.2)
    assert label_text(3, said, short=False) == "track 3 · positive −0.20"
    assert label_text(3, said, short=True) == "3 · −0.20"
    assert label_text(3, None, short=False) == "track 3"
    assert [signed(x) for x in (0.0, -0.001, 0.001, 1.0)] == ["0.00", "0.00", "0.00", "+1.00"]


BOXES = st.lists(
    st.tuples(st.integers(-20, 600), st.integers(-20, 340), st.integers(5, 200)), max_size=9
)


@patient
@given(BOXES)
def test_labels_lie_inside_and_not_on_each_other(boxes: list[tuple[int, int, int]]) -> None:
    room, card = (0, 0, 640, 340), (10, 280, 630, 330)
    wanted = [
        Wanted((x, y, x + side, y + side), (150, 18), (40, 18), needed=False)
        for x, y, side in boxes
    ]
    areas = [card]
    for label, place in zip(wanted, place_labels(wanted, room, [card]), strict=True):
        if place is not None:
            short, left, top = place
            width, height = label.short if short else label.long
            areas.append((left, top, left + width, top + height))
    for number, area in enumerate(areas):
        assert area[0] >= 0
        assert area[1] >= 0
        assert area[2] <= 640
        assert area[3] <= 340
        assert not any(meet(area, other) for other in areas[:number])


def test_a_label_that_is_needed_is_always_there() -> None:
    everywhere = (0, 0, 640, 360)
    label = Wanted((100, 100, 150, 150), (150, 18), (40, 18), needed=True)
    (place,) = place_labels([label], everywhere, [everywhere])
    assert place is not None
    assert place_labels([dataclasses.replace(label, needed=False)], everywhere, [everywhere]) == [
        None
    ]
    assert place_labels([label], everywhere) == [(False, 100, 80)]  # above


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (224, 224), (720, 1280), (96, 96)])
@pytest.mark.parametrize("count", [1, 2, 12])
def test_the_card_fits_into_the_picture(size: tuple[int, int], count: int) -> None:
    style = Style.of(*size, LABELS)
    page = Words.of("twelve words that are said again and again " * 4, style).pages[0]
    said = [Said(make_utterance(number, count), page, len(page)) for number in range(count)]
    canvas = draw_card(style, said)
    assert (canvas.width, canvas.height) == (card_width(style), card_height(style, said))
    assert canvas.width < size[0]
    assert canvas.height <= 0.75 * size[1]
    assert canvas.alpha[canvas.height // 2, canvas.width // 2] > 150


def test_the_bar_goes_to_the_side_of_the_score() -> None:
    style = Style.of(1280, 720, LABELS)
    colour = np.array(style.line_colour("positive"))

    def coloured(score: float) -> float:
        said = dataclasses.replace(make_utterance(0, 1), sentiment="positive", score=score)
        canvas = draw_card(style, [Said(said)])
        row = canvas.picture[padding(style) + style.heading.line_height // 2]
        bar = (np.abs(row.astype(int) - colour).max(axis=1) < 8)[canvas.width * 6 // 10 :]
        return float(np.flatnonzero(bar).mean())

    places = [coloured(score) for score in (-0.9, -0.4, 0.4, 0.9)]
    assert places == sorted(places)
    assert len(set(places)) == 4


def test_the_strip_shows_each_utterance_in_its_colour() -> None:
    style = Style.of(1000, 400, LABELS)
    said = [
        dataclasses.replace(make_utterance(n, 3), start_s=a, end_s=b)
        for n, (a, b) in enumerate([(0.0, 10.0), (20.0, 30.0), (60.0, 99.0)])
    ]
    canvas = draw_strip(style, said, 100.0)
    middle = canvas.picture[canvas.height // 2]
    for utterance in said:
        x = head_x(style, (utterance.start_s + utterance.end_s) / 2, 100.0)
        assert tuple(middle[x]) == style.line_colour(utterance.sentiment)
    rail = tuple(middle[head_x(style, 45.0, 100.0)])
    assert rail not in {style.line_colour(label) for label in LABELS}
    assert head_x(style, 0, 100) == style.margin
    assert head_x(style, 500, 100) == 1000 - style.margin
    assert head_x(style, 5, 0) == style.margin
    assert style.colour("happy") == rgb(colour_of("happy"))
