"""Evaluation of a model: its outputs on labelled videos, their figures with intervals and
baselines, the value of an epoch, calibration, and ``avsent evaluate``.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.errors import CheckpointError, DatasetError
from avsent.labels import (
    MAX_SENTIMENT,
    NEGATIVE,
    NEUTRAL,
    POLARITY_LABELS,
    POSITIVE,
    LabelScale,
    LabelSet,
)
from avsent.model.checkpoint import Calibration, CheckpointConfig, load_checkpoint
from avsent.model.decision import far_from_training, near_even, probabilities_of
from avsent.model.networks.target import TargetModel
from avsent.training import metrics
from avsent.training.data.corpus import SPLITS, Corpus, Sample
from avsent.training.data.manifest import RAVDESS_CLIP
from avsent.training.dataset import Videos, batches, encoded, make_videos
from avsent.training.metrics import ClassScores, Interval
from avsent.training.run_folder import read_parts
from avsent.training.splits import SeedData, encode_labels

LEVEL = 0.95
SPEAKER_METRICS = (metrics.ACCURACY, metrics.BALANCED_ACCURACY, metrics.MAE)
"""Given for each speaker, as far as they apply."""

TEMPERATURES = np.geomspace(0.5, 5.0, 91)
MIN_DEVIATION = 0.1  # A handful of validation utterances may be predicted too well by chance

_Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions for N labelled utterances.

    ``keys``, ``videos``, ``speakers`` [N]: the utterance, its video, its speaker ("": unknown).
    ``labels``: names of the C classes. ``truth`` [N]: class indices, or numbers if there are
    ``values``. ``probabilities`` [N, C]; ``values`` [N]: numbers predicted by a regression head,
    whose ``labels`` are the three polarities; the true class is the sign of the number. ``unsure``
    [N] bool: whether the decision is marked as unsure, None if unknown. ``unit_scale``: the labels
    were numbers from −1 to 1, so that CH-SIMS's figures apply. Raises ValueError for lengths that
    differ, no utterances, a truth that is no class index or no finite number,
    probabilities that do not sum to 1.
    """

    keys: tuple[str, ...]
    videos: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: tuple[str, ...]
    truth: NDArray[Any]
    probabilities: NDArray[np.float64]
    values: NDArray[np.float64] | None = None
    unsure: NDArray[np.bool_] | None = None
    unit_scale: bool = False

    def __post_init__(self) -> None:
        count = len(self.keys)
        if not count:
            raise ValueError("there are no predictions to evaluate")
        shapes = {(len(self.videos),), (len(self.speakers),), self.truth.shape}
        if self.unsure is not None:
            shapes.add(self.unsure.shape)
        if self.values is not None:
            shapes.add(self.values.shape)
            if not (np.isfinite(self.truth).all() and np.isfinite(self.values).all()):
                raise ValueError("a number is missing or infinite; leave such utterances out")
        if shapes != {(count,)}:
            raise ValueError(f"{count} keys, but arrays of {sorted(shapes)}")
        if self.probabilities.shape != (count, len(self.labels)) or len(self.labels) < 2:
            raise ValueError(
                f"probabilities {self.probabilities.shape} for {count} utterances and "
                f"{len(self.labels)} labels"
            )
        off = np.abs(self.probabilities.sum(axis=1) - 1).max()
        if not (self.probabilities >= 0).all() or off > 1e-3:
            raise ValueError("probabilities must be 0 or more and sum to 1 for each utterance")
        if self.values is not None and self.labels != POLARITY_LABELS:
            names = ", ".join(POLARITY_LABELS)
            raise ValueError(f"beside numbers, the classes must be {names}")
        self.class_truth()

    def class_truth(self, rows: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.int64]:
        """The true class index of ``rows``; of numbers, that of their polarity."""
        truth = self.truth[rows]
        if self.values is None:
            return metrics.class_indices(truth, len(self.labels))
        return np.select([truth < 0, truth > 0], [NEGATIVE, POSITIVE], NEUTRAL)

    def figures(self, rows: NDArray[np.int64]) -> _Figures:
        """All figures that apply, over these rows."""
        found: _Figures = {}
        if self.values is not None:
            found |= self.figures_of_numbers(self.values[rows], rows)
        truth = self.class_truth(rows)
        return found | metrics.classification_metrics(truth, self.probabilities[rows])

    def figures_of_numbers(
        self, values: NDArray[np.float64], rows: NDArray[np.int64] | slice = slice(None)
    ) -> _Figures:
        """Figures of ``values``, predicted numbers for ``rows``."""
        truth = self.truth[rows]
        found = metrics.regression_metrics(truth, values)
        if self.unit_scale:
            # Back from −3 … 3; rounded, so that a label on a cut stays there (0.7 is read as 2.1).
            unit = np.round(truth / MAX_SENTIMENT, 9)
            found |= metrics.ch_sims_metrics(unit, values / MAX_SENTIMENT)
        return found

    def confusion(self) -> NDArray[np.int64]:
        """Counts [C, C] (rows: truth, columns: decision)."""
        decided = self.probabilities.argmax(axis=1)
        return metrics.confusion_counts(self.class_truth(), decided, len(self.labels))


