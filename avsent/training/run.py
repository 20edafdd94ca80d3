"""A whole training run: every seed, mean and deviation, the best seed's checkpoint and figures."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avsent.errors import OutputError, UsageError
from avsent.extraction.extractor import FeatureConfig
from avsent.files import atomic_text
from avsent.labels import MODALITIES
from avsent.machine import one_torch_thread
from avsent.model.checkpoint import Calibration, save_checkpoint
from avsent.model.folders import RUN_FORMAT
from avsent.model.networks.config import VectorSizes
from avsent.model.networks.fusion import PAIRS_ONLY
from avsent.model.networks.target import TargetModel
from avsent.training import run_folder
from avsent.training.data.corpus import SPLITS, Corpus
from avsent.training.data.text import TextItem
from avsent.training.dataset import Videos
from avsent.training.evaluation import Predictions, calibrate, evaluate, predictions_of
from avsent.training.losses import Teacher
from avsent.training.metrics import majority_class
from avsent.training.modality_check import GuardData, fit_guard, with_noise, without_outliers
from avsent.training.plots import SeedRecord, draw_figures
from avsent.training.run_folder import RunFolder
from avsent.training.settings import TrainSettings, for_source
from avsent.training.source import (
    EmbeddingSpace,
    SourceSetup,
    embedding_spaces,
    embeddings_of,
    make_model,
    paired_teacher,
    train_source,
    unpaired_teacher,
    write_spaces,
)
from avsent.training.splits import Material, Task, make_material, make_task, make_text_material
from avsent.training.trainer import FitSetup, OnEpoch, Progress, fit


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
    if task.labels.real and request.settings.fusion.name == "multiplicative":
        raise UsageError("--fusion multiplicative needs classes; choose --labels 2, 3 or 7")
    words = request.settings.transfer.source == "text" and request.texts is None
    materials = {
        seed: make_material(task, request.settings, seed, words=words) for seed in request.seeds
    }
    # Everything that decides the result of a run, as in ``config.json``.
    config = {
        "format": RUN_FORMAT,
        "settings": dataclasses.asdict(request.settings),
        "seeds": list(request.seeds),
        "baseline": request.baseline,
        "data": data,
    }
    if request.folder.begin(config, fresh=request.fresh):
        hooks.say(f"taking up the run in {request.folder.path}")
    for seed in request.seeds:
        if request.folder.evaluation(seed) is None:
            # Networks on ready-made vectors are small: a second thread makes them no faster.
            with one_torch_thread() if request.corpus.vectors else nullcontext():
                _train(request, materials[seed], seed, hooks)
    found = {seed: request.folder.evaluation(seed) for seed in request.seeds}
    summary = run_folder.summarise({seed: one for seed, one in found.items() if one is not None})
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


def _train(request: Request, material: Material, seed: int, hooks: Hooks) -> None:
    folder = request.folder.seed(seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "metrics.jsonl").open("w", buffering=1, encoding="utf-8")  # by line
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    many = len(request.seeds) > 1

    def say(line: str) -> None:
        hooks.say(f"seed {seed}: {line}" if many else line)

    with log, run_folder.tensorboard(folder / "tensorboard") as board:

        def on_epoch(stage: str, measured: dict[str, float]) -> None:
            log.write(json.dumps({"stage": stage, **measured}) + "\n")
            board(stage, measured)
            hooks.on_epoch(seed, stage, measured)

        context = SeedContext(request.device, folder, say, on_epoch)
        source = None
        if request.settings.transfer.source is not None:
            settings = for_source(request.settings)
            source = pretrain_source(material, settings, seed, context, request.texts)
        trained = train_seed(material, request.settings, seed, context, source)
        baseline = None
        if request.baseline:
            say("the same without transfer")
            apart = dataclasses.replace(
                context,
                folder=folder / run_folder.BASELINE,
                on_epoch=lambda stage, measured: on_epoch(run_folder.BASELINE, measured),
            )
            (folder / run_folder.BASELINE).mkdir(exist_ok=True)
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
    run_folder.write_json(
        folder / "checkpoint" / run_folder.PARTS_FILE, {"sha256": corpus.digest(), **parts}
    )
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
        evaluation[run_folder.BASELINE] = figures(_predictions(baseline))
    write_spaces(folder / run_folder.SPACES_FILE, trained.spaces)
    record = SeedRecord(trained.progress.history, evaluation, trained.spaces)
    draw_figures(folder / "plots", record)
    run_folder.write_json(folder / "evaluation.json", evaluation)


def _predictions(trained: Trained) -> dict[str, Predictions]:
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
        columns = predictions.keys, predictions.videos, predictions.speakers
        rows.writerow(["utterance", "video", "speaker", "truth", *numbers, *predictions.labels])
        for index, number in enumerate(predictions.truth.tolist()):
            if values is None:
                told = [predictions.labels[int(number)]]
            else:
                told = [str(float(number)), f"{values[index]:.4f}"]
            whose = (column[index] for column in columns)
            rows.writerow([*whose, *told, *(f"{p:.4f}" for p in probabilities[index])])


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
    config = run_folder.read_run_file(folder.path / "config.json")
    run_folder.write_run_card(folder.checkpoint, config, summary, task.labels)
    run_folder.write_json(folder.path / "summary.json", summary)


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedSource:
    """A pretrained source ``model``, what it teaches, and its own predictions by part: "valid",
    and "test" if it reads the same utterances as the target."""

    teacher: Teacher
    model: TargetModel
    predictions: dict[str, Predictions]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """One seed's target model, and its calibrated predictions on the held-out parts."""

    seed: int
    model: TargetModel
    calibration: Calibration
    progress: Progress
    valid: Predictions
    test: Predictions | None
    source: PretrainedSource | None
    spaces: dict[str, EmbeddingSpace]


