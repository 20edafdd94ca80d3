"""Pictures of one trained seed: drawn while training, and anew from what the run's folder keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avsent.drawing import SUFFIXES
from avsent.errors import InputError
from avsent.training.plots import Spaces, save_confusion, save_loss_curves, save_spaces
from avsent.training.run_folder import RunFolder
from avsent.training.seed import Trained
from avsent.training.spaces import Space, load_spaces
from avsent.writers.files import prepare_folder

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