@dataclass(frozen=True, slots=True)
class SpeakerScores:
    """Those of ``SPEAKER_METRICS`` that apply, for one speaker's utterances."""

    speaker: str
    count: int
    metrics: _Figures


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures by name (``metrics.CLASSIFICATION_METRICS``, ``REGRESSION_METRICS``,
    ``CH_SIMS_METRICS``).

    ``metrics``: None if undefined; ``intervals``: by bootstrap over videos, None if there is none;
    ``baseline``: of always deciding for the training part's commonest class, or mean number:
    ``baseline_class`` and ``baseline_value``; empty if these are unknown. ``confusion``: rows are
    truth, columns decisions. ``per_speaker`` is empty without known speakers. ``certainty``:
    ``count`` and ``accuracy`` of "unsure" and of "sure" decisions, empty if none is unsure.
    """

    labels: tuple[str, ...]
    count: int
    videos: int
    metrics: _Figures
    intervals: dict[str, Interval | None]
    level: float
    draws: int
    seed: int
    baseline: _Figures = field(default_factory=dict)
    baseline_class: str | None = None
    baseline_value: float | None = None
    per_class: tuple[ClassScores, ...] = ()
    per_speaker: tuple[SpeakerScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    certainty: dict[str, dict[str, float | None]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, dicts, numbers and None, ready for JSON."""
        return dict(json.loads(json.dumps(dataclasses.asdict(self))))

    def table_rows(self) -> list[tuple[str, str, str, str]]:
        """Name, value, interval and baseline of each figure; "–" for what is undefined."""

        rows, text = [], metrics.figure_text
        for name, value in self.metrics.items():
            interval = self.intervals.get(name)
            ends = (None,) if interval is None else (interval.low, interval.high)
            baseline = text(self.baseline.get(name))
            rows.append((metrics.TITLES[name], text(value), text(*ends), baseline))
        return rows


