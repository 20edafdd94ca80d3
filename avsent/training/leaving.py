"""What a finished seed leaves in its folder: checkpoint, predictions, figures, pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsent.checkpoints import save_checkpoint
from avsent.data.corpus import SPLITS
from avsent.features.config import FeatureConfig
from avsent.training.evaluation import Predictions, evaluate
from avsent.training.material import Material
from avsent.training.metrics import majority_class
from avsent.training.run_folder import SPACES_FILE, write_json
from avsent.training.run_plots import draw_seed
from avsent.training.seed import Trained
from avsent.training.spaces import keep_spaces
from avsent.writers.files import atomic_text

BASELINE = "no-transfer"
PARTS_FILE = "parts.json"
"""Which utterances a model learnt from: a later judgement on the same data must leave them out."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Name of the run, the seed's material, and its folder."""

    name: str
    material: Material
    folder: Path


def leave(where: Leaving, trained: Trained, baseline: Trained | None) -> None:
    """Write all of it; ``evaluation.json`` last, as it says that the seed is finished."""
    material, folder = where.material, where.folder
    corpus = material.task.corpus
    save_checkpoint(
        folder / "checkpoint",
        trained.model,
        name=where.name,
        licence=corpus.licence,
        features=corpus.features or FeatureConfig(),
        calibration=trained.calibration,
    )
    write_json(
        folder / "checkpoint" / PARTS_FILE,
        {
            "sha256": corpus.digest(),
            **{part: [sample.key for sample in material.split.part(part)] for part in SPLITS},
        },
    )
    found = _judged(trained)
    _write_predictions(folder / "predictions.csv", found.get("test", found["valid"]))
    train = material.train.labels[material.train.known()].numpy()
    known: dict[str, Any] = (
        {"train_mean": float(train.mean())}
        if material.task.labels.real
        else {"majority_class": majority_class(train.astype(np.int64), len(trained.valid.labels))}
    )
    evaluation: dict[str, Any] = {
        "seed": trained.seed,
        "best_epoch": trained.progress.best_epoch,
        "epochs": trained.progress.epoch,
        "validation_value": trained.progress.best_value,
        "parts": _sizes(material),
        "target": {
            part: evaluate(predictions, **known).to_dict() for part, predictions in found.items()
        },
    }
    if trained.teaching is not None:
        evaluation["source"] = {
            part: evaluate(predictions, **known).to_dict()
            for part, predictions in trained.teaching.predictions.items()
        }
    if baseline is not None:
        evaluation[BASELINE] = {
            part: evaluate(predictions, **known).to_dict()
            for part, predictions in _judged(baseline).items()
        }
    keep_spaces(folder / SPACES_FILE, trained.spaces)
    draw_seed(folder / "plots", trained, evaluation)
    write_json(folder / "evaluation.json", evaluation)


def _judged(trained: Trained) -> dict[str, Predictions]:
    """Its predictions by part."""
    parts = {"valid": trained.valid, "test": trained.test}
    return {name: predictions for name, predictions in parts.items() if predictions is not None}


def _sizes(material: Material) -> dict[str, dict[str, int]]:
    sizes = {}
    for name in ("train", "valid", "test"):
        part = material.split.part(name)
        sizes[name] = {
            "utterances": len(part),
            "videos": len({sample.video for sample in part}),
            "speakers": len({sample.speaker for sample in part if sample.speaker}),
        }
    return sizes


def _write_predictions(path: Path, predictions: Predictions) -> None:
    probabilities = predictions.probabilities
    assert probabilities is not None
    with atomic_text(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        numbers = ["value"] if predictions.values is not None else []
        rows.writerow(["utterance", "video", "speaker", "truth", *numbers, *predictions.labels])
        for index, key in enumerate(predictions.keys):
            truth: float | str = float(predictions.truth[index])
            value: Sequence[str] = []
            if predictions.values is None:
                truth = predictions.labels[int(truth)]
            else:
                value = [f"{predictions.values[index]:.4f}"]
            shares = [f"{p:.4f}" for p in probabilities[index]]
            rows.writerow(
                [
                    key,
                    predictions.videos[index],
                    predictions.speakers[index],
                    truth,
                    *value,
                    *shares,
                ]
            )
