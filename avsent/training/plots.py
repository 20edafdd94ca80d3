"""Figures of a training run: losses, confusion, embedding spaces.

The same data give the same bytes with the same matplotlib.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from avsent.errors import InputError
from avsent.files import prepare_folder
from avsent.training.metrics import TITLES
from avsent.training.run_folder import SPACES_FILE, RunFolder
from avsent.training.source import EmbeddingSpace, read_spaces
from avsent.views import figures

Floats = NDArray[np.float64]
LOSS_PARTS = ("classification", "decoder", "discriminator", "adversarial")
_MAX_PAIRS = 400


@figures.settings()
def save_loss_curves(path: Path, epochs: Sequence[Mapping[str, Any]], *, best_epoch: int) -> None:
    """Draw the training losses, a panel each as their scales differ, and the validation figure.

    ``epochs``: one record per epoch: ``epoch`` (from 1; by default counted), any of ``LOSS_PARTS``,
    and ``valid_balanced_accuracy``, or ``valid_mae`` of numbers. Values that are absent, None or
    not finite leave a gap; a part that never occurs gets no panel. ``best_epoch``: the epoch that
    was kept. Raises ValueError for no epochs, and what :func:`figures.save_figure` raises.
    """
    if not epochs:
        raise ValueError("there are no epochs to draw")
    at = [float(record.get("epoch", place)) for place, record in enumerate(epochs, start=1)]
    parts = [part for part in LOSS_PARTS if np.isfinite(_series(epochs, part)).any()]
    metric = "balanced_accuracy" if "valid_balanced_accuracy" in epochs[0] else "mae"
    titles = [*(f"{part} loss (training)" for part in parts), f"{TITLES[metric]} (validation)"]
    names = [*parts, f"valid_{metric}"]
    if parts and not any(names[-1] in record for record in epochs):
        del names[-1], titles[-1]  # trained without a validation part
    columns = min(len(titles), 3)
    rows = math.ceil(len(titles) / columns)
    figure = Figure(figsize=(3.4 * columns, 2.5 * rows), layout="constrained")
    for place, (name, title) in enumerate(zip(names, titles, strict=True)):
        axes = figure.add_subplot(rows, columns, place + 1)
        values = _series(epochs, name)
        last = place == len(parts)
        colour = figures.BLUE if last else figures.BLACK
        axes.plot(at, values, color=colour, lw=1.4, marker="o", ms=2.5)
        axes.set_title(title, fontsize=10, parse_math=False)
        axes.set_xlabel("epoch", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
        figures.plain_frame(axes, grid="both")
        axes.axvline(best_epoch, color=figures.VERMILLION, lw=1.2, ls="--", zorder=1)
        if last and best_epoch in at and np.isfinite(value := values[at.index(best_epoch)]):
            axes.plot([best_epoch], [value], "o", ms=6, color=figures.VERMILLION, clip_on=False)
            kept = f"{title}\nkept: epoch {best_epoch:g}, {value:.3f}"
            axes.set_title(kept, fontsize=10, parse_math=False)
    figures.save_figure(figure, path)


@figures.settings()
def save_confusion(
    path: Path, confusion: Sequence[Sequence[int]], labels: Sequence[str], title: str = ""
) -> None:
    """Draw counts [C, C] (rows: truth, columns: decision) with their share of the row. Raises
    ValueError if counts and labels do not match, and what :func:`figures.save_figure` raises."""
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
    touching = 0.085 * max(map(len, labels)) > side / len(labels)
    turned: dict[str, Any] = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if touching else {}
    )
    axes.set_xticks(range(len(labels)), labels, fontsize=9, parse_math=False, **turned)
    axes.set_yticks(range(len(labels)), names, fontsize=9, parse_math=False)
    axes.set_xlabel("decision")
    axes.set_ylabel("truth")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figures.save_figure(figure, path)


@figures.settings()
def save_spaces(path: Path, space: EmbeddingSpace, names: Sequence[str]) -> None:
    """Draw where source and target place the same held-out utterances, for a target trained
    without transfer (if there is one) and one trained with it from the same initial weights.

    ``names`` [C] of the classes. The panels share one basis, the first two principal components of
    all embeddings together. At most 400 utterances are drawn (evenly chosen); all are used for the
    basis. Above each panel stand the figures of :func:`~avsent.training.source.alignment`. Raises
    ValueError for shapes that do not match, fewer than two dimensions or no utterances, and what
    :func:`figures.save_figure` raises.
    """
    source = np.asarray(space.source, dtype=float)
    targets = {"taught": np.asarray(space.taught, dtype=float)}
    if space.alone is not None:
        targets = {"alone": np.asarray(space.alone, dtype=float), **targets}
    shapes = [source.shape, *(target.shape for target in targets.values())]
    if len(set(shapes)) > 1 or source.ndim != 2 or source.shape[1] < 2 or not len(source):
        raise ValueError(f"embeddings of shapes {shapes}")
    count = len(source)
    if len(space.classes) != count:
        raise ValueError(f"{len(space.classes)} labels for {count} utterances")
    centre, basis, shares = principal_axes(
        np.concatenate([source] * len(targets) + [*targets.values()])
    )
    rows = np.unique(np.linspace(0, count - 1, min(count, _MAX_PAIRS)).astype(int))
    drawn = f" ({len(rows)} of {count} drawn)" if len(rows) < count else ""
    colours = figures.colours_of(tuple(names))
    figure = Figure(figsize=(5.25 * len(targets), 5.4), layout="constrained")
    first: Axes | None = None
    for place, (kind, target) in enumerate(targets.items()):
        axes = figure.add_subplot(1, len(targets), place + 1, sharex=first, sharey=first)
        first = first or axes
        classes = np.asarray(space.classes)[rows]
        for embeddings, marker in ((source, "o"), (target, "x")):
            points = ((embeddings - centre) @ basis)[rows]
            for c, colour in enumerate(colours):
                x, y = points[classes == c].T
                axes.plot(x, y, marker, color=colour, mfc="none", ms=5, mew=0.9, alpha=0.75)
        title = {"alone": "without transfer", "taught": "with transfer"}[kind]
        told = space.alignment[kind]
        axes.set_title(
            f"{title}{drawn}\nsource told from target: {told['domain_accuracy']:.0%} (chance 50%); "
            f"squared MMD {told['mmd']:.3f}",
            fontsize=10,
        )
        first_share, second_share = (f"{100 * share:.0f}%" for share in shares)
        axes.set_xlabel(f"component 1 ({first_share} of the variance)", fontsize=9)
        axes.set_ylabel(f"component 2 ({second_share})", fontsize=9)
        figures.plain_frame(axes)
    marks = [("o", figures.BLACK, "source", 6), ("x", figures.BLACK, "target", 6)]
    marks += [("s", colour, name, 7) for name, colour in zip(names, colours, strict=True)]
    figure.legend(
        handles=[
            Line2D([], [], marker=m, ls="", ms=s, color=c, mfc="none" if m == "o" else c, label=n)
            for m, c, n, s in marks
        ],
        loc="outside lower center",
        ncols=min(6, len(names) + 2),
        frameon=False,
        fontsize=9,
    )
    figures.save_figure(figure, path)


def principal_axes(points: Floats) -> tuple[Floats, Floats, Floats]:
    """Centre [D] of ``points`` [N, D], D ≥ 2; their first two principal components, unit axes
    [D, 2] whose largest entry is positive; the shares of these in the variance [2]."""
    centre = points.mean(axis=0)
    # The scatter matrix is small, [D, D], however many points there are.
    sizes, axes = np.linalg.eigh((points - centre).T @ (points - centre))
    sizes, axes = np.maximum(sizes[::-1], 0), axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return centre, axes, sizes[:2] / max(sizes.sum(), np.finfo(float).tiny)


def _series(epochs: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """``name`` of each epoch [E]; NaN where it is absent, None or infinite."""
    given = [record.get(name) for record in epochs]
    values = np.array([math.nan if value is None else float(value) for value in given])
    return np.where(np.isfinite(values), values, math.nan)


class SeedRecord(NamedTuple):
    """Data of a seed's figures: the measured figures of each epoch of the target; its
    ``evaluation.json``; spaces by modality; ``missing``: lines on what its folder lacks."""

    history: Sequence[Mapping[str, Any]]
    evaluation: Mapping[str, Any]
    spaces: Mapping[str, EmbeddingSpace]
    missing: tuple[str, ...] = ()


def read_record(folder: RunFolder, seed: int) -> SeedRecord:
    """Data of the figures of a finished seed, from the folder of its run. Raises InputError if the
    seed is missing or not finished, or one of its files is damaged."""
    evaluation = folder.evaluation(seed)
    if evaluation is None:
        raise InputError(
            f"{folder.path}: has no finished seed {seed}; give one of "
            f"{', '.join(map(str, folder.finished())) or 'another run'}"
        )
    spaces = read_spaces(folder.seed(seed) / SPACES_FILE)
    history, missing = _history(folder.seed(seed) / "metrics.jsonl"), []
    if not history:
        missing.append("no loss curves: metrics.jsonl is gone")
    if spaces is None:
        missing.append(
            "no embedding spaces: the run was made before avsent kept them; train again to get them"
            if "source" in evaluation
            else "no embedding spaces: nothing taught this model"
        )
    try:
        _drawn_part(evaluation)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder.seed(seed) / 'evaluation.json'}: damaged; restore it, or train again"
        ) from error
    return SeedRecord(history, evaluation, spaces or {}, tuple(missing))


def _drawn_part(evaluation: Mapping[str, Any]) -> tuple[int, str, Any, tuple[str, ...]]:
    """Best epoch, title of the part, its confusion [C, C] (None for numbers) and labels."""
    part = "test" if "test" in evaluation["target"] else "valid"
    title = {"test": "test part", "valid": "validation part"}[part]
    if part == "valid" and "folds" in evaluation:
        title = "out-of-fold"
    found = evaluation["target"][part]
    return int(evaluation["best_epoch"]), title, found["confusion"], tuple(found["labels"])


def _history(log: Path) -> list[dict[str, Any]]:
    """The epochs of the target; none if there is no such file."""
    try:
        found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{log}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{log}: damaged; restore it, or remove it") from error
    return [e for e in found if isinstance(e, dict) and e.pop("stage", None) == "target"]


def draw_figures(folder: Path, record: SeedRecord, kind: str = "png") -> list[Path]:
    """Draw all figures of a seed into ``folder``, as png, svg or pdf. Raises OutputError."""
    assert f".{kind}" in figures.SUFFIXES
    prepare_folder(folder)
    best_epoch, title, confusion, labels = _drawn_part(record.evaluation)
    drawn = []
    if record.history:
        drawn.append(folder / f"losses.{kind}")
        save_loss_curves(drawn[-1], record.history, best_epoch=best_epoch)
    if confusion:
        drawn.append(folder / f"confusion.{kind}")
        save_confusion(drawn[-1], confusion, labels, title)
    for modality, space in record.spaces.items():
        drawn.append(folder / f"spaces-{modality}.{kind}")
        save_spaces(drawn[-1], space, labels)
    return drawn