def evaluate(
    predictions: Predictions, *, train: NDArray[Any] | None = None, draws: int = 1000, seed: int = 0
) -> Evaluation:
    """Evaluate predictions.

    ``train``: labels of the training part, class indices or numbers, for the baseline; ``draws``
    and ``seed``: of the bootstrap. Raises ValueError for a label that is no class index.
    """
    count = len(predictions.keys)
    baseline: _Figures = {}
    commonest, mean = None, None
    if train is not None and predictions.values is not None:
        mean = float(train.mean())
        baseline = predictions.figures_of_numbers(np.full(count, mean))
    elif train is not None:
        commonest = metrics.majority_class(train, len(predictions.labels))
        certain = np.zeros_like(predictions.probabilities)
        certain[:, commonest] = 1
        baseline = metrics.classification_metrics(predictions.class_truth(), certain)
        # A rule without probabilities has no calibration.
        baseline[metrics.CALIBRATION_ERROR] = None
    point = predictions.figures(np.arange(count))
    found = metrics.intervals(
        lambda rows: list(predictions.figures(rows).values()),
        predictions.videos,
        draws=draws,
        seed=seed,
        level=LEVEL,
    )
    per_speaker = []
    for speaker in sorted(set(predictions.speakers)) if any(predictions.speakers) else ():
        rows = np.flatnonzero(np.array(predictions.speakers) == speaker)
        figures = predictions.figures(rows)
        applying = {name: value for name, value in figures.items() if name in SPEAKER_METRICS}
        per_speaker.append(SpeakerScores(speaker, len(rows), applying))
    certainty: dict[str, _Figures] = {}
    if predictions.unsure is not None and predictions.unsure.any():
        for name, chosen in (("unsure", predictions.unsure), ("sure", ~predictions.unsure)):
            rows = np.flatnonzero(chosen)
            right = predictions.class_truth(rows) == predictions.probabilities[rows].argmax(axis=1)
            accuracy = float(right.mean()) if len(rows) else None
            certainty[name] = {"count": len(rows), metrics.ACCURACY: accuracy}
    confusion = predictions.confusion()
    return Evaluation(
        labels=predictions.labels,
        count=count,
        videos=len(set(predictions.videos)),
        metrics=point,
        intervals=dict(zip(point, found, strict=True)),
        level=LEVEL,
        draws=draws,
        seed=seed,
        baseline=baseline,
        baseline_class=None if commonest is None else predictions.labels[commonest],
        baseline_value=mean,
        per_class=metrics.class_scores(confusion, predictions.labels),
        per_speaker=tuple(per_speaker),
        confusion=tuple(map(tuple, confusion.tolist())),
        certainty=certainty,
    )


def gain(ours: Predictions, theirs: Predictions, *, draws: int = 1000) -> dict[str, Any]:
    """By how much ``ours`` are better than ``theirs``, on the same utterances: ``metric`` is
    balanced accuracy, mean absolute error of numbers; ``value``, and its interval by bootstrap over
    videos, ``low`` and ``high`` (None if there is none)."""
    if ours.keys != theirs.keys:
        raise ValueError("predictions of different utterances cannot be compared")
    metric, sign = (metrics.MAE, -1) if ours.values is not None else (metrics.BALANCED_ACCURACY, 1)

    def difference(rows: NDArray[np.int64]) -> list[float | None]:
        pair = [one.figures(rows)[metric] for one in (ours, theirs)]
        return [None if None in pair else sign * (pair[0] - pair[1])]  # type: ignore[operator]

    (interval,) = metrics.intervals(difference, ours.videos, draws=draws, level=LEVEL)
    (value,) = difference(np.arange(len(ours.keys)))
    ends = (None, None) if interval is None else (interval.low, interval.high)
    return {"metric": metric, "value": value, "low": ends[0], "high": ends[1]}


@torch.inference_mode()
def outputs_of(
    model: TargetModel, videos: Videos, device: torch.device, *, videos_at_once: int = 16
) -> NDArray[np.float64]:
    """Logits [V, U, C] (numbers: [V, U, 1]) of all ``videos``, as at prediction: not augmented,
    and checked by the guard of a model that has one. Padding holds arbitrary values."""
    return _decided(model, videos, device, videos_at_once)[0]


