"""The timeline for papers: what is drawn, that it can be read, and that it is always the same."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
from handmade import HOSTILE, LABELS, MODEL, make_result
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from avsent.errors import OutputError
from avsent.labels import EMOTIONS, SENTIMENT_7
from avsent.result.colours import colour_of_score
from avsent.result.record import Attention, ModalityShare, Result, UtteranceResult
from avsent.views import timeline
from avsent.views.figures import settings
from avsent.views.timeline import (
    MAX_LABELS,
    MAX_ROWS,
    WIDTH_INCHES,
    binned,
    save_timeline,
    trend_of,
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were handed over to be written."""
    kept: list[Figure] = []
    save = timeline.save_figure

    def keep(figure: Figure, path: Path, dpi: float) -> None:
        kept.append(figure)
        save(figure, path, dpi)

    monkeypatch.setattr(timeline, "save_figure", keep)
    return kept


def talk(
    count: int, duration_s: float, labels: tuple[str, ...] = LABELS, tracks: int = 1
) -> Result:
    """A long talk in which the labels take turns."""
    step = duration_s / count
    utterances = tuple(
        UtteranceResult(
            index=number,
            start_s=number * step,
            end_s=(number + 0.8) * step,
            track=None if number % 7 == 6 else number % tracks,
            sentiment=labels[number % len(labels)],
            score=math.sin(6 * number / count),
            probabilities={
                label: (0.5 if place == number % len(labels) else 0.5 / (len(labels) - 1))
                for place, label in enumerate(labels)
            },
            modalities={"audio": ModalityShare(0.25, True), "face": ModalityShare(0.75, True)},
            attention=Attention({}),
        )
        for number in range(count)
    )
    model = dataclasses.replace(MODEL, labels=labels)
    return Result("a talk.mp4", duration_s, model, utterances=utterances)


def words_of(axes: Axes | Figure) -> list[str]:
    return [text.get_text() for text in axes.findobj(Text) if text.get_text()]


def blocks_of(axes: Axes) -> list[tuple[float, float, float, float, str]]:
    """Left, right, bottom, top and colour of each rectangle."""
    found = []
    for collection in axes.collections:
        if isinstance(collection, PolyCollection):
            colours = collection.get_facecolor()
            for path, colour in zip(collection.get_paths(), colours, strict=True):
                (left, low), (right, high) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                found.append((left, right, low, high, to_hex(colour)))
    return found


CASES = {
    "three": make_result(3),
    "one": make_result(1),
    "none": make_result(0),
    "minutes": talk(60, 300),
    "hour": talk(700, 3600, tracks=2),
    "emotions": talk(40, 240, EMOTIONS, tracks=3),
    "seven": talk(30, 100, SENTIMENT_7),
    "faces": talk(90, 400, tracks=12),
    "many labels": talk(40, 100, tuple(f"a long name of class {n}" for n in range(20))),
    "hostile": make_result(2, "$x^2$ " + HOSTILE * 5, text=HOSTILE),
    "short": dataclasses.replace(make_result(0), duration_s=0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_everything_fits_one_column_and_nothing_overlaps(
    tmp_path: Path, drawn: list[Figure], name: str
) -> None:
    save_timeline(tmp_path / "a.png", CASES[name])
    (figure,) = drawn
    assert figure.get_figwidth() == WIDTH_INCHES
    assert figure.get_figheight() < 6
    with settings():
        FigureCanvasAgg(figure).draw()
    boxes = []
    hidden = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        if not sorted(axis.get_view_interval())[0]
        <= tick.get_loc()
        <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    }
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip() and text not in hidden:
            boxes.append((text, text.get_window_extent()))
    assert len(boxes) > 4
    for place, (text, box) in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1 + 0.5, text
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1 + 0.5, text
        for other, its in boxes[place + 1 :]:
            assert not box.padded(-1.5).overlaps(its.padded(-1.5)), (text, other)
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image is not None
    assert image.shape[1] == round(300 * WIDTH_INCHES)
    assert plt.get_fignums() == []


def test_the_drawing_shows_the_result(tmp_path: Path, drawn: list[Figure]) -> None:
    result = make_result(3)
    save_timeline(tmp_path / "a.svg", result)
    rows, score, probability, share = drawn[0].axes
    spans = np.array([(u.start_s, u.end_s) for u in result.utterances])
    assert np.allclose([block[:2] for block in blocks_of(rows)], spans)
    assert [block[4] for block in blocks_of(rows)] == [
        colour_of_score(u.score) for u in result.utterances
    ]
    assert [label.get_text() for label in rows.get_yticklabels()] == ["track 1", "no face"]
    tops = [
        block[3] if u.score > 0 else block[2]
        for block, u in zip(blocks_of(score), result.utterances, strict=True)
    ]
    assert tops == pytest.approx([u.score for u in result.utterances])
    heights = [top - low for _, _, low, top, _ in blocks_of(probability)]
    assert heights == pytest.approx([u.probabilities[n] for n in LABELS for u in result.utterances])
    heights = [top - low for _, _, low, top, _ in blocks_of(share)]
    assert heights == pytest.approx(
        [u.modalities[n].weight for n in ("audio", "face") for u in result.utterances]
    )
    assert {"talk.mp4", *LABELS, "audio", "face", "score", "time (min:s)", "0:05"} <= set(
        words_of(drawn[0])
    )


def test_of_many_utterances_means_are_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    save_timeline(tmp_path / "a.png", talk(1200, 3600))
    words = words_of(drawn[0])
    assert {"probability\n(mean of 30 s)", "share\n(mean of 30 s)", "time (h:min)", "0:50"} <= set(
        words
    )
    assert any(word.startswith("trend (Gaussian, σ = ") for word in words)
    layers = blocks_of(drawn[0].axes[2])
    assert len(layers) == 3 * 120
    tops: dict[float, float] = {}
    for left, _, low, high, _ in layers:
        tops[left] = tops.get(left, 0.0) + high - low
    assert list(tops.values()) == pytest.approx([1.0] * 120)


def test_a_message_without_utterances(tmp_path: Path, drawn: list[Figure]) -> None:
    save_timeline(tmp_path / "a.png", make_result(0))
    assert "No utterances found.\nno speech was found" in words_of(drawn[0])


def test_the_faces_that_say_least_share_a_row(tmp_path: Path, drawn: list[Figure]) -> None:
    save_timeline(tmp_path / "a.png", CASES["faces"])
    names = [label.get_text() for label in drawn[0].axes[0].get_yticklabels()]
    assert len(names) == MAX_ROWS
    assert names[-1] == "others"
    assert names.count("others") == 1


def test_of_many_labels_the_rest_is_one(tmp_path: Path, drawn: list[Figure]) -> None:
    save_timeline(tmp_path / "a.png", CASES["many labels"])
    legend = drawn[0].axes[2].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][-1] == "other labels"
    assert len(legend.get_texts()) == MAX_LABELS + 1


