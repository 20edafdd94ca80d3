"""Pictures of one trained seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from avsent.errors import OutputError
from avsent.training.plots import Spaces, save_confusion, save_loss_curves, save_spaces
from avsent.training.seed import Trained


def draw_seed(folder: Path, trained: Trained, evaluation: dict[str, Any]) -> None:
    """Loss curves, confusion and, with transfer, the embedding spaces before and after it."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    history = [
        {name.removeprefix("valid_"): value for name, value in epoch.items()}
        for epoch in trained.progress.history
    ]
    metric = "balanced_accuracy" if "balanced_accuracy" in history[0] else "mae"
    save_loss_curves(
        folder / "losses.png", history, metric=metric, best_epoch=trained.progress.best_epoch
    )
    part = "test" if "test" in evaluation["target"] else "valid"
    confusion = evaluation["target"][part]["confusion"]
    if confusion:
        title = {"test": "test part", "valid": "validation part"}[part]
        labels = evaluation["target"][part]["labels"]
        save_confusion(folder / "confusion.png", confusion, labels, title)
    for modality, space in trained.spaces.items():
        save_spaces(
            folder / f"spaces-{modality}.png",
            Spaces(space.source, space.before),
            Spaces(space.source, space.after),
            space.classes,
            trained.model.config.labels,
        )
