"""The pictures: that they show what they should, in files that are whole and always the same."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pytest
from handmade import make_result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from small_runs import TEXT_SOURCE, files, read, run_small, small_settings

from avsent.cli.app import main
from avsent.errors import InputError, OutputError
from avsent.labels import EMOTIONS, POLARITY_LABELS, SENTIMENT_7
from avsent.result.writers import Format, make_writer
from avsent.training import plots
from avsent.training.plots import principal_axes, save_confusion, save_loss_curves, save_spaces
from avsent.training.run_folder import RunFolder
from avsent.training.source import EmbeddingSpace, read_spaces, write_spaces
from avsent.views.figures import PALETTE, colours_of, save_figure
from avsent.views.timeline import save_timeline

EPOCHS = [
    {
        "epoch": place,
        "classification": 1.2 / place,
        "decoder": 0.5 / place,
        "discriminator": 0.69,
        "adversarial": 0.7 + 0.01 * place,
        "valid_balanced_accuracy": value,
    }
    for place, value in enumerate((0.4, 0.5, 0.625, 0.61), start=1)
]


def space(count: int = 60, size: int = 8, classes: int = 3) -> EmbeddingSpace:
    rng = np.random.default_rng(2)
    labels = rng.integers(0, classes, count)
    source = rng.normal(0, 3, (classes, size))[labels] + rng.normal(size=(count, size))
    before = rng.normal(size=(count, size))
    told = {"taught": {"domain_accuracy": 0.75, "mmd": 0.125}}
    told["alone"] = {"domain_accuracy": 1.0, "mmd": 0.5}
    return EmbeddingSpace(source, 0.8 * source + 0.2 * before, before, labels, told)


def draw_losses(path: Path) -> None:
    save_loss_curves(path, EPOCHS, best_epoch=3)


def draw_confusion(path: Path) -> None:
    save_confusion(path, [[8, 1, 1], [0, 5, 0], [0, 0, 0]], POLARITY_LABELS, "test part")


def draw_spaces(path: Path) -> None:
    save_spaces(path, space(), POLARITY_LABELS)


DRAWINGS = (draw_losses, draw_confusion, draw_spaces)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were handed over to be written."""
    kept: list[Figure] = []

    def keep(figure: Figure, path: Path) -> None:
        kept.append(figure)
        save_figure(figure, path)

    monkeypatch.setattr(plots.figures, "save_figure", keep)
    return kept


def words_of(figure: Figure) -> list[str]:
    """All that is written in a figure."""
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("suffix", ["png", "SVG", "pdf"])
def test_files_are_whole_and_always_the_same(
    tmp_path: Path, draw: Callable[[Path], None], suffix: str
) -> None:
    path, again = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    draw(path)
    draw(again)
    assert path.read_bytes() == again.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {path.name, again.name}
    if suffix == "png":
        image = cv2.imread(str(path))
        assert image is not None
        assert (image[:2, :2] == 255).all()  # on white
        assert (image < 100).any()
        assert b"Software" not in path.read_bytes()
    elif suffix == "pdf":
        assert path.read_bytes().startswith(b"%PDF-")
        assert b"CreationDate" not in path.read_bytes()
    else:
        text = path.read_text(encoding="utf-8")
        assert "<text " in text  # words are words
        assert text.rstrip().endswith("</svg>")
        assert not re.search(r"<dc:date>|20\d\d-\d\d-\d\d", text)
    assert plt.get_fignums() == []  # nothing is left to pyplot


@pytest.mark.parametrize("draw", DRAWINGS)
def test_words_do_not_overlap(
    tmp_path: Path, drawn: list[Figure], draw: Callable[[Path], None]
) -> None:
    draw(tmp_path / "a.png")
    assert_no_overlap(drawn[0])


@pytest.mark.parametrize("labels", [POLARITY_LABELS[::2], SENTIMENT_7, EMOTIONS, SENTIMENT_7[:4]])
def test_names_of_classes_do_not_overlap(
    tmp_path: Path, drawn: list[Figure], labels: tuple[str, ...]
) -> None:
    counts = (1000 * np.eye(len(labels), dtype=int) + 10).tolist()
    save_confusion(tmp_path / "a.png", counts, labels, "a title")
    assert_no_overlap(drawn[0])
    save_spaces(tmp_path / "b.png", space(classes=len(labels)), labels)
    assert_no_overlap(drawn[1])


def assert_no_overlap(figure: Figure) -> None:
    FigureCanvasAgg(figure).draw()
    words = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not low <= tick.get_loc() <= high:  # laid out, but not drawn
                words = [word for word in words if word not in (tick.label1, tick.label2)]
    boxes = [(word, word.get_window_extent()) for word in words]
    assert len(boxes) > 8
    for place, (word, box) in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 <= box.x1 <= figure.bbox.x1, word
        assert figure.bbox.y0 <= box.y0 <= box.y1 <= figure.bbox.y1, word
        for other, its in boxes[place + 1 :]:
            if not (word.get_rotation() % 90 and other.get_rotation() % 90):
                assert not box.padded(-1).overlaps(its.padded(-1)), (word, other)