@pytest.mark.parametrize("suffix", ["png", "SVG", "pdf"])
@pytest.mark.parametrize("name", ["three", "hour", "none"])
def test_the_same_result_gives_the_same_bytes(tmp_path: Path, suffix: str, name: str) -> None:
    one, other = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    save_timeline(one, CASES[name])
    save_timeline(other, CASES[name])
    raw = one.read_bytes()
    assert raw == other.read_bytes()
    assert not re.search(rb"CreationDate|ModDate|<dc:date>|20[23]\d-\d\d-\d\d", raw)
    assert {file.name for file in tmp_path.iterdir()} == {one.name, other.name}


def test_words_of_vector_pictures_are_words(tmp_path: Path) -> None:
    save_timeline(tmp_path / "a.svg", make_result(3, "我 <b>.mp4"))
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for word in ("probability", "positive", "我 &lt;b&gt;.mp4"):
        assert re.search(rf"<text [^>]*>{word}</text>", svg)
    save_timeline(tmp_path / "a.pdf", make_result(3))
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"/FontFile2" in pdf  # TrueType, no outlines


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        save_timeline(tmp_path / "nowhere" / "a.png", make_result())
    with pytest.raises(ValueError, match=r"\.pdf"):
        save_timeline(tmp_path / "a.jpg", make_result())
    assert not list(tmp_path.iterdir())


# Numbers


def test_the_trend_of_a_constant_is_it() -> None:
    starts = np.arange(20.0) * 10
    trend = trend_of(starts, starts + 5, np.full(20, 0.25))
    assert trend is not None
    _, values, sigma_s = trend
    assert values == pytest.approx(0.25)
    assert sigma_s == 15  # one and a half utterances
    assert trend_of(starts[:7], starts[:7] + 5, np.full(7, 0.25)) is None


def test_no_trend_far_from_utterances() -> None:
    starts = np.concatenate([np.arange(100.0), 2000 + np.arange(100.0)])
    scores = np.concatenate([np.full(100, -0.5), np.full(100, 0.5)])
    trend = trend_of(starts, starts + 1, scores)
    assert trend is not None
    times_s, values, sigma_s = trend
    silent = (times_s > 101 + 3 * sigma_s) & (times_s < 2000 - 3 * sigma_s)
    assert silent.any()
    assert np.isnan(values[silent]).all()
    assert values[0] == pytest.approx(-0.5)
    assert values[-1] == pytest.approx(0.5)


def test_means_weigh_by_how_long_an_utterance_lasts() -> None:
    starts, ends = np.array([0.0, 8.0, 40.0]), np.array([8.0, 12.0, 41.0])
    at, means = binned(starts, ends, np.array([[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]), 10.0)
    assert at.tolist() == [0.0, 10.0, 40.0]  # nothing was said from 20 to 40
    assert means.tolist() == [[0.2, 0.8], [1.0, 0.0], [0.5, 0.5]]


def test_unsure_utterances_have_a_mark(drawn: list[Figure], tmp_path: Path) -> None:
    result = make_result(3)  # at 0.42 to 4.1, 5.42 to 9.1, 10.42 to 14.1; scores 0.63, −0.63, 0
    unsure = [dataclasses.replace(one, unsure="nearly even") for one in result.utterances[:2]]
    marked = dataclasses.replace(result, utterances=(*unsure, result.utterances[2]))
    save_timeline(tmp_path / "marked.svg", marked)
    save_timeline(tmp_path / "plain.svg", result)
    axes, plain = (figure.axes[1] for figure in drawn)
    (_, marks), (_,) = axes.get_lines(), plain.get_lines()
    # In the middle, on the other side of zero than the step.
    assert np.array(marks.get_xydata()) == pytest.approx(np.array([[2.26, -0.13], [7.26, 0.13]]))
    assert "unsure" in words_of(axes)
    assert "unsure" not in words_of(plain)
