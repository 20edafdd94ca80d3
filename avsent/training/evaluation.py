"""Evaluation of predictions on held-out utterances: figures, intervals, baseline, per class and
per speaker.

Running the model is up to the caller.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avsent.labels import NEGATIVE, NEUTRAL, POLARITY_LABELS, POSITIVE
from avsent.training import metrics
from avsent.training.metrics import (
    ClassScores,
    Interval,
    classification_metrics,
    intervals,
    regression_metrics,
)

LEVEL = 0.95
SPEAKER_METRICS = (metrics.ACCURACY, metrics.BALANCED_ACCURACY, metrics.MAE)
"""Given for each speaker, as far as they apply."""

_Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions for N labelled utterances.

    ``keys``, ``videos``, ``speakers`` [N]: the utterance, its video, its speaker ("": unknown).
    ``labels``: names of the C classes. ``truth`` [N]: class indices, or numbers if there are
    ``values``. ``probabilities`` [N, C]; ``values`` [N]: numbers predicted by a regression head.
    With both, ``labels`` are the three polarities, and the true class is the sign of the number.

    Raises:
        ValueError: lengths that differ, no utterances, neither probabilities nor values, a truth
            that is no class index or no finite number, probabilities that do not sum to 1.
    """

    keys: tuple[str, ...]
    videos: tuple[str, ...]
    speakers: tuple[str, ...]
    labels: tuple[str, ...]
    truth: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    values: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        count = len(self.keys)
        if not count:
            raise ValueError("there are no predictions to evaluate")
        shapes = {(len(self.videos),), (len(self.speakers),), self.truth.shape}
        if self.values is not None:
            shapes.add(self.values.shape)
            if not (np.isfinite(self.truth).all() and np.isfinite(self.values).all()):
                raise ValueError("a number is missing or infinite; leave such utterances out")
        if shapes != {(count,)}:
            raise ValueError(f"{count} keys, but arrays of {sorted(shapes)}")
        if self.probabilities is not None:
            self._check_probabilities(self.probabilities)
            self.class_truth()
        elif self.values is None:
            raise ValueError("predictions need probabilities, values or both")

    def _check_probabilities(self, probabilities: NDArray[np.float64]) -> None:
        if probabilities.shape != (len(self.keys), len(self.labels)) or len(self.labels) < 2:
            raise ValueError(
                f"probabilities {probabilities.shape} for {len(self.keys)} utterances and "
                f"{len(self.labels)} labels"
            )
        if not (probabilities >= 0).all() or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-3:
            raise ValueError("probabilities must be 0 or more and sum to 1 for each utterance")
        if self.values is not None and self.labels != POLARITY_LABELS:
            raise ValueError(f"beside numbers, the classes must be {', '.join(POLARITY_LABELS)}")

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
            found |= regression_metrics(self.truth[rows], self.values[rows])
        if self.probabilities is not None:
            found |= classification_metrics(self.class_truth(rows), self.probabilities[rows])
        return found

    def confusion(self) -> NDArray[np.int64] | None:
        """Counts [C, C] (rows: truth, columns: decision); None without probabilities."""
        if self.probabilities is None:
            return None
        decided = self.probabilities.argmax(axis=1)
        return metrics.confusion_counts(self.class_truth(), decided, len(self.labels))


@dataclass(frozen=True, slots=True)
class SpeakerScores:
    """Those of ``SPEAKER_METRICS`` that apply, for one speaker's utterances."""

    speaker: str
    count: int
    metrics: _Figures


class TableRow(NamedTuple):
    """A figure as text: "balanced accuracy", ".612", ".580 – .644", ".333"."""

    name: str
    value: str
    interval: str
    baseline: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures by name (``metrics.CLASSIFICATION_METRICS``, ``REGRESSION_METRICS``).

    ``metrics``: None if undefined; ``intervals``: by bootstrap over videos, None if there is none;
    ``baseline``: of always deciding for the training part's commonest class, or mean number:
    ``baseline_class`` and ``baseline_value``; empty if these are unknown. ``per_class`` and
    ``confusion`` (rows: truth, columns: decision) are empty without probabilities, ``per_speaker``
    without known speakers.
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

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, dicts, numbers and None, ready for JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def table_rows(self) -> list[TableRow]:
        """One row per figure, "–" for what is undefined."""
        return [
            TableRow(
                metrics.TITLES[name],
                _number(value),
                _ends(self.intervals.get(name)),
                _number(self.baseline.get(name)),
            )
            for name, value in self.metrics.items()
        ]


def evaluate(
    predictions: Predictions,
    *,
    majority_class: int | None = None,
    train_mean: float | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate predictions.

    ``majority_class``: index of the training part's commonest class, for the baseline of classes;
    ``train_mean``: mean of its numbers, for that of real-valued labels; ``draws`` and ``seed``: of
    the bootstrap.

    Raises:
        ValueError: ``majority_class`` is no index of a label.
    """
    if majority_class is not None and not 0 <= majority_class < len(predictions.labels):
        raise ValueError(f"the majority class {majority_class} is no index of a label")
    count = len(predictions.keys)
    point = predictions.figures(np.arange(count))
    found = intervals(
        lambda rows: list(predictions.figures(rows).values()),
        predictions.videos,
        draws=draws,
        seed=seed,
        level=LEVEL,
    )
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
        baseline=_baseline(predictions, majority_class, train_mean),
        baseline_class=None if majority_class is None else predictions.labels[majority_class],
        baseline_value=None if train_mean is None else float(train_mean),
        per_class=() if confusion is None else metrics.class_scores(confusion, predictions.labels),
        per_speaker=_per_speaker(predictions),
        confusion=() if confusion is None else tuple(map(tuple, confusion.tolist())),
    )


def _baseline(
    predictions: Predictions, majority_class: int | None, train_mean: float | None
) -> _Figures:
    found: _Figures = {}
    if predictions.values is not None and train_mean is not None:
        constant = np.full(len(predictions.keys), float(train_mean))
        found |= regression_metrics(predictions.truth, constant)
    if predictions.probabilities is not None and majority_class is not None:
        certain = np.zeros_like(predictions.probabilities)
        certain[:, majority_class] = 1
        found |= classification_metrics(predictions.class_truth(), certain)
        # A rule without probabilities has no calibration.
        found[metrics.CALIBRATION_ERROR] = None
    return found


def _per_speaker(predictions: Predictions) -> tuple[SpeakerScores, ...]:
    speakers = np.array(predictions.speakers)
    found = []
    for speaker in sorted(set(predictions.speakers)) if any(predictions.speakers) else ():
        rows = np.flatnonzero(speakers == speaker)
        figures = predictions.figures(rows)
        applying = {name: value for name, value in figures.items() if name in SPEAKER_METRICS}
        found.append(SpeakerScores(speaker, len(rows), applying))
    return tuple(found)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.3f} – {interval.high:.3f}"