@dataclass(frozen=True, slots=True)
class SeedContext:
    """Surroundings of a seed: device, folder for its states (None: they are not kept), hooks."""

    device: torch.device
    folder: Path | None = None
    say: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[str, dict[str, float]], None] = lambda stage, measured: None

    def hook(self, stage: str) -> OnEpoch:
        """The hook for the epochs of a ``stage``: "source", "source-fold1", "target"."""
        return lambda measured: self.on_epoch(stage, measured)

    def setup(
        self, stage: str, train: Videos, valid: Videos, settings: TrainSettings, seed: int
    ) -> FitSetup:
        """Training on ``train`` that keeps its state in the file of ``stage``."""
        return FitSetup(
            train=train,
            valid=valid,
            optimiser=settings.optimiser,
            transfer=settings.transfer,
            seed=seed,
            device=self.device,
            state=None if self.folder is None else self.folder / f"{stage}.safetensors",
            on_epoch=self.hook(stage),
        )


def pretrain_source(
    material: Material,
    settings: TrainSettings,
    seed: int,
    context: SeedContext,
    texts: Sequence[TextItem] | None = None,
) -> PretrainedSource:
    """Pretrain the source that ``settings`` name; on ``texts``, or on the corpus' own
    utterances."""
    source = settings.transfer.source
    assert source is not None
    context.say(f"source model ({source})")
    # The source always has HMTL's own fusion: the head to be compared is the target's.
    plain = dataclasses.replace(settings.fusion, name="hmtl")
    config = material.config(dataclasses.replace(settings, fusion=plain, votes=()), (source,))
    train, valid = material.train, material.valid
    if texts is not None:
        labels = material.task.labels
        train, valid = make_text_material(texts, labels, settings.label, settings, seed)
        size = train.vectors["text"].shape[-1]
        config = dataclasses.replace(config, vectors=VectorSizes(text=size))
    setup = SourceSetup(
        config, context.setup("source", train, valid, settings, seed), material.groups
    )
    model = train_source(setup)
    if texts is not None:
        teacher: Teacher = unpaired_teacher(model, train, material.train, context.device, seed)
        valid_predictions = predictions_of(model, valid, context.device)
        return PretrainedSource(teacher, model, {"valid": valid_predictions})

    def on_fold(fold: int) -> OnEpoch:
        context.say(f"source model ({source}), fold {fold + 1}")
        return context.hook(f"source-fold{fold + 1}")

    teacher = paired_teacher(model, setup, settings.transfer.cross_fit, on_fold)
    predictions = {
        name: predictions_of(model, videos, context.device)
        for name, videos in (("valid", material.valid), ("test", material.test))
        if videos.usable(model.config.modalities).any()
    }
    return PretrainedSource(teacher, model, predictions)


def train_seed(
    material: Material,
    settings: TrainSettings,
    seed: int,
    context: SeedContext,
    source: PretrainedSource | None = None,
    guard_data: GuardData | None = None,
) -> Trained:
    """Train one target model; ``source``: teaches it, None for no transfer; ``guard_data``: what
    its guard is fitted on, by default the material's own parts. Raises ValueError if the fusion
    head does not suit the target."""
    if settings.check:
        train, outliers = without_outliers(material.train, settings.target)
        for modality, count in outliers.items():
            if count:
                of = int(material.train.present[modality].sum())
                without = f"{count} of {of} training utterances without their {modality}"
                context.say(f"{without}: damaged")
        material = dataclasses.replace(material, train=train)
    config = material.config(settings, settings.target)
    model = make_model(config, material.train, seed)
    context.say(f"target model ({' + '.join(settings.target)})")
    teacher = source.teacher if source is not None and settings.transfer.active else None
    # A pass over all training data, needed for the figure of the spaces only.
    before = embeddings_of(model, material.train, context.device) if teacher else {}
    setup = context.setup("target", material.train, material.valid, settings, seed)
    progress = fit(model, dataclasses.replace(setup, teacher=teacher))
    if settings.check and config.modalities == MODALITIES:
        guard_data = guard_data or GuardData(
            material.train, material.valid, with_noise(material.valid, seed)
        )
        model.set_modality_check(fit_guard(model, guard_data, context.device, seed))
    calibration = calibrate(model, material.valid, context.device)
    test = None
    if material.test.usable(config.modalities).any():
        test = predictions_of(model, material.test, context.device, calibration)
    return Trained(
        seed=seed,
        model=model,
        calibration=calibration,
        progress=progress,
        valid=predictions_of(model, material.valid, context.device, calibration),
        test=test,
        source=source,
        spaces=embedding_spaces(model, material.train, before, teacher, context.device),
    )
