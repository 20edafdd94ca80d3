"""What a model is worth on utterances it has never met: figures, intervals, who and what it misses.

Works on predictions alone; running the model is the caller's work.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
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
OF_SPEAKERS = (metrics.ACCURACY, metrics.BALANCED_ACCURACY, metrics.MAE)
"""What is given for each speaker, as far as it applies."""


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """What a model said about N labelled utterances.

    ``keys``, ``videos``, ``speakers`` [N]: which utterance, in which video, said by whom ("" where
    unknown). ``labels``: names of the C classes. ``truth`` [N]: class indices, or numbers where
    there are ``values``. ``probabilities`` [N, C]; ``values`` [N]: the numbers predicted by a
    regression head. With both, ``labels`` are the three polarities, and the truth of the
    probabilities is the sign of the number.

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

    def class_truth(self) -> NDArray[np.int64]:
        """The class index of each truth [N]; of numbers, that of their polarity."""
        if self.values is None:
            return metrics.class_indices(self.truth, len(self.labels))
        return np.select([self.truth < 0, self.truth > 0], [NEGATIVE, POSITIVE], NEUTRAL)


@dataclass(frozen=True, slots=True)
class SpeakerScores:
    """Those of ``OF_SPEAKERS`` that apply, for one speaker's utterances."""

    speaker: str
    count: int
    metrics: dict[str, float | None]


class TableRow(NamedTuple):
    """A figure as people read it: "balanced accuracy", ".612", ".580 – .644", ".333"."""

    name: str
    value: str
    interval: str
    baseline: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures by name (``metrics.CLASSIFICATION_METRICS``, ``REGRESSION_METRICS``).

    ``metrics``: None where undefined. ``intervals``: by bootstrap over videos; None where there is
    none. ``baseline``: of always deciding for the training part's commonest class, or number:
    ``baseline_class`` and ``baseline_value``; empty if they are not known. ``per_class`` and
    ``confusion`` (rows: truth, columns: decision) are empty without probabilities, ``per_speaker``
    where no speakers are known.
    """

    labels: tuple[str, ...]
    count: int
    videos: int
    metrics: dict[str, float | None]
    intervals: dict[str, Interval | None]
    level: float
    draws: int
    seed: int
    baseline: dict[str, float | None] = field(default_factory=dict)
    baseline_class: str | None = None
    baseline_value: float | None = None
    per_class: tuple[ClassScores, ...] = ()
    per_speaker: tuple[SpeakerScores, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain lists, dicts, numbers and None, ready for JSON."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain

    def table_rows(self) -> list[TableRow]:
        """One row per figure, "–" for what there is not."""
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
    """Judge predictions.

    Parameters
    ----------
    majority_class
        Index of the training part's commonest class, for the baseline of classes.
    train_mean
        Mean of the training part's numbers, for the baseline of real-valued labels.
    draws, seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        ``majority_class`` is no index of a label.
    """
    if majority_class is not None and not 0 <= majority_class < len(predictions.labels):
        raise ValueError(f"the majority class {majority_class} is no index of a label")
    figures = _figures_of(predictions)
    everything = np.arange(len(predictions.keys))
    point = figures(everything)

    found = intervals(
        lambda rows: list(figures(rows).values()),
        predictions.videos,
        draws=draws,
        seed=seed,
        level=LEVEL,
    )
    confusion = _confusion(predictions)
    return Evaluation(
        labels=predictions.labels,
        count=len(everything),
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
        per_speaker=_per_speaker(predictions, figures),
        confusion=() if confusion is None else tuple(map(tuple, confusion.tolist())),
    )


_Figures = Callable[[NDArray[np.int64]], dict[str, float | None]]


def _figures_of(predictions: Predictions) -> _Figures:
    """A function that gives all figures that apply for a choice of rows."""
    values, probabilities = predictions.values, predictions.probabilities
    truth = predictions.truth
    classes = None if probabilities is None else predictions.class_truth()

    def figures(rows: NDArray[np.int64]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        if values is not None:
            found |= regression_metrics(truth[rows], values[rows])
        if probabilities is not None and classes is not None:
            found |= classification_metrics(classes[rows], probabilities[rows])
        return found

    return figures


def _confusion(predictions: Predictions) -> NDArray[np.int64] | None:
    if predictions.probabilities is None:
        return None
    decided = predictions.probabilities.argmax(axis=1)
    return metrics.confusion_counts(predictions.class_truth(), decided, len(predictions.labels))


def _baseline(
    predictions: Predictions, majority_class: int | None, train_mean: float | None
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
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


def _per_speaker(predictions: Predictions, figures: _Figures) -> tuple[SpeakerScores, ...]:
    if not any(predictions.speakers):
        return ()
    speakers = np.array(predictions.speakers)
    found = []
    for speaker in sorted(set(predictions.speakers)):
        rows = np.flatnonzero(speakers == speaker)
        of_speaker = {name: value for name, value in figures(rows).items() if name in OF_SPEAKERS}
        found.append(SpeakerScores(speaker, len(rows), of_speaker))
    return tuple(found)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _ends(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.low:.3f} – {interval.high:.3f}"
