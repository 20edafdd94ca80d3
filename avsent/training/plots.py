"""Pictures of a training run: losses, confusion, the embedding spaces, a comparison.

The same data give the same bytes with the same matplotlib.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from avsent.errors import InputError
from avsent.files import prepare_folder
from avsent.training.embeddings import Space, load_spaces, principal_axes
from avsent.training.metrics import LOWER_IS_BETTER, TITLES
from avsent.training.run_folder import RunFolder
from avsent.training.seed import Trained
from avsent.views.figures import (
    BLACK,
    BLUE,
    GREY,
    PALETTE,
    SUFFIXES,
    VERMILLION,
    colours_of,
    plain_frame,
    save_figure,
    settings,
)

LOSS_PARTS = ("classification", "decoder", "discriminator", "adversarial")
_MAX_PAIRS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Spaces:
    """Representations of the same utterances by both models, ``source`` and ``target`` [N, D]."""

    source: NDArray[Any]
    target: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """A row of a comparison: mean and standard deviation over seeds or folds. Rows that follow
    each other with the same ``group`` are drawn as one block."""

    name: str
    mean: float
    sd: float = 0.0
    group: str = ""


@settings()
def save_loss_curves(
    path: Path,
    epochs: Sequence[Mapping[str, Any]],
    *,
    metric: str = "balanced_accuracy",
    best_epoch: int | None = None,
) -> None:
    """Draw the losses of training, a panel each as their sizes differ, and the validation figure.

    Parameters
    ----------
    path
        ``.png``, ``.svg`` or ``.pdf``.
    epochs
        One record per epoch: ``epoch`` (from 1; else counted), any of ``LOSS_PARTS``, and
        ``metric``. What is absent, None or not finite leaves a gap; a part that never occurs
        gets no panel.
    metric
        Key of the validation figure in the records.
    best_epoch
        The epoch that was kept; by default the first one with the best ``metric``.

    Raises
    ------
    ValueError
        No epochs, or a suffix of another kind.
    OutputError
        The file cannot be written.
    """
    if not epochs:
        raise ValueError("there are no epochs to draw")
    at = [float(record.get("epoch", place)) for place, record in enumerate(epochs, start=1)]
    parts = [part for part in LOSS_PARTS if np.isfinite(_series(epochs, part)).any()]
    chosen = _series(epochs, metric)
    if best_epoch is None and np.isfinite(chosen).any():
        best = np.nanargmin(chosen) if metric in LOWER_IS_BETTER else np.nanargmax(chosen)
        best_epoch = int(at[int(best)])
    titles = [*(f"{part} loss (training)" for part in parts), f"{_title(metric)} (validation)"]
    columns = min(len(titles), 3)
    rows = math.ceil(len(titles) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.5 * rows), layout="constrained")
    for place, (name, title) in enumerate(zip([*parts, metric], titles, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        values = _series(epochs, name)
        last = name == metric and place == len(parts)
        axes.plot(at, values, color=BLUE if last else BLACK, lw=1.4, marker="o", ms=2.5)
        axes.set_title(title, fontsize=10, parse_math=False)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        plain_frame(axes, grid="both")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=VERMILLION, lw=1.2, ls="--", zorder=1)
        if last and best_epoch in at and np.isfinite(value := values[at.index(best_epoch)]):
            axes.plot([best_epoch], [value], marker="o", ms=6, color=VERMILLION, clip_on=False)
            axes.set_title(
                f"{title}\nkept: epoch {best_epoch:g}, {value:.3f}", fontsize=10, parse_math=False
            )
    save_figure(figure, path)


@settings()
def save_confusion(
    path: Path, confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str = ""
) -> None:
    """Draw counts [C, C] (rows: truth, columns: decision) with their share of the row.

    Raises:
        ValueError: counts and labels do not match, or a suffix of another kind.
        OutputError: the file cannot be written.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"confusion {counts.shape} for {len(labels)} labels")
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = max(3.2, 0.82 * len(labels))
    figure = Figure(figsize=(side + 1.9, side + 1.2), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.02)
    bar.set_label("share of the class", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    for row, column in np.ndindex(*counts.shape):
        text = f"{counts[row, column]}\n{100 * share[row, column]:.0f}%"
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    names = [f"{label}\n(n = {n})" for label, n in zip(labels, counts.sum(axis=1), strict=True)]
    # A letter is about 0.085 inches wide; names that would touch are turned.
    turned = 35 if 0.085 * max(map(len, labels)) > side / len(labels) else 0
    axes.set_xticks(
        range(len(labels)),
        labels,
        fontsize=9,
        rotation=turned,
        ha="right" if turned else "center",
        rotation_mode="anchor" if turned else "default",
        parse_math=False,
    )
    axes.set_yticks(range(len(labels)), names, fontsize=9, parse_math=False)
    axes.set_xlabel("decision")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    save_figure(figure, path)


@settings()
def save_spaces(
    path: Path, before: Spaces, after: Spaces, labels: NDArray[Any], names: Sequence[str]
) -> None:
    """Draw where source and target place the same utterances, before and after the transfer.

    Both panels share one basis, the first two principal components of all four clouds together:
    a frozen source then stays where it is, and what has moved between the panels has moved in the
    space itself. At most 400 utterances are drawn (evenly chosen), all are used for the basis and
    for the mean distance of pairs in the full space, given above each panel.

    Parameters
    ----------
    labels
        Class index of each utterance [N].
    names
        Names of the classes [C].

    Raises
    ------
    ValueError
        Shapes that do not match, fewer than two dimensions, no utterances, or a suffix of another
        kind.
    OutputError
        The file cannot be written.
    """
    clouds = [np.asarray(c, float) for s in (before, after) for c in (s.source, s.target)]
    shape = clouds[0].shape
    if len(shape) != 2 or shape[1] < 2 or not shape[0] or {c.shape for c in clouds} != {shape}:
        raise ValueError(f"clouds of points of shapes {[cloud.shape for cloud in clouds]}")
    if len(labels) != shape[0]:
        raise ValueError(f"{len(labels)} labels for {shape[0]} utterances")
    project = principal_axes(np.concatenate(clouds))
    shown = np.unique(np.linspace(0, shape[0] - 1, min(shape[0], _MAX_PAIRS)).astype(int))
    drawn = f" ({len(shown)} of {shape[0]} drawn)" if len(shown) < shape[0] else ""
    colours = colours_of(tuple(names))
    figure = Figure(figsize=(10.5, 5.4), layout="constrained")
    first: Axes | None = None
    for place, (title, space) in enumerate((("before", clouds[:2]), ("after", clouds[2:]))):
        axes = figure.add_subplot(1, 2, place + 1, sharex=first, sharey=first)
        first = first or axes
        for cloud, marker in zip(space, "ox", strict=True):
            points, classes = project(cloud)[shown], np.asarray(labels)[shown]
            for c, colour in enumerate(colours):
                x, y = points[classes == c].T
                axes.plot(x, y, marker, color=colour, mfc="none", ms=5, mew=0.9, alpha=0.75)
        distance = np.linalg.norm(space[0] - space[1], axis=1).mean()
        axes.set_title(
            f"{title} transfer{drawn}\nmean distance source – target: {distance:.3g}", fontsize=10
        )
        first_share, second_share = (f"{100 * share:.0f}%" for share in project.shares)
        axes.set_xlabel(f"component 1 ({first_share} of the variance)", fontsize=9)
        axes.set_ylabel(f"component 2 ({second_share})", fontsize=9)
        plain_frame(axes)
    figure.legend(
        handles=_marks(names, colours),
        loc="outside lower center",
        ncols=min(6, len(names) + 2),
        frameon=False,
        fontsize=9,
    )
    save_figure(figure, path)


@settings()
def save_comparison(
    path: Path,
    rows: Sequence[Compared],
    *,
    majority: float | None = None,
    metric: str = "balanced_accuracy",
    title: str = "",
) -> None:
    """Draw means with their standard deviations, one row each, the first on top.

    ``majority``: what always deciding for the commonest class gives, as a vertical line.

    Raises:
        ValueError: no rows, or a suffix of another kind.
        OutputError: the file cannot be written.
    """
    if not rows:
        raise ValueError("there is nothing to compare")
    groups = list(dict.fromkeys(row.group for row in rows))
    heights: list[float] = []
    for place, row in enumerate(rows):
        step = 1.6 if place and row.group != rows[place - 1].group else 1.0
        heights.append(heights[-1] + step if heights else 0.0)
    figure = Figure(figsize=(7.5, 1.5 + 0.3 * (heights[-1] + 1)), layout="constrained")
    axes = figure.add_subplot()
    for height, row in zip(heights, rows, strict=True):
        colour = PALETTE[groups.index(row.group) % len(PALETTE)]
        axes.errorbar(row.mean, height, xerr=row.sd, fmt="o", ms=5, capsize=3, color=colour)
        axes.annotate(
            f"{row.mean:.3f} ± {row.sd:.3f}",
            (1.02, height),
            xycoords=("axes fraction", "data"),
            va="center_baseline",
            fontsize=9,
            annotation_clip=False,
        )
    if majority is not None:
        axes.axvline(
            majority, color=GREY, lw=1.5, ls="--", zorder=1, label=f"majority: {majority:.3f}"
        )
        figure.legend(loc="outside lower right", frameon=False, fontsize=9)
    names = [f"{row.group}: {row.name}" if row.group else row.name for row in rows]
    axes.set_yticks(heights, names, fontsize=9, parse_math=False)
    axes.set_ylim(heights[-1] + 0.7, -0.7)
    axes.set_xlabel(f"{_title(metric)}, mean ± standard deviation", fontsize=9, parse_math=False)
    axes.set_title(title, fontsize=11, parse_math=False)
    plain_frame(axes, grid="x")
    axes.tick_params(axis="y", length=0)
    save_figure(figure, path)


def _marks(names: Sequence[str], colours: Sequence[str]) -> list[Line2D]:
    """What the legend of the spaces explains: two markers, then a colour per class."""
    return [
        Line2D([], [], marker="o", ls="", ms=6, color=BLACK, mfc="none", label="source"),
        Line2D([], [], marker="x", ls="", ms=6, color=BLACK, label="target"),
        *(
            Line2D([], [], marker="s", ls="", ms=7, color=colour, label=name)
            for name, colour in zip(names, colours, strict=True)
        ),
    ]


def _series(epochs: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """``name`` of each epoch [E]; NaN where it is absent, None or infinite."""
    given = [record.get(name) for record in epochs]
    values = np.array([math.nan if value is None else float(value) for value in given])
    return np.where(np.isfinite(values), values, math.nan)


def _title(metric: str) -> str:
    return TITLES.get(metric, metric.replace("_", " "))


_PARTS = {"test": "test part", "valid": "validation part"}


@dataclass(frozen=True, slots=True, eq=False)
class Drawable:
    """What the pictures of a seed are made of.

    ``history``: what was measured in each epoch of the target; ``confusion`` [C, C] of ``part``,
    empty for numbers; ``spaces`` by modality; ``missing``: lines on what the folder lacks.
    """

    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    part: str
    confusion: Sequence[Sequence[int]]
    labels: tuple[str, ...]
    spaces: Mapping[str, Space]
    missing: tuple[str, ...] = field(default=())


def draw_seed(folder: Path, trained: Trained, evaluation: dict[str, Any]) -> None:
    """Loss curves, confusion and, with transfer, the embedding spaces before and after it."""
    draw(folder, _drawable(trained.progress.history, evaluation, trained.spaces))


def draw(folder: Path, what: Drawable, kind: str = "png") -> list[Path]:
    """Draw all that there is into ``folder``, as ``kind`` (png, svg, pdf); the files.

    Raises:
        OutputError: one cannot be written.
    """
    assert f".{kind}" in SUFFIXES
    prepare_folder(folder)
    drawn = []
    if what.history:
        history = [
            {name.removeprefix("valid_"): value for name, value in epoch.items()}
            for epoch in what.history
        ]
        metric = "balanced_accuracy" if "balanced_accuracy" in history[0] else "mae"
        drawn.append(folder / f"losses.{kind}")
        save_loss_curves(drawn[-1], history, metric=metric, best_epoch=what.best_epoch)
    if what.confusion:
        drawn.append(folder / f"confusion.{kind}")
        save_confusion(drawn[-1], what.confusion, what.labels, _PARTS[what.part])
    for modality, space in what.spaces.items():
        drawn.append(folder / f"spaces-{modality}.{kind}")
        save_spaces(
            drawn[-1],
            Spaces(space.source, space.before),
            Spaces(space.source, space.after),
            space.classes,
            what.labels,
        )
    return drawn


def read_drawable(folder: RunFolder, seed: int) -> Drawable:
    """What the folder of a run keeps of a finished seed.

    Raises:
        InputError: the seed is not there or not finished, or a file of it is damaged.
    """
    evaluation = folder.evaluation(seed)
    if evaluation is None:
        raise InputError(
            f"{folder.path}: has no finished seed {seed}; give one of "
            f"{', '.join(map(str, folder.finished())) or 'another run'}"
        )
    spaces = load_spaces(folder.spaces(seed))
    history, missing = _history(folder.seed(seed) / "metrics.jsonl"), []
    if not history:
        missing.append("no loss curves: metrics.jsonl is gone")
    if spaces is None:
        taught = "source" in evaluation
        missing.append(
            "no embedding spaces: the run was made before avsent kept them; train again to get them"
            if taught
            else "no embedding spaces: nothing taught this model"
        )
    try:
        return _drawable(history, evaluation, spaces or {}, tuple(missing))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder.seed(seed) / 'evaluation.json'}: damaged; restore it, or train again"
        ) from error


def _drawable(
    history: Sequence[Mapping[str, Any]],
    evaluation: Mapping[str, Any],
    spaces: Mapping[str, Space],
    missing: tuple[str, ...] = (),
) -> Drawable:
    part = "test" if "test" in evaluation["target"] else "valid"
    judged = evaluation["target"][part]
    return Drawable(
        history=history,
        best_epoch=int(evaluation["best_epoch"]),
        part=part,
        confusion=judged["confusion"] or (),
        labels=tuple(judged["labels"]),
        spaces=spaces,
        missing=missing,
    )


def _history(log: Path) -> list[dict[str, Any]]:
    """The epochs of the target; none where there is no such file."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{log}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{log}: damaged; restore it, or remove it") from error
    return [
        {name: value for name, value in epoch.items() if name != "stage"}
        for epoch in found
        if isinstance(epoch, dict) and epoch.get("stage") == "target"
    ]