@torch.inference_mode()
def _decided(
    model: TargetModel, videos: Videos, device: torch.device, videos_at_once: int = 16
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Logits as :func:`outputs_of`, and which utterances [V, U] are unlike the training data."""
    was_training = model.training
    model.eval()
    result = np.zeros((*videos.labels.shape, model.config.outputs))
    far = np.zeros(videos.labels.shape, dtype=bool)
    for rows in batches(videos, videos_at_once, 4096, None):
        guarded = model.check_modalities(encoded(model, videos, rows, device))
        output = model(guarded.utterances)
        result[rows, : output.logits.shape[1]] = output.logits.double().cpu().numpy()
        far[rows, : output.logits.shape[1]] = far_from_training(guarded).cpu().numpy()
    model.train(was_training)
    return result, far


def validation(
    model: TargetModel, videos: Videos, select: str, device: torch.device
) -> tuple[float, dict[str, float]]:
    """The value that epochs are chosen by (more is better), and all measured figures by name.

    ``select``: "balanced_accuracy", "auc", "loss" or "mae"; "auto" is balanced accuracy, mean
    absolute error for numbers. Of equal values the smaller loss wins.
    """
    known = videos.usable(model.config.modalities)
    outputs, truth = outputs_of(model, videos, device)[known], videos.labels.numpy()[known]
    return selection_value(outputs, truth, select, real=model.config.real)


def selection_value(
    outputs: NDArray[np.float64], truth: NDArray[Any], select: str, *, real: bool
) -> tuple[float, dict[str, float]]:
    """See :func:`validation`. ``outputs`` [N, C] (numbers: [N, 1]) and ``truth`` [N] of labelled
    utterances."""
    if real:
        mae = float(np.abs(outputs[:, 0] - truth).mean())
        return -mae, {"valid_mae": mae}
    classes = truth.astype(np.int64)
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = float(-logs[np.arange(len(classes)), classes].mean())
    confusion = metrics.confusion_counts(classes, outputs.argmax(axis=1), outputs.shape[1])
    found = {
        "valid_loss": loss,
        "valid_accuracy": metrics.accuracy(confusion),
        "valid_balanced_accuracy": metrics.balanced_accuracy(confusion),
        "valid_auc": metrics.auc(classes, np.exp(logs)),
    }
    measured = {name: value for name, value in found.items() if value is not None}
    if select == "loss":
        return -loss, measured
    by_auc = select == "auc" and "valid_auc" in measured
    value = measured["valid_auc" if by_auc else "valid_balanced_accuracy"]
    return value - 1e-6 * loss, measured


def predictions_of(
    model: TargetModel,
    videos: Videos,
    device: torch.device,
    calibration: Calibration | None = None,
    scale: LabelScale | None = None,
) -> Predictions:
    """Predictions on every utterance with a label and one of the model's modalities; ``scale``: how
    the labels were read."""
    model.to(device)
    known = videos.usable(model.config.modalities)
    logits, far = _decided(model, videos, device)
    outputs = logits[known]
    calibration, real = calibration or Calibration(), model.config.real
    probabilities = probabilities_of(torch.from_numpy(outputs), calibration, real=real)
    chosen = [videos.samples[v][u] for v, u in np.argwhere(known)]
    return Predictions(
        keys=tuple(sample.key for sample in chosen),
        videos=tuple(sample.video for sample in chosen),
        speakers=tuple(sample.speaker for sample in chosen),
        labels=model.config.labels,
        truth=videos.labels.numpy()[known],
        probabilities=probabilities,
        values=outputs[:, 0] if real else None,
        unsure=far[known] | near_even(probabilities, calibration),
        unit_scale=scale is not None and scale.is_unit,
    )


def held_out_predictions(
    model: TargetModel, data: SeedData, device: torch.device, calibration: Calibration | None = None
) -> dict[str, Predictions]:
    """Predictions on "valid" and "test", as far as these have utterances to predict."""
    return {
        part: predictions_of(model, videos, device, calibration, data.task.corpus.scale)
        for part, videos in (("valid", data.valid), ("test", data.test))
        if videos.usable(model.config.modalities).any()
    }


def calibrate(model: TargetModel, videos: Videos, device: torch.device) -> Calibration:
    """Calibration of ``model`` on the labelled utterances of ``videos``."""
    known = videos.usable(model.config.modalities)
    outputs, truth = outputs_of(model, videos, device)[known], videos.labels.numpy()[known]
    return _calibration(outputs, truth, real=model.config.real)


def _calibration(outputs: NDArray[np.float64], truth: NDArray[Any], *, real: bool) -> Calibration:
    if real:
        error = float(np.sqrt(np.mean((outputs[:, 0] - truth) ** 2)))
        return Calibration(deviation=max(error, MIN_DEVIATION))
    return Calibration(temperature=fit_temperature(outputs, truth.astype(np.int64)))


def pooled(
    folds: Sequence[Mapping[str, Predictions]], select: str
) -> tuple[float, Calibration, Predictions]:
    """Predictions on the "test" part of all ``folds``, uncalibrated, put together and calibrated;
    before them the value by which ``select`` judges them, and their calibration."""
    parts = [fold["test"] for fold in folds if "test" in fold]
    numbers = [part.values[:, None] for part in parts if part.values is not None]
    real = bool(numbers)
    # Logarithms of probabilities serve as logits.
    outputs = np.concatenate(numbers or [np.log(part.probabilities + 1e-12) for part in parts])
    together: dict[str, Any] = {
        name: tuple(value for part in parts for value in getattr(part, name))
        for name in ("keys", "videos", "speakers")
    }
    truth = np.concatenate([part.truth for part in parts])
    value, _ = selection_value(outputs, truth, select, real=real)
    calibration = _calibration(outputs, truth, real=real)
    probabilities = probabilities_of(torch.from_numpy(outputs), calibration, real=real)
    values = outputs[:, 0] if real else None
    return (
        value,
        calibration,
        Predictions(
            **together,
            labels=parts[0].labels,
            truth=truth,
            probabilities=probabilities,
            values=values,
            unit_scale=parts[0].unit_scale,
        ),
    )


def fit_temperature(
    logits: NDArray[np.float64],
    truth: NDArray[np.int64],
    weights: NDArray[np.float64] | None = None,
) -> float:
    """The temperature with the least cross-entropy on ``logits`` [N, C]; ``weights`` [N]."""
    rows = np.arange(len(truth))
    losses = [
        -np.average(np.log(softmax(logits / t)[rows, truth] + 1e-12), weights=weights)
        for t in TEMPERATURES
    ]
    return float(TEMPERATURES[int(np.argmin(losses))])


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Softmax over the last axis."""
    weight = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=-1, keepdims=True))


