"""A whole training run: every seed, mean and deviation, the best seed's checkpoint and figures."""

import csv
import dataclasses
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsent.errors import OutputError, UsageError
from avsent.extraction.extractor import FeatureConfig
from avsent.files import atomic_text
from avsent.machine import one_torch_thread
from avsent.model.checkpoint import save_checkpoint
from avsent.model.networks.fusion import PAIRS_ONLY
from avsent.training.data.corpus import SPLITS, Corpus
from avsent.training.data.text import TextItem
from avsent.training.embeddings import write_spaces
from avsent.training.evaluation import Predictions, evaluate
from avsent.training.metrics import majority_class
from avsent.training.plots import SeedRecord, draw_figures
from avsent.training.run_folder import (
    BASELINE,
    SPACES_FILE,
    RunFolder,
    read_run_file,
    run_config,
    summarise,
    tensorboard,
    write_json,
    write_line,
    write_run_card,
)
from avsent.training.seed import SeedContext, Trained, pretrain_source, train_seed
from avsent.training.settings import TrainSettings, for_source
from avsent.training.splits import Material, Task, make_material, make_task

PARTS_FILE = "parts.json"
"""The utterances of each part: an evaluation on the same data must leave out the training part."""


@dataclass(frozen=True, slots=True)
class Request:
    """A run: corpus, settings, seeds, output folder. ``texts``: of --text-corpus, whose name is
    ``texts_name``; ``baseline``: train each seed without transfer, too."""

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
    """``say``: takes a line about the next step; ``on_epoch``: seed, stage, measured figures."""

    say: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[int, str, dict[str, float]], None] = lambda seed, stage, measured: None


def run(request: Request, hooks: Hooks | None = None) -> dict[str, Any]:
    """Train all seeds that are not finished; returns the content of ``summary.json``.

    Raises:
        DatasetError: the corpus does not suit. UsageError: the settings do not, or the folder
        holds another run. OutputError: the folder cannot be written.
    """
    hooks = hooks or Hooks()
    check_settings(request.settings, texts=request.texts is not None, baseline=request.baseline)
    task = make_task(request.corpus, request.settings.label, request.settings.labels)
    data = {
        "name": request.corpus.name,
        "sha256": request.corpus.digest(),
        "utterances": len(request.corpus.samples),
        "licence": request.corpus.licence,
        "text_corpus": request.texts_name,
        "texts": len(request.texts or ()),
    }
    # All faults of the data are found before the folder is touched.
    materials = {seed: _material(task, request, seed) for seed in request.seeds}
    config = run_config(request.settings, request.seeds, data, request.baseline)
    if request.folder.begin(config, fresh=request.fresh):
        hooks.say(f"taking up the run in {request.folder.path}")
    for seed in request.seeds:
        if request.folder.evaluation(seed) is None:
            # Networks on ready-made vectors are small: a second thread makes them no faster.
            with one_torch_thread() if request.corpus.vectors else nullcontext():
                _train(request, materials[seed], seed, hooks)
    found = {seed: request.folder.evaluation(seed) for seed in request.seeds}
    summary = summarise({seed: one for seed, one in found.items() if one is not None})
    # The summary is written last: if it exists, everything else does.
    finished = (request.folder.path / "summary.json").is_file()
    if not finished or not request.folder.checkpoint.exists():
        _publish(request, task, summary)
    return summary


def check_settings(settings: TrainSettings, *, texts: bool = False, baseline: bool = False) -> None:
    """Raise UsageError for contradictory settings; ``texts``: of a text corpus."""
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

    with log, tensorboard(folder / "tensorboard") as board:

        def on_epoch(stage: str, measured: dict[str, float]) -> None:
            write_line(log, {"stage": stage, **measured})
            board(stage, measured)
            hooks.on_epoch(seed, stage, measured)

        context = SeedContext(request.device, folder, say, on_epoch)
        source = None
        if request.settings.transfer.source is not None:
            texts = None if request.texts is None else list(request.texts)
            settings = for_source(request.settings)
            source = pretrain_source(material, settings, seed, context, texts)
        trained = train_seed(material, request.settings, seed, context, source)
        baseline = None
        if request.baseline:
            say("the same without transfer")
            apart = dataclasses.replace(
                context,
                folder=folder / BASELINE,
                on_epoch=lambda stage, measured: on_epoch(BASELINE, measured),
            )
            (folder / BASELINE).mkdir(exist_ok=True)
            baseline = train_seed(material, request.settings, seed, apart)
        _write_seed(folder, request.folder.path.resolve().name, material, trained, baseline)