def test_losses(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_losses(tmp_path / "a.png")
    save_loss_curves(tmp_path / "b.png", EPOCHS, best_epoch=4)
    save_loss_curves(
        tmp_path / "c.png",
        [
            {"classification": 0.5, "decoder": None, "valid_mae": m}
            for m in (1.0, 0.75, math.nan, 0.9)
        ],
        best_epoch=2,
    )
    save_loss_curves(
        tmp_path / "d.png", [{"classification": 0.5, "valid_balanced_accuracy": None}], best_epoch=1
    )
    titles = [[axes.get_title() for axes in figure.axes] for figure in drawn]
    assert titles[0] == [
        *(f"{part} loss (training)" for part in plots.LOSS_PARTS),
        "balanced accuracy (validation)\nkept: epoch 3, 0.625",
    ]
    assert titles[1][-1].endswith("kept: epoch 4, 0.610")
    assert titles[2] == [
        "classification loss (training)",
        "mean absolute error (validation)\nkept: epoch 2, 0.750",
    ]
    assert titles[3][-1] == "balanced accuracy (validation)"
    line = drawn[0].axes[1].get_lines()[0]
    assert np.allclose(np.asarray(line.get_ydata()), [0.5, 0.25, 0.5 / 3, 0.125])
    with pytest.raises(ValueError, match="no epochs"):
        save_loss_curves(tmp_path / "e.png", [], best_epoch=1)


def test_confusion(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_confusion(tmp_path / "a.png")
    words = words_of(drawn[0])
    assert {"8\n80%", "1\n10%", "5\n100%", "negative\n(n = 10)", "positive\n(n = 0)"} <= set(words)
    colours = drawn[0].axes[0].get_images()[0].get_array()
    assert np.allclose(colours, [[0.8, 0.1, 0.1], [0, 1, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match="for 3 labels"):
        save_confusion(tmp_path / "b.png", [[1, 0], [0, 1]], POLARITY_LABELS)


def test_spaces_share_one_basis(tmp_path: Path, drawn: list[Figure]) -> None:
    drawing = space()
    assert drawing.alone is not None
    drawing = drawing._replace(alone=9 * drawing.alone)  # beyond the other points
    save_spaces(tmp_path / "a.png", drawing, POLARITY_LABELS)
    left, right = drawn[0].axes
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    told = "source told from target: 100% (chance 50%); squared MMD 0.500"
    assert left.get_title() == f"without transfer\n{told}"
    assert "75% (chance 50%); squared MMD 0.125" in right.get_title()
    assert right.get_title().startswith("with transfer\n")

    def points(axes: Any, marker: str) -> list[np.ndarray[Any, Any]]:
        return [line.get_xydata() for line in axes.get_lines() if line.get_marker() == marker]

    # The source stays where it is, the target comes nearer to it.
    assert all(map(np.array_equal, points(left, "o"), points(right, "o")))
    apart = [
        np.linalg.norm(np.concatenate(points(a, "o")) - np.concatenate(points(a, "x")), axis=1)
        for a in (left, right)
    ]
    assert apart[1].mean() < apart[0].mean() / 2
    assert [len(p) for p in points(left, "o")] == np.bincount(drawing.classes).tolist()


def test_many_utterances_are_thinned_out(tmp_path: Path, drawn: list[Figure]) -> None:
    save_spaces(tmp_path / "a.png", space(1000), POLARITY_LABELS)
    axes = drawn[0].axes[0]
    assert axes.get_title().startswith("without transfer (400 of 1000 drawn)")
    assert sum(len(line.get_xydata()) for line in axes.get_lines()) == 800


def test_spaces_that_do_not_fit(tmp_path: Path) -> None:
    drawing = space()
    for wrong in (drawing.taught[:-1], drawing.classes):
        with pytest.raises(ValueError, match="embeddings of shapes"):
            save_spaces(tmp_path / "a.png", drawing._replace(taught=wrong), POLARITY_LABELS)
    fewer = drawing._replace(classes=drawing.classes[1:])
    with pytest.raises(ValueError, match="59 labels"):
        save_spaces(tmp_path / "a.png", fewer, POLARITY_LABELS)
    ones = np.ones((4, 2), np.float32)  # all in one place
    flat = EmbeddingSpace(ones, ones, None, np.zeros(4, dtype=int), drawing.alignment)
    save_spaces(tmp_path / "flat.png", flat, ("a",))
    assert [file.name for file in tmp_path.iterdir()] == ["flat.png"]


def test_principal_axes_against_svd() -> None:
    points = np.random.default_rng(0).normal(size=(50, 6)) * np.arange(1, 7) + 3
    centre, axes, shares = principal_axes(points)
    centred = points - points.mean(axis=0)
    _, sizes, rows = np.linalg.svd(centred)
    assert np.allclose(np.abs(axes.T @ rows[:2].T), np.eye(2))
    assert np.allclose(shares, (sizes**2 / (sizes**2).sum())[:2])
    assert np.allclose(np.abs((points - centre) @ axes), np.abs(centred @ rows[:2].T))
    assert (axes[np.abs(axes).argmax(axis=0), [0, 1]] > 0).all()


def test_strange_names_are_drawn_as_they_are(tmp_path: Path, drawn: list[Figure]) -> None:
    names = ("$x_1$ & <b>", "喜び")  # no mathematics; a script that the font lacks
    save_confusion(tmp_path / "a.svg", [[1, 0], [0, 1]], names, "cost: $5 or $6^")
    save_spaces(tmp_path / "b.png", space(classes=2), names)
    assert len(drawn) == 2
    assert "cost: $5 or $6^" in words_of(drawn[0])


def test_colours() -> None:
    assert len(set(PALETTE)) == len(PALETTE) == len(EMOTIONS)
    assert colours_of(POLARITY_LABELS)[::2] == colours_of(("negative", "positive"))
    assert len(set(colours_of(SENTIMENT_7))) == 7
    assert len(colours_of(tuple(map(str, range(20))))) == 20


def test_only_png_svg_and_pdf(tmp_path: Path) -> None:
    for name in ("a.jpg", "a", "png"):
        with pytest.raises(ValueError, match=r"written as \.png, \.svg, \.pdf"):
            draw_confusion(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        draw_confusion(tmp_path / "nowhere" / "a.png")
    taken = tmp_path / "a.png"
    taken.mkdir()
    with pytest.raises(OutputError, match="cannot write"):
        draw_confusion(taken)
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


pytestmark = pytest.mark.usefixtures("one_thread")

PICTURES = {"losses", "confusion", "spaces-audio"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds with transfer."""
    folder = tmp_path_factory.mktemp("run") / "taught"
    run_small(
        folder,
        settings=small_settings(target=("audio",), transfer=TEXT_SOURCE),
        seeds=(3, 4),
        baseline=True,
    )
    return folder


@pytest.fixture
def run(taught: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(taught, tmp_path / "run"))


def written(path: Path, count: int = 3) -> Path:
    file = io.StringIO()
    make_writer(Format.json).write([make_result(count)], file)
    path.write_text(file.getvalue(), encoding="utf-8")
    return path


# Runs


def test_pictures_are_drawn_as_they_were_while_training(run: Path) -> None:
    before = files(run / "plots")
    assert set(before) == {f"{name}.png" for name in PICTURES}
    shutil.rmtree(run / "plots")
    assert main(["plot", str(run)]) == 0
    assert files(run / "plots") == before


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_other_formats_and_folders(run: Path, tmp_path: Path, kind: str) -> None:
    before = files(run)
    out = tmp_path / "a" / "b"
    assert main(["plot", str(run), "-o", str(out), "--format", kind]) == 0
    assert set(files(out)) == {f"{name}.{kind}" for name in PICTURES}
    assert files(run) == before


def test_another_seed(run: Path, tmp_path: Path) -> None:
    best = read(run / "summary.json")["best_seed"]
    other = {3: 4, 4: 3}[best]
    expected = files(run / f"seed-{other}" / "plots")
    for number, arguments in enumerate(
        ([str(run), "--seed", str(other)], [str(run / f"seed-{other}")])
    ):
        out = tmp_path / str(number)
        assert main(["plot", *arguments, "-o", str(out)]) == 0
        assert files(out) == expected
    shutil.rmtree(run / f"seed-{other}" / "plots")
    assert main(["plot", str(run), "--seed", str(other)]) == 0
    assert files(run / f"seed-{other}" / "plots") == expected


def test_a_run_without_its_spaces(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in run.glob("seed-*/spaces.safetensors"):
        file.unlink()
    shutil.rmtree(run / "plots")
    assert main(["plot", str(run)]) == 0
    assert set(files(run / "plots")) == {"losses.png", "confusion.png"}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no embedding spaces" in said
    assert "train again" in said
    assert main(["plot", str(run), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_without_transfer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_small(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("spaces.safetensors"))
    assert main(["plot", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 0
    assert set(files(tmp_path / "out")) == {"losses.png", "confusion.png"}
    assert "nothing taught this model" in capsys.readouterr().err


def test_runs_that_cannot_be_drawn(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> tuple[int, str]:
        code = main(["plot", *arguments])
        return code, capsys.readouterr().err.splitlines()[0]

    code, line = refused(str(tmp_path))
    assert (code, "is no training run" in line) == (3, True)
    code, line = refused(str(run / "checkpoint"))
    assert (code, "is no training run" in line) == (3, True)
    code, line = refused(str(run), "--seed", "9")
    assert (code, "no finished seed 9; give one of 3, 4" in line) == (3, True)
    code, line = refused(str(run), "-o", str(tmp_path / "a.png"))
    assert (code, "name a folder" in line) == (2, True)
    (run / "seed-3" / "spaces.safetensors").write_bytes(b"no")
    code, line = refused(str(run), "--seed", "3")
    assert (code, "spaces.safetensors: damaged" in line) == (3, True)
    (run / "seed-4" / "metrics.jsonl").write_text("{")
    code, line = refused(str(run), "--seed", "4")
    assert (code, "metrics.jsonl: damaged" in line) == (3, True)
    evaluation = read(run / "seed-4" / "evaluation.json")
    (run / "seed-4" / "evaluation.json").write_text(json.dumps({**evaluation, "target": {}}))
    (run / "seed-4" / "metrics.jsonl").unlink()
    code, line = refused(str(run), "--seed", "4")
    assert (code, "evaluation.json: damaged" in line) == (3, True)
    for file in run.glob("seed-*/evaluation.json"):
        file.unlink()
    code, line = refused(str(run))
    assert (code, "no seed is finished yet" in line) == (3, True)


def test_spaces_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spaces = {
        name: EmbeddingSpace(
            *(rng.normal(size=(7, 5)).astype(np.float32) for _ in range(3)),
            rng.integers(0, 3, 7),
            {"taught": {"domain_accuracy": 0.5, "mmd": 0.1}},
        )
        for name in ("audio", "face")
    }
    write_spaces(tmp_path / "a", spaces)
    write_spaces(tmp_path / "b", spaces)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = read_spaces(tmp_path / "a")
    assert found is not None
    assert set(found) == set(spaces)
    for name, space in spaces.items():
        for field in ("source", "taught", "alone", "classes"):
            assert np.array_equal(getattr(found[name], field), getattr(space, field))
        assert found[name].alignment == space.alignment
    assert read_spaces(tmp_path / "none") is None
    write_spaces(tmp_path / "nothing", {})
    assert not (tmp_path / "nothing").exists()
    write_spaces(
        tmp_path / "uneven",
        {
            "audio": EmbeddingSpace(
                *(np.zeros((n, 2), np.float32) for n in (3, 4, 3)), np.zeros(3, np.int64), {}
            )
        },
    )
    with pytest.raises(InputError, match="damaged"):
        read_spaces(tmp_path / "uneven")


def test_the_best_seed_is_that_of_the_summary(taught: Path) -> None:
    assert RunFolder(taught).finished() == [3, 4]
    assert RunFolder(taught).best() == read(taught / "summary.json")["best_seed"]


# Results


def test_the_timeline_of_a_result(tmp_path: Path) -> None:
    result = written(tmp_path / "talk.mp4.json")
    save_timeline(tmp_path / "expected.png", make_result())
    save_timeline(tmp_path / "expected.svg", make_result())
    expected = (tmp_path / "expected.png").read_bytes()
    assert main(["plot", str(result)]) == 0
    assert (tmp_path / "talk.mp4.png").read_bytes() == expected
    assert main(["plot", str(result), "-o", str(tmp_path / "new" / "folder")]) == 0
    assert (tmp_path / "new" / "folder" / "talk.mp4.png").read_bytes() == expected
    assert main(["plot", str(result), "-o", str(tmp_path / "figure 1.svg")]) == 0
    vector = (tmp_path / "expected.svg").read_bytes()
    assert (tmp_path / "figure 1.svg").read_bytes() == vector
    assert main(["plot", str(result), "--format", "svg"]) == 0
    assert (tmp_path / "talk.mp4.svg").read_bytes() == vector


def test_results_that_cannot_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = written(tmp_path / "a.json")
    (tmp_path / "broken.json").write_text("{")
    before = files(tmp_path)
    for arguments, code, words in (
        ([str(tmp_path / "none.json")], 3, "no such file"),
        ([str(tmp_path / "broken.json")], 3, "is not JSON"),
        ([str(result), "--seed", "1"], 2, "--seed is for training runs"),
        ([str(result), "-o", "a.png", "--format", "svg"], 2, "two formats"),
        ([str(result), "--format", "jpg"], 2, "jpg"),
        ([str(result), "-o", str(tmp_path / "nowhere" / "a.png")], 3, "no folder"),
    ):
        assert main(["plot", *arguments]) == code
        assert words in capsys.readouterr().err
    assert files(tmp_path) == before
