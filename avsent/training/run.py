"""A whole training run: every seed, mean and spread, the best one's checkpoint and pictures."""

from __future__ import annotations

import csv
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsent.errors import OutputError, UsageError
from avsent.extraction.features.config import FeatureConfig
from avsent.files import atomic_text
from avsent.machine import one_torch_thread
from avsent.model.checkpoint import save_checkpoint
from avsent.model.networks.fusion import PAIRS_ONLY
from avsent.training.data.corpus import SPLITS, Corpus
from avsent.training.data.text import TextItem
from avsent.training.embeddings import keep_spaces
from avsent.training.evaluation import Predictions, evaluate
from avsent.training.metrics import majority_class
from avsent.training.plots import draw_seed
from avsent.training.run_folder import (
    SPACES_FILE,
    RunFolder,
    read_run_file,
    scalars,
    summarised,
    told,
    write_json,
    write_line,
    write_run_card,
)
from avsent.training.seed import Trained, Where, make_teaching, train_seed
from avsent.training.settings import TrainSettings, for_source
from avsent.training.splits import Material, Task, make_material, make_task

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


@dataclass(frozen=True, slots=True)
class Request:
    """A run: corpus, settings, seeds, where to. ``texts``: of --text-corpus, with ``texts_name``;
    ``baseline``: also train each seed without transfer."""

    corpus: Corpus
    settings: TrainSettings
    seeds: tuple[int, ...]
    folder: RunFolder
    device: torch.device
    texts: tuple[TextItem, ...] | None = None
    texts_name: str = ""
    baseline: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """``say``: a line about what begins; ``on_epoch``: seed, stage, what was measured."""

    say: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[int, str, dict[str, float]], None] = lambda seed, stage, measured: None


def run(request: Request, hooks: Hooks | None = None) -> dict[str, Any]:
    """Train all seeds, or those that are not finished; returns what ``summary.json`` holds.

    Raises:
        DatasetError: the corpus does not suit. UsageError: the settings do not, or the folder
        holds another run. OutputError: the folder cannot be written.
    """
    hooks = hooks or Hooks()
    check_settings(request.settings, texts=request.texts is not None, baseline=request.baseline)
    task = make_task(request.corpus, request.settings.label, request.settings.labels)
    about = {
        "name": request.corpus.name,
        "sha256": request.corpus.digest(),
        "utterances": len(request.corpus.samples),
        "licence": request.corpus.licence,
        "text_corpus": request.texts_name,
        "texts": len(request.texts or ()),
    }
    # Everything that can be wrong with the data is found before the folder is touched.
    materials = {seed: _material(task, request, seed) for seed in request.seeds}
    config = told(request.settings, request.seeds, about, request.baseline)
    if request.folder.begin(config, fresh=request.fresh):
        hooks.say(f"taking up the run in {request.folder.path}")
    for seed in request.seeds:
        if request.folder.evaluation(seed) is None:
            with _threads(materials[seed]):
                _train(request, materials[seed], seed, hooks)
    found = {seed: request.folder.evaluation(seed) for seed in request.seeds}
    summary = summarised({seed: one for seed, one in found.items() if one is not None})
    # The summary is written last: where it is, all the rest is.
    if (
        not (request.folder.path / "summary.json").is_file()
        or not request.folder.checkpoint.exists()
    ):
        _publish(request, task, summary)
    return summary


def check_settings(settings: TrainSettings, *, texts: bool = False, baseline: bool = False) -> None:
    """Raise UsageError for settings that contradict each other; ``texts``: of a text corpus."""
    transfer = settings.transfer
    if transfer.source in settings.target:
        raise UsageError(
            f"{transfer.source} cannot teach itself; choose another --source or --target"
        )
    if settings.fusion.name in PAIRS_ONLY and len(settings.target) != 2:
        raise UsageError(f"--fusion {settings.fusion.name} needs --target audio,face")
    if baseline and transfer.source is None:
        raise UsageError("--baseline compares with transfer; give --source-text or --source")
    if transfer.cross_fit == 1:
        raise UsageError("--cross-fit needs 2 folds or more; 0 is without")
    if texts and transfer.cross_fit:
        raise UsageError("--cross-fit is for texts of the data itself, not for --text-corpus")


def _material(task: Task, request: Request, seed: int) -> Material:
    paired_text = request.settings.transfer.source == "text" and request.texts is None
    material = make_material(task, request.settings, seed, words=paired_text)
    if task.labels.real and request.settings.fusion.name == "multiplicative":
        raise UsageError("--fusion multiplicative needs classes; choose --labels 2, 3 or 7")
    return material


@contextmanager
def _threads(material: Material) -> Iterator[None]:
    """Networks on ready-made vectors are small: a second thread only waits."""
    if material.task.corpus.vectors:
        with one_torch_thread():
            yield
    else:
        yield


def _train(request: Request, material: Material, seed: int, hooks: Hooks) -> None:
    folder = request.folder.seed(seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "metrics.jsonl").open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    many = len(request.seeds) > 1

    def say(line: str) -> None:
        hooks.say(f"seed {seed}: {line}" if many else line)

    with log, scalars(folder / "tensorboard") as board:

        def on_epoch(stage: str, measured: dict[str, float]) -> None:
            write_line(log, {"stage": stage, **measured})
            board(stage, measured)
            hooks.on_epoch(seed, stage, measured)

        where = Where(request.device, folder, say, on_epoch)
        teaching = None
        if request.settings.transfer.source is not None:
            texts = None if request.texts is None else list(request.texts)
            teaching = make_teaching(material, for_source(request.settings), seed, where, texts)
        trained = train_seed(material, request.settings, seed, where, teaching)
        baseline = None
        if request.baseline:
            say("the same without transfer")
            apart = dataclasses.replace(
                where,
                folder=folder / BASELINE,
                on_epoch=lambda stage, measured: on_epoch(BASELINE, measured),
            )
            (folder / BASELINE).mkdir(exist_ok=True)
            baseline = train_seed(material, request.settings, seed, apart, None)
        leave(
            Leaving(request.folder.path.resolve().name, material, folder),
            trained,
            baseline,
        )


def _publish(request: Request, task: Task, summary: dict[str, Any]) -> None:
    """The best seed's checkpoint, card and pictures, at the top of the folder."""
    best = int(summary["best_seed"])
    folder = request.folder
    try:
        for kept in (folder.checkpoint, folder.plots):
            # Under another name first: there is never half a checkpoint.
            new = kept.with_name(f".{kept.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(folder.seed(best) / kept.name, new)
            shutil.rmtree(kept, ignore_errors=True)
            new.rename(kept)
    except OSError as error:
        raise OutputError(f"{folder.path}: cannot be written ({error.strerror})") from error
    config = read_run_file(folder.path / "config.json")
    write_run_card(folder.checkpoint, config, summary, task.labels)
    write_json(folder.path / "summary.json", summary)