def _write_seed(
    folder: Path, name: str, material: Material, trained: Trained, baseline: Trained | None
) -> None:
    """Write all files of a seed; ``evaluation.json`` last, as it marks the seed as finished."""
    corpus = material.task.corpus
    save_checkpoint(
        folder / "checkpoint",
        trained.model,
        name=name,
        licence=corpus.licence,
        features=corpus.features or FeatureConfig(),
        calibration=trained.calibration,
    )
    parts = {part: [sample.key for sample in material.split.part(part)] for part in SPLITS}
    write_json(folder / "checkpoint" / PARTS_FILE, {"sha256": corpus.digest(), **parts})
    found = _predictions(trained)
    _write_predictions(folder / "predictions.csv", found.get("test", found["valid"]))
    train = material.train.labels[material.train.known()].numpy()
    known: dict[str, Any] = (
        {"train_mean": float(train.mean())}
        if material.task.labels.real
        else {"majority_class": majority_class(train.astype(np.int64), len(trained.valid.labels))}
    )

    def figures(parts: dict[str, Predictions]) -> dict[str, Any]:
        return {part: evaluate(one, **known).to_dict() for part, one in parts.items()}

    evaluation: dict[str, Any] = {
        "seed": trained.seed,
        "best_epoch": trained.progress.best_epoch,
        "epochs": trained.progress.epoch,
        "validation_value": trained.progress.best_value,
        "parts": {part: _sizes(material, part) for part in SPLITS},
        "target": figures(found),
    }
    if trained.source is not None:
        evaluation["source"] = figures(trained.source.predictions)
    if baseline is not None:
        evaluation[BASELINE] = figures(_predictions(baseline))
    write_spaces(folder / SPACES_FILE, trained.spaces)
    record = SeedRecord(trained.progress.history, evaluation, trained.spaces)
    draw_figures(folder / "plots", record)
    write_json(folder / "evaluation.json", evaluation)


def _predictions(trained: Trained) -> dict[str, Predictions]:
    """By part."""
    parts = {"valid": trained.valid, "test": trained.test}
    return {name: predictions for name, predictions in parts.items() if predictions is not None}


def _sizes(material: Material, name: str) -> dict[str, int]:
    part = material.split.part(name)
    return {
        "utterances": len(part),
        "videos": len({sample.video for sample in part}),
        "speakers": len({sample.speaker for sample in part if sample.speaker}),
    }


def _write_predictions(path: Path, predictions: Predictions) -> None:
    probabilities, values = predictions.probabilities, predictions.values
    assert probabilities is not None
    with atomic_text(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        numbers = [] if values is None else ["value"]
        rows.writerow(["utterance", "video", "speaker", "truth", *numbers, *predictions.labels])
        for index, key in enumerate(predictions.keys):
            number = float(predictions.truth[index])
            rows.writerow(
                [
                    key,
                    predictions.videos[index],
                    predictions.speakers[index],
                    predictions.labels[int(number)] if values is None else number,
                    *([] if values is None else [f"{values[index]:.4f}"]),
                    *(f"{p:.4f}" for p in probabilities[index]),
                ]
            )


def _publish(request: Request, task: Task, summary: dict[str, Any]) -> None:
    """Copy the best seed's checkpoint and figures to the top of the folder; write the card."""
    best = int(summary["best_seed"])
    folder = request.folder
    try:
        for kept in (folder.checkpoint, folder.plots):
            # Under another name first, so that there is never half a checkpoint.
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
