"""What is drawn: faces between analysed frames, lanes, plates, lettering, labels and the card."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from handmade import HOSTILE, LABELS, make_utterance, patient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from avsent.extraction.faces.geometry import Sighting
from avsent.result.colours import colour_of
from avsent.result.record import UtteranceResult, lanes
from avsent.views.annotate.drawing import Lettering, Style, outline, round_box
from avsent.views.annotate.overlay import (
    MAX_GAP_S,
    CardRow,
    FaceBoxes,
    Utterances,
    WantedLabel,
    draw_card,
    draw_strip,
    label_text,
    overlap,
    page_at,
    pages_of,
    place_labels,
    play_head_x,
    score_label,
)

WHITE = (255, 255, 255)


def new_plate(width: int, height: int) -> Image.Image:
    """A transparent plate."""
    return Image.new("RGBA", (width, height))


def at_tenths(track: int, *tenths: int) -> list[Sighting]:
    """The face moves 10 pixels right and 5 down in a tenth of a second."""
    return [
        Sighting(track, t / 10, (10.0 * t, 5.0 * t, 10.0 * t + 40, 5.0 * t + 50)) for t in tenths
    ]


def test_linear_between_two_sightings() -> None:
    boxes = FaceBoxes(at_tenths(1, 0, 1, 2))
    assert boxes.at(0.1) == {1: (10, 5, 50, 55)}
    assert boxes.at(0.125)[1] == pytest.approx((12.5, 6.25, 52.5, 56.25))
    assert boxes.at(0.05)[1] == pytest.approx((5, 2.5, 45, 52.5))


def test_nothing_outside_and_across_a_gap() -> None:
    boxes = FaceBoxes(at_tenths(1, 10, 11, 15, 16))
    assert boxes.max_gap_s == MAX_GAP_S
    for time_s in (0.0, 0.95, 1.15, 1.3, 1.45, 1.65, 9.0):
        assert boxes.at(time_s) == {}, time_s
    assert set(boxes.at(1.05)) == set(boxes.at(1.55)) == {1}


def test_one_missed_frame_is_no_gap() -> None:
    assert FaceBoxes(at_tenths(1, 0, 1, 4, 5)).at(0.25)[1] == pytest.approx((25, 12.5, 65, 62.5))


def test_sightings_may_be_far_apart_if_all_are() -> None:
    boxes = FaceBoxes(at_tenths(1, 0, 10, 20, 30, 60, 70))  # analysed once a second
    assert boxes.at(0.5)[1] == pytest.approx((50, 25, 90, 75))
    assert boxes.at(4.5) == {}


def test_tracks_do_not_mix() -> None:
    boxes = FaceBoxes([*at_tenths(2, 4, 3), *at_tenths(1, 0, 1, 2, 3)])
    assert set(boxes.at(0.15)) == {1}
    assert set(boxes.at(0.35)) == {2}
    assert set(boxes.at(0.3)) == {1, 2}
    assert len(boxes.between(0.15, 0.35)) == 3
    assert FaceBoxes([]).at(1.0) == {}


def test_times_that_went_through_a_file() -> None:
    boxes = FaceBoxes([Sighting(1, 0.033333, (0.0, 0.0, 8.0, 8.0))])
    assert boxes.at(1 / 30) == {1: (0, 0, 8, 8)}


def lasting(index: int, start_s: float, end_s: float) -> UtteranceResult:
    return dataclasses.replace(make_utterance(index, 3), start_s=start_s, end_s=end_s)


SPANS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 15)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=12,
)


@patient
@given(SPANS, st.integers(-2, 60))
def test_utterances_at_a_time(spans: list[tuple[int, int]], time_s: int) -> None:
    utterances = [lasting(number, *span) for number, span in enumerate(spans)]
    found = Utterances(utterances).at(time_s)
    assert {u.index for u in found} == {n for n, (a, b) in enumerate(spans) if a <= time_s < b}
    assert [u.start_s for u in found] == sorted(u.start_s for u in found)


@patient
@given(SPANS)
def test_lanes_keep_utterances_apart(spans: list[tuple[int, int]]) -> None:
    chosen = lanes(spans)
    most = max((sum(a <= t < b for a, b in spans) for t in range(60)), default=0)
    assert len(set(chosen)) == 1 + max(chosen, default=-1) == most  # no more than needed
    for one, lane in enumerate(chosen):
        for other in range(one):
            a, b = spans[one], spans[other]
            assert chosen[other] != lane or a[1] <= b[0] or b[1] <= a[0]
    assert set(lanes(spans, most=2)) <= {0, 1}


RED = (255, 0, 0)
GREY = (90, 90, 90)


def grey(height: int = 40, width: int = 60) -> Image.Image:
    return Image.new("RGBA", (width, height), GREY)


def red_plate(width: int = 10, height: int = 8) -> Image.Image:
    return Image.new("RGBA", (width, height), RED)


def rgb_of(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)[..., :3]


def test_colours_are_mixed_in_shares() -> None:
    style = Style(640, 360, LABELS)
    assert style.colour("negative") == (194, 65, 12)
    assert style.line_colour("negative") == (212, 122, 85)  # three tenths of white


def test_an_opaque_plate_covers_and_a_clear_one_does_not() -> None:
    plate = new_plate(10, 8)
    round_box(plate, (0, 0, 4, 8), 0, RED)
    picture = grey()
    picture.paste(plate, (20, 10), plate)
    pixels = rgb_of(picture).copy()
    assert (pixels[10:18, 20:24] == RED).all()
    pixels[10:18, 20:24] = GREY
    assert (pixels == GREY).all()


def test_half_transparent_is_the_mean() -> None:
    plate = new_plate(4, 4)
    round_box(plate, (0, 0, 4, 4), 0, WHITE, 0.5)
    picture = grey()
    picture.paste(plate, (0, 0), plate)
    assert rgb_of(picture)[0, 0] == pytest.approx((90 + 255) / 2, abs=1)
    outline(picture, (10, 10, 14, 14), 1, WHITE, 0.5)
    assert rgb_of(picture)[10, 10] == pytest.approx((90 + 255) / 2, abs=1)


def test_boxes_have_smooth_round_corners() -> None:
    plate = new_plate(20, 20)
    round_box(plate, (0, 0, 20, 20), 10, RED)
    alpha = np.asarray(plate)[..., 3]
    assert alpha[0, 0] == 0
    assert (alpha[10, 1:-1] == 255).all()
    assert 0.75 < alpha.mean() / 255 < 0.82  # a disc: pi / 4
    assert len(np.unique(alpha)) > 4
    assert (alpha == alpha[::-1]).all()
    assert (alpha == alpha.T).all()


@pytest.mark.parametrize("left", [-7, -100, 55, 60, 1])
@pytest.mark.parametrize("top", [-5, 37, 40, 3])
def test_drawing_is_clipped_to_the_picture(left: int, top: int) -> None:
    picture = grey()
    plate = red_plate()
    picture.paste(plate, (left, top), plate)
    expected = np.full((40, 60, 3), 90)
    expected[max(0, top) : max(0, top + 8), max(0, left) : max(0, left + 10)] = RED
    assert (rgb_of(picture) == expected).all()
    outline(picture, (left, top, left + 3, top + 3), 2, WHITE)
    expected[max(0, top) : max(0, top + 3), max(0, left) : max(0, left + 3)] = WHITE
    assert (rgb_of(picture) == expected).all()
    outline(picture, (left + 3, top + 3, left, top), 2, WHITE)  # nothing
    assert (rgb_of(picture) == expected).all()


def written(letters: Lettering, text: str) -> np.ndarray:
    """Rows and columns of the pixels that ``text`` covers, written from 10 pixels on."""
    plate = new_plate(200, 60)
    letters.write(plate, text, 10, 10, WHITE, 200)
    alpha = np.asarray(plate)[..., 3]
    assert not text or alpha.max() > 200
    return np.argwhere(alpha > 0) - 10


def test_letters_cover_their_width() -> None:
    letters = Lettering(20)
    pixels = written(letters, "Hag")
    width = pixels[:, 1].max() - pixels[:, 1].min() + 1
    assert width == pytest.approx(letters.width("Hag"), abs=4)  # without bearings
    assert pixels[:, 0].min() >= 0
    assert pixels[:, 0].max() < letters.line_height
    # Both stand on the base line, which only the g goes below.
    assert written(letters, "H")[:, 0].max() + 1 == pytest.approx(letters.ascent, abs=1)
    assert pixels[:, 0].max() + 1 > letters.ascent + 2


@pytest.mark.parametrize("text", ["", " ", HOSTILE, "我很好 мир سلام ελλάδα 😀 \U000e0001", "\x00"])
def test_any_text_can_be_written(text: str) -> None:
    letters = Lettering(14)
    assert letters.write(new_plate(90, 20), text, 0, 0, WHITE, 90) <= 90
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


def test_pages_follow_each_other_during_the_utterance() -> None:
    style = Style(640, 360, LABELS)
    pages = pages_of("word " * 150, style)
    assert len(pages) > 2
    assert all(len(page) <= 2 for page in pages)
    seen = [page_at(pages, share / 100) for share in range(101)]
    assert seen == sorted(seen)
    assert set(seen) == set(range(len(pages)))
    assert pages_of(None, style) == ()
    assert page_at((), 0.5) == 0


def test_a_label_has_track_sentiment_and_score() -> None:
    said = dataclasses.replace(make_utterance(0, 3), score=-0.2)
    assert label_text(3, said, short=False) == "track 3 · positive −0.20"
    assert label_text(3, said, short=True) == "3 · −0.20"
    assert label_text(3, None, short=False) == "track 3"
    unsure = dataclasses.replace(said, unsure="nearly even")
    assert label_text(3, unsure, short=False) == "track 3 · positive? −0.20"
    assert label_text(3, unsure, short=True) == "3 · ? −0.20"
    assert [score_label(x) for x in (0.0, -0.001, 0.001, 1.0)] == ["0.00", "0.00", "0.00", "+1.00"]


LONG, SHORT = new_plate(150, 18), new_plate(40, 18)
BOXES = st.lists(
    st.tuples(st.integers(-20, 600), st.integers(-20, 340), st.integers(5, 200)), max_size=9
)


@patient
@given(BOXES)
def test_labels_lie_inside_and_not_on_each_other(boxes: list[tuple[int, int, int]]) -> None:
    room, card = (0, 0, 640, 340), (10, 280, 630, 330)
    wanted = [
        WantedLabel((x, y, x + side, y + side), LONG, SHORT, needed=False) for x, y, side in boxes
    ]
    areas = [card]
    places = place_labels(wanted, room, [card])
    assert len(places) <= len(wanted)
    for plate, left, top in places:
        assert plate in (LONG, SHORT)
        areas.append((left, top, left + plate.width, top + plate.height))
    for number, area in enumerate(areas):
        assert area[0] >= 0
        assert area[1] >= 0
        assert area[2] <= 640
        assert area[3] <= 340
        assert not any(overlap(area, other) for other in areas[:number])


def test_a_label_that_is_needed_is_always_there() -> None:
    everywhere = (0, 0, 640, 360)
    label = WantedLabel((100, 100, 150, 150), LONG, SHORT, needed=True)
    assert place_labels([label], everywhere, [everywhere]) == [(SHORT, 100, 102)]  # inside
    assert place_labels([label._replace(needed=False)], everywhere, [everywhere]) == []
    assert place_labels([label], everywhere) == [(LONG, 100, 80)]  # above


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (224, 224), (720, 1280), (96, 96)])
@pytest.mark.parametrize("count", [1, 2, 12])
def test_the_card_fits_into_the_picture(size: tuple[int, int], count: int) -> None:
    style = Style(*size, LABELS)
    page = pages_of("twelve words that are said again and again " * 4, style)[0]
    rows = [CardRow(make_utterance(number, count), page, len(page)) for number in range(count)]
    card = draw_card(style, rows)
    assert card.width == size[0] - 2 * style.margin
    assert card.width < size[0]
    assert card.height <= 0.75 * size[1]
    assert np.asarray(card)[card.height // 2, card.width // 2, 3] > 150


def test_the_bar_goes_to_the_side_of_the_score() -> None:
    style = Style(1280, 720, LABELS)
    colour = np.array(style.line_colour("positive"))

    def coloured(score: float) -> float:
        said = dataclasses.replace(make_utterance(0, 1), sentiment="positive", score=score)
        card = draw_card(style, [CardRow(said)])
        row = rgb_of(card)[style.padding + style.heading.line_height // 2]
        bar = (np.abs(row.astype(int) - colour).max(axis=1) < 8)[card.width * 6 // 10 :]
        return float(np.flatnonzero(bar).mean())

    places = [coloured(score) for score in (-0.9, -0.4, 0.4, 0.9)]
    assert places == sorted(places)
    assert len(set(places)) == 4


def test_the_strip_shows_each_utterance_in_its_colour() -> None:
    style = Style(1000, 400, LABELS)
    said = [
        dataclasses.replace(make_utterance(n, 3), start_s=a, end_s=b)
        for n, (a, b) in enumerate([(0.0, 10.0), (20.0, 30.0), (60.0, 99.0)])
    ]
    strip = draw_strip(style, said, 100.0)
    assert strip.width == 1000
    middle = rgb_of(strip)[strip.height // 2]
    for utterance in said:
        x = play_head_x(style, (utterance.start_s + utterance.end_s) / 2, 100.0)
        assert tuple(middle[x]) == style.line_colour(utterance.sentiment)
    rail = tuple(middle[play_head_x(style, 45.0, 100.0)])
    assert rail not in {style.line_colour(label) for label in LABELS}
    assert play_head_x(style, 0, 100) == style.margin
    assert play_head_x(style, 500, 100) == 1000 - style.margin
    assert play_head_x(style, 5, 0) == style.margin
    assert style.colour("happy") == ImageColor.getrgb(colour_of("happy"))
