"""A whole training run: every seed, mean and deviation, the best seed's checkpoint and figures."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from avsent.errors import OutputError, UsageError
from avsent.extraction.extractor import FeatureConfig
from avsent.files import atomic_text
from avsent.labels import MODALITIES, LabelSet
from avsent.machine import one_torch_thread
from avsent.model.checkpoint import Calibration, save_checkpoint
from avsent.model.networks.fusion import PAIRS_ONLY, RAW_ONLY
from avsent.model.networks.target import TargetModel
from avsent.training import modality_check, plots, run_folder, source, splits, trainer
from avsent.training.collapse import find_collapse
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.text import TextItem
from avsent.training.evaluation import (
    Predictions,
    calibrate,
    evaluate,
    gain,
    held_out_predictions,
    pooled,
)
from avsent.training.run_folder import RunFolder
from avsent.training.settings import ATTENTION_SCALE, TrainSettings, TransferSettings, for_source
from avsent.training.start import Start


@dataclass(frozen=True, slots=True)
class Request:
    """A run: corpus, settings, seeds, output folder. ``texts``: of --text-corpus, whose name is
    ``texts_name``; ``baseline``: train each seed without transfer, too, if there is any;
    ``start``: the checkpoint to start from; the settings are those of :meth:`Start.settings`."""

    corpus: Corpus
    settings: TrainSettings
    seeds: tuple[int, ...]
    folder: RunFolder
    device: torch.device
    texts: tuple[TextItem, ...] = ()
    texts_name: str = ""
    baseline: bool = True
    fresh: bool = False
    start: Start | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """``say``: takes a line about the next step; ``warn``: one that the user should not miss;
    ``on_epoch``: seed, stage, measured figures."""

    say: Callable[[str], None] = lambda line: None
    warn: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[int, str, dict[str, float]], None] = lambda seed, stage, measured: None


def run(request: Request, hooks: Hooks | None = None) -> dict[str, Any]:
    """Train all seeds that are not finished; returns the content of ``summary.json``. Raises
    DatasetError if the corpus does not suit, UsageError if the settings do not or the folder holds
    another run, OutputError if the folder cannot be written."""
    hooks = hooks or Hooks()
    # All faults of the data are found before the folder is touched.
    task = check(request)
    settings, folder, start = request.settings, request.folder, request.start
    data = {
        seed: splits.make_seed_data(
            task,
            settings,
            seed,
            words=settings.transfer.source == "text",
            texts=request.texts,
            started=start is not None,
        )
        for seed in request.seeds
    }
    resumed = folder.begin(
        config_of(request), fresh=request.fresh, by_epochs=_by_epochs(settings, request.corpus)
    )
    if resumed is not None:
        was, now = resumed.epochs, settings.optimiser.epochs
        changed = f", with {now} epochs instead of {was}" if was != now else ""
        hooks.say(f"taking up the run in {folder.path}{changed}")
        if resumed.inexact:
            hooks.warn(
                f"{resumed.inexact} of the epochs done was that of {was} epochs, so the model "
                f"may not be that of {now} epochs from the start; --fresh trains that one"
            )
    if request.corpus.left_out:
        with atomic_text(request.folder.path / run_folder.LEFT_OUT_FILE) as file:
            file.writelines(f"{line}\n" for line in request.corpus.left_out)
    for seed in request.seeds:
        if request.folder.evaluation(seed) is None:
            # Networks on ready-made vectors are small: a second thread makes them no faster.
            small = request.corpus.vectors or (start is not None and not start.tune_epochs)
            with one_torch_thread() if small else nullcontext():
                _train(request, data[seed], seed, hooks)
    found = {seed: request.folder.evaluation(seed) for seed in request.seeds}
    summary = run_folder.summarise({seed: one for seed, one in found.items() if one is not None})
    # The summary is written last: if it exists, everything else does.
    finished = (request.folder.path / "summary.json").is_file()
    if not finished or not request.folder.checkpoint.exists():
        _publish(request, task, summary)
    return summary


def check(request: Request) -> splits.Task:
    """What is to be learnt. Raises as :func:`run` for everything that options, labels, texts, parts
    and the folder decide; features, which take hours to make, may be missing."""
    settings, start = request.settings, request.start
    check_settings(settings, texts=bool(request.texts))
    if start is not None:
        start.check(request.corpus)
    task = splits.make_task(request.corpus, settings.label, settings.labels)
    _check_data(settings, task)
    words = settings.transfer.source == "text"
    for seed in request.seeds:
        splits.check_rows(
            task, settings, seed, words=words, texts=request.texts, started=start is not None
        )
    if not request.fresh:
        request.folder.same_run(config_of(request, features=False))
    return task


def config_of(request: Request, *, features: bool = True) -> dict[str, Any]:
    """Everything that decides the result of a run, as in ``config.json``, ``features`` included."""
    corpus, texts = request.corpus, request.texts
    data: dict[str, Any] = {
        "name": corpus.name,
        "rows_sha256": corpus.rows_digest(),
        "licence": corpus.licence,
        "label_scale": corpus.scale and dataclasses.asdict(corpus.scale),
        "text_corpus": request.texts_name,
        "texts": len(texts),
        "texts_sha256": hashlib.sha256(repr(texts).encode()).hexdigest() if texts else "",
    }
    if features:
        data |= {"utterances": len(corpus.samples), "sha256": corpus.digest()}
    return {
        "init": None if request.start is None else request.start.about(),
        "settings": dataclasses.asdict(request.settings),
        "seeds": list(request.seeds),
        "baseline": request.baseline and request.settings.transfer.active,
        "data": data,
    }


def _by_epochs(settings: TrainSettings, corpus: Corpus) -> dict[str, list[str]]:
    """What follows the number of epochs, by stage."""
    transfer, found = settings.transfer, dict[str, list[str]]()
    for stage, modalities in (("source", (transfer.source,)), ("target", settings.target)):
        raw = any(name in MODALITIES and not corpus.vectors.get(name) for name in modalities)
        found[stage] = (
            ["the learning rate"] if trainer.has_cycle(settings.optimiser, raw=raw) else []
        )
    if transfer.active and transfer.schedule != "constant":
        found["target"].append(f"--schedule {transfer.schedule}")
    return found


def check_settings(settings: TrainSettings, *, texts: bool = False) -> None:
    """Raise UsageError for contradictory settings; ``texts``: of a text corpus."""
    transfer = settings.transfer
    if transfer.source in settings.target:
        raise UsageError(
            f"{transfer.source} cannot teach itself; choose another --source or --target"
        )
    if settings.fusion.name in PAIRS_ONLY and len(settings.target) != 2:
        raise UsageError(f"--fusion {settings.fusion.name} needs --target audio,face")
    if transfer.cross_fit == 1:
        raise UsageError("--cross-fit needs 2 folds or more; 0 is without")
    if texts and transfer.cross_fit:
        raise UsageError("--cross-fit is for texts of the data itself, not for --text-corpus")


def _check_data(settings: TrainSettings, task: splits.Task) -> None:
    """Raise UsageError for settings that do not suit the labels or features of the data."""
    name, vectors = settings.fusion.name, task.corpus.vectors
    if task.labels.real and name == "multiplicative":
        raise UsageError("--fusion multiplicative needs classes; choose --labels 2, 3 or 7")
    if name in RAW_ONLY and any(map(vectors.get, settings.target)):
        raise UsageError(
            f"--fusion {name} needs raw sound and faces, not ready-made vectors; choose another"
        )
    read = [m for m in MODALITIES if m in (*settings.target, settings.transfer.source)]
    if settings.attention_scale != ATTENTION_SCALE and all(map(vectors.get, read)):
        raise UsageError("--attention-scale needs raw sound or faces; leave it out for vectors")


def _train(request: Request, data: splits.SeedData, seed: int, hooks: Hooks) -> None:
    folder = request.folder.seed(seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "metrics.jsonl").open("w", buffering=1, encoding="utf-8")  # by line
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    start, many = request.start, len(request.seeds) > 1

    def say(line: str) -> None:
        hooks.say(f"seed {seed}: {line}" if many else line)

    with log, run_folder.tensorboard(folder / "tensorboard") as board:

        def on_epoch(stage: str, measured: dict[str, float]) -> None:
            log.write(json.dumps({"stage": stage, **measured}) + "\n")
            board(stage, measured)
            hooks.on_epoch(seed, stage, measured)

        context = trainer.SeedContext(request.device, folder, say, on_epoch)
        trained = _train_model(request, data, seed, context, start)
        baseline = None
        if request.baseline and request.settings.transfer.active:
            say("the same without transfer")
            apart = dataclasses.replace(
                context,
                folder=folder / run_folder.BASELINE,
                on_epoch=lambda stage, measured: on_epoch(run_folder.BASELINE, measured),
            )
            (folder / run_folder.BASELINE).mkdir(exist_ok=True)
            baseline = _train_model(request, data, seed, apart, start, teach=False)
        spaces: dict[str, source.EmbeddingSpace] = {}
        if trained.pretrained is not None and request.settings.transfer.active:
            targets = {"taught": trained.model}
            if baseline is not None:
                targets["alone"] = baseline.model
            held = data if start is None else start.encoded(data, request.device)
            theirs = trained.pretrained.model
            spaces = source.embedding_spaces(theirs, targets, held, request.device)
        _write_seed(folder, request, data, trained, baseline, spaces)


def _train_model(
    request: Request,
    data: splits.SeedData,
    seed: int,
    context: trainer.SeedContext,
    start: Start | None,
    *,
    teach: bool = True,
) -> Trained:
    """A model of ``data``; ``teach``: with transfer, if the settings ask for it.

    Where none of few utterances is held back, those on "valid" are out-of-fold predictions: by
    models that did not learn from the speaker or video. They calibrate the model, and decide
    whether its encoders are tuned.
    """
    settings, pretrained, held_out = request.settings, None, None
    if data.folds and start is not None:
        folds = []
        for number, fold in enumerate(data.folds, 1):
            apart = context.apart(f"fold{number}", f"fold {number} of {len(data.folds)}")
            folds.append(_train_model(request, fold, seed, apart, start, teach=teach))
        select = settings.optimiser.select
        held_out = pooled([one.predictions for one in folds], select)
        if start.tune_epochs:
            frozen = pooled([one.untuned for one in folds], select)
            if frozen[0] >= held_out[0]:
                held_out, start = frozen, dataclasses.replace(start, tune_epochs=0)
    if teach and settings.transfer.source is not None:
        pretrained = source.pretrain_source(data, for_source(settings), seed, context)
    trained = train_seed(data, settings, seed, context, pretrained, start=start)
    if held_out is None:
        return trained
    trained.progress.best_value, calibration, valid = held_out
    test = held_out_predictions(trained.model, data, context.device, calibration)
    predictions = {**test, "valid": valid}
    return dataclasses.replace(trained, calibration=calibration, predictions=predictions)


def _write_seed(
    folder: Path,
    request: Request,
    data: splits.SeedData,
    trained: Trained,
    baseline: Trained | None,
    spaces: dict[str, source.EmbeddingSpace],
) -> None:
    """Write all files of a seed; ``evaluation.json`` last, as it marks the seed as finished."""
    corpus, start = data.task.corpus, request.start
    save_checkpoint(
        folder / "checkpoint",
        trained.model,
        name=request.folder.path.resolve().name,
        licence="; ".join(filter(None, (corpus.licence, start.config.licence if start else ""))),
        features=corpus.features or FeatureConfig(),
        calibration=trained.calibration,
        label_scale=corpus.scale,
        trained_on=start.config.trained_on if start else (),
    )
    parts = {part: [sample.key for sample in samples] for part, samples in data.split.items()}
    learnt = {one for sample in data.split["train"] for one in sample.fingerprints()}
    learnt.update(start.learnt if start else ())
    run_folder.write_json(
        folder / "checkpoint" / run_folder.PARTS_FILE,
        {"sha256": corpus.digest(), **parts, "learnt": sorted(learnt)},
    )
    found = trained.predictions
    _write_predictions(folder / "predictions.csv", found.get("test", found["valid"]))
    train = data.train.labels[data.train.known()].numpy()

    def figures(parts: dict[str, Predictions]) -> dict[str, Any]:
        return {part: evaluate(one, train=train).to_dict() for part, one in parts.items()}

    evaluation: dict[str, Any] = {
        "seed": trained.seed,
        "best_epoch": trained.progress.best_epoch,
        "epochs": trained.progress.epoch,
        "validation_value": trained.progress.best_value,
        "parts": {part: _sizes(samples, data.task) for part, samples in data.split.items()},
        "classes": _classes(train, data.task.labels),
        "target": figures(found),
    }
    if data.folds:
        evaluation["folds"] = len(data.folds)
    if start is not None and start.tune_epochs:
        evaluation["tuned_epochs"] = trained.tuned_epochs
    if trained.collapse:
        evaluation["collapse"] = trained.collapse
    if trained.pretrained is not None:
        evaluation["source"] = figures(trained.pretrained.predictions)
    if baseline is not None:
        evaluation[run_folder.BASELINE] = figures(baseline.predictions)
        evaluation["gain"] = {part: gain(found[part], baseline.predictions[part]) for part in found}
    if spaces:
        evaluation["alignment"] = {name: space.alignment for name, space in spaces.items()}
    source.write_spaces(folder / run_folder.SPACES_FILE, spaces)
    record = plots.SeedRecord(trained.progress.history, evaluation, spaces)
    plots.draw_figures(folder / "plots", record)
    run_folder.write_json(folder / "evaluation.json", evaluation)


def _classes(labels: NDArray[Any], names: LabelSet) -> dict[str, int]:
    """How many training utterances have each class; none of numbers."""
    if names.real:
        return {}
    return {name: int((labels == index).sum()) for index, name in enumerate(names.names)}


def _sizes(samples: Sequence[Sample], task: splits.Task) -> dict[str, int]:
    return {
        "utterances": len(samples),
        "labelled": sum(task.encoded[sample.key] is not None for sample in samples),
        "videos": len({sample.video for sample in samples}),
        "speakers": len({sample.speaker for sample in samples if sample.speaker}),
    }


def _write_predictions(path: Path, predictions: Predictions) -> None:
    values = predictions.values
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
            rows.writerow([*whose, *told, *(f"{p:.4f}" for p in predictions.probabilities[index])])


def _publish(request: Request, task: splits.Task, summary: dict[str, Any]) -> None:
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
class Trained:
    """One seed's model, its calibrated ``predictions`` on "valid" and "test", as far as these have
    labels. ``tuned_epochs``: in which its encoders were trained; ``untuned``: predictions before
    that; ``collapse``: see :func:`~avsent.training.collapse.find_collapse`."""

    seed: int
    model: TargetModel
    calibration: Calibration
    progress: trainer.Progress
    predictions: dict[str, Predictions]
    pretrained: source.PretrainedSource | None
    tuned_epochs: int = 0
    untuned: dict[str, Predictions] = field(default_factory=dict)
    collapse: dict[str, Any] = field(default_factory=dict)


def can_teach(task: splits.Task, transfer: TransferSettings) -> bool:
    """Whether the corpus has utterances for the source to teach, as far as texts and labels tell;
    features may be missing."""
    adversarial = transfer.kind == "hmtl" and transfer.adversarial > 0
    if adversarial or (not transfer.scaled and transfer.kind != "pseudo"):
        return True
    texts = transfer.source == "text"
    unlabelled = (one for one in task.corpus.samples if task.encoded[one.key] is None)
    return any(not texts or one.text.strip() or one.words is not None for one in unlabelled)


def train_seed(
    data: splits.SeedData,
    settings: TrainSettings,
    seed: int,
    context: trainer.SeedContext,
    pretrained: source.PretrainedSource | None = None,
    guard_data: modality_check.GuardData | None = None,
    start: Start | None = None,
) -> Trained:
    """Train one target model.

    ``pretrained``: the source that teaches it, None for no transfer; ``guard_data``: what its guard
    is fitted on, by default the parts of ``data``; ``start``: the checkpoint that training starts
    from. Raises ValueError if the fusion head does not suit the target.
    """
    if settings.check:
        train, outliers = modality_check.without_outliers(data.train, settings.target)
        for modality, count in outliers.items():
            if count:
                of = int(data.train.present[modality].sum())
                without = f"{count} of {of} training utterances without their {modality}"
                context.say(f"{without}: damaged")
        data = dataclasses.replace(data, train=train)
    raw = data
    if start is None:
        model = trainer.make_model(data.config(settings, settings.target), data.train, seed)
    else:
        model = start.make_model(data.task.labels, check=settings.check)
        data = start.encoded(data, context.device)
    context.say(f"target model ({' + '.join(settings.target)})")
    teacher = pretrained.teacher if pretrained and settings.transfer.active else None
    if teacher is not None and settings.transfer.kind == "pseudo":
        labelled = source.with_pseudo_labels(data.train, teacher, real=model.config.real)
        data, teacher = dataclasses.replace(data, train=labelled), None
    setup = context.setup("target", data.train, data.valid, settings, seed)
    setup = dataclasses.replace(setup, teacher=teacher, pull=start.pull if start else None)
    progress = trainer.fit(model, setup)
    tuned_epochs, untuned = 0, dict[str, Predictions]()
    if start is not None and start.tune_epochs:
        context.say("its encoders")
        untuned = held_out_predictions(model, data, context.device)
        start.unfreeze(model)
        tuning = context.setup(
            "tuning", raw.train, raw.valid, start.settings(settings, tuning=True), seed
        )
        tuning = dataclasses.replace(tuning, teacher=teacher, pull=start.pull)
        tuned = trainer.fit(model, tuning)
        tuned_epochs, progress.best_value = tuned.best_epoch, tuned.best_value
        data = raw if tuned_epochs else data
    if settings.check and model.config.modalities == MODALITIES:
        guard_data = guard_data or modality_check.GuardData(
            data.train, data.valid, modality_check.with_noise(data.valid, seed)
        )
        # That of the checkpoint suits its own encoders only.
        kept = None if tuned_epochs else model.guard
        guard = modality_check.fit_guard(model, guard_data, context.device, seed)
        model.set_modality_check(guard or kept)
    calibration = Calibration()
    if data.valid.usable(model.config.modalities).any():
        calibration = calibrate(model, data.valid, context.device)
    return Trained(
        seed=seed,
        model=model,
        calibration=calibration,
        progress=progress,
        predictions=held_out_predictions(model, data, context.device, calibration),
        pretrained=pretrained,
        tuned_epochs=tuned_epochs,
        untuned=untuned,
        collapse=find_collapse(model, data, context.device, calibration),
    )