@dataclass(frozen=True, slots=True)
class CheckpointEvaluation:
    """``part``: the evaluated part; ``baseline_from``: the part whose commonest class (or mean) is
    the baseline; ``left_out``: utterances without a label or without a modality of the model;
    ``learnt_from``: what of this data the checkpoint learnt from, "" if nothing is known."""

    evaluation: Evaluation
    predictions: Predictions
    part: str
    baseline_from: str
    left_out: int
    learnt_from: str = ""


def evaluate_checkpoint(
    checkpoint: str | Path,
    corpus: Corpus,
    *,
    label: str = "",
    part: str = "auto",
    draws: int = 1000,
    device: torch.device | None = None,
    path: Path | None = None,
) -> CheckpointEvaluation:
    """Predict every labelled utterance of a part of ``corpus``, in the context of its video.

    ``part``: "train", "valid", "test", "all" or "auto", which is test if the corpus has a test
    part, else all. ``draws``: of the bootstrap over videos. ``device``: by default the CPU.
    ``path``: of the corpus; its folder names may tell which corpus it is. Raises CheckpointError if
    it is damaged, or needs other features than the corpus has; DatasetError if the part is empty,
    or a label is none of the model's.
    """
    loaded = load_checkpoint(checkpoint)
    model = loaded.config.model
    encoded = check_corpus(checkpoint, loaded.config, label, part, corpus)
    parts = read_parts(checkpoint)
    # The parts are those of this corpus if the checkpoint was trained on it.
    drawn = parts if parts.get("sha256") == corpus.digest() else {}
    corpus = _with_parts(corpus, drawn)
    part = str(part)  # the command line's is an enum
    if part == "auto":
        part = "test" if any(sample.split == "test" for sample in corpus.samples) else "all"
    samples = [sample for sample in corpus.samples if part in ("all", sample.split)]
    if not samples:
        raise DatasetError(f"{corpus.name}: has no part {part!r}; choose another --split, or all")
    sizes = {name: size for name in ("audio", "face", "text") if (size := model.vectors.of(name))}
    videos = make_videos(samples, encoded, sizes, features=loaded.config.features)
    if not videos.usable(model.modalities).any():
        raise DatasetError(
            f"{corpus.name}: no utterance of the part {part!r} has a label and "
            f"{' or '.join(model.modalities)}; choose another --split or --label"
        )
    predictions = predictions_of(
        loaded.model,
        videos,
        device or torch.device("cpu"),
        loaded.config.calibration,
        corpus.scale or loaded.config.label_scale,
    )
    judged = {*predictions.keys}
    judged_samples = [sample for sample in samples if sample.key in judged]
    train = [sample for sample in corpus.samples if sample.split == "train"]
    truth = np.array([v for s in train or samples if (v := encoded[s.key]) is not None])
    return CheckpointEvaluation(
        evaluation=evaluate(predictions, train=truth, draws=draws),
        predictions=predictions,
        part=part,
        baseline_from="train" if train else part,
        left_out=len(samples) - len(predictions.keys),
        learnt_from=_learnt_from(loaded.config, corpus.name, path, judged_samples, parts, drawn),
    )


def check_corpus(
    checkpoint: str | Path,
    config: CheckpointConfig,
    label: str,
    part: str,
    corpus: Corpus,
    on_warning: Callable[[str], None] = lambda warning: None,
) -> dict[str, float | None]:
    """The encoded labels of a corpus, whose features may be missing. Raises CheckpointError if it
    has features of another kind than the model, DatasetError for its labels and parts."""
    _check_features(checkpoint, config, corpus)
    named = {sample.split for sample in corpus.samples} - {""}
    if named and part not in {"auto", "all", *named}:
        raise DatasetError(f"{corpus.name}: has no part {str(part)!r}; choose another --split")
    if corpus.scale is None and config.label_scale is not None:
        on_warning(f"labels are read as in the model's training: {config.label_scale}")
        corpus = dataclasses.replace(corpus, scale=config.label_scale)
    labels = LabelSet(config.model.labels, config.model.real)
    return encode_labels(corpus, label, labels, on_warning)


def _with_parts(corpus: Corpus, drawn: dict[str, Any]) -> Corpus:
    """``corpus`` with the parts ``drawn`` for training; unchanged if it names parts itself."""
    if not drawn or any(sample.split for sample in corpus.samples):
        return corpus
    part_of = {key: part for part in SPLITS for key in drawn.get(part, [])}
    return corpus.subset(
        dataclasses.replace(sample, split=part_of.get(sample.key, "")) for sample in corpus.samples
    )


def _learnt_from(
    config: CheckpointConfig,
    name: str,
    path: Path | None,
    samples: Sequence[Sample],
    parts: dict[str, Any],
    drawn: dict[str, Any],
) -> str:
    """Which corpus, or how many of ``samples``, the checkpoint learnt from; "" if none are known.
    ``name`` and ``path`` are the corpus's; RAVDESS is known by its clips' names, too. ``parts`` is
    the checkpoint's file, ``drawn`` the same if it is of this corpus."""

    def plain(text: str) -> str:
        return re.sub(r"[\W_]", "", text).casefold()

    folders = () if path is None else (*path.absolute().parts, path.stem)
    names = {plain(text) for text in (name, *folders)}
    if any(RAVDESS_CLIP.search(sample.key) for sample in samples):
        names.add("ravdess")
    if known := [corpus for corpus in config.trained_on if plain(corpus) in names]:
        return " and ".join(known)
    keys, learnt = {*drawn.get("train", [])}, {*parts.get("learnt", [])}
    count = sum(s.key in keys or not learnt.isdisjoint(s.fingerprints()) for s in samples)
    return f"{count} of these {len(samples)} utterances" if count else ""


def _check_features(checkpoint: str | Path, config: CheckpointConfig, corpus: Corpus) -> None:
    """Raise CheckpointError if the corpus has other features than the model's training data."""
    model = config.model
    for modality in model.modalities:
        wanted, found = model.vectors.of(modality), corpus.vectors.get(modality, 0)
        if wanted != found:
            raise CheckpointError(
                f"{checkpoint}: needs {_kind(modality, wanted)}, {corpus.name} has "
                f"{_kind(modality, found)}; use data like those it was trained on"
            )
    raw = any(not model.vectors.of(modality) for modality in model.modalities)
    if raw and corpus.features is not None and corpus.features != config.features:
        raise CheckpointError(
            f"{checkpoint}: was trained on features made in another way than those of "
            f"{corpus.name}; give the videos themselves, or extract them anew"
        )


def _kind(modality: str, size: int) -> str:
    raw = {"audio": "raw sound", "face": "raw faces", "text": "no text"}[modality]
    return f"{modality} vectors of size {size}" if size else raw
