"""Figures of merit and their confidence intervals.

The figures of classification come from one confusion matrix, those of real-valued sentiment
follow MMSA; tests hold them against scikit-learn. They are written in numpy because the bootstrap
computes all of them a thousand times: scikit-learn's functions would take 20 times as long.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Indices: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]

CLASSIFICATION_METRICS = ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "auc", "ece")
ACCURACY, BALANCED_ACCURACY, WEIGHTED_F1, MACRO_F1, AUC, CALIBRATION_ERROR = CLASSIFICATION_METRICS

REGRESSION_METRICS = (
    *("mae", "correlation", "acc_7", "acc_5"),
    *("acc_2_has0", "f1_has0", "acc_2_non0", "f1_non0"),
)
MAE, CORRELATION, ACC_7, ACC_5, ACC_2_HAS0, F1_HAS0, ACC_2_NON0, F1_NON0 = REGRESSION_METRICS

CH_SIMS_METRICS = (
    *("sims_acc_2", "sims_acc_3", "sims_acc_5", "sims_f1", "sims_mae", "sims_correlation"),
)
SIMS_ACC_2, SIMS_ACC_3, SIMS_ACC_5, SIMS_F1, SIMS_MAE, SIMS_CORRELATION = CH_SIMS_METRICS

TITLES = {
    ACCURACY: "accuracy",
    BALANCED_ACCURACY: "balanced accuracy",
    WEIGHTED_F1: "weighted F1",
    MACRO_F1: "macro F1",
    AUC: "AUC",
    CALIBRATION_ERROR: "calibration error",
    MAE: "mean absolute error",
    CORRELATION: "correlation",
    ACC_7: "acc-7",
    ACC_5: "acc-5",
    ACC_2_HAS0: "acc-2, negative or not",
    F1_HAS0: "F1, negative or not",
    ACC_2_NON0: "acc-2, without zeros",
    F1_NON0: "F1, without zeros",
    SIMS_ACC_2: "CH-SIMS acc-2",
    SIMS_ACC_3: "CH-SIMS acc-3",
    SIMS_ACC_5: "CH-SIMS acc-5",
    SIMS_F1: "CH-SIMS F1",
    SIMS_MAE: "CH-SIMS mean absolute error",
    SIMS_CORRELATION: "CH-SIMS correlation",
}
"""Names for people."""


def figure_text(*values: float | None) -> str:
    """Figures to three places, such as "0.612" or "0.580 – 0.644"; "–" if one is undefined."""
    return "–" if None in values else " – ".join(f"{value:.3f}" for value in values)


LEAST_DEFINED = 0.9
"""A figure that is undefined in more than a tenth of the bootstrap draws gets no interval."""


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Scores of one class against the others; None where the denominator is 0.

    ``support``: how many utterances belong to the class.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end, both inside."""

    low: float
    high: float


def class_indices(truth: NDArray[Any], classes: int) -> Indices:
    """``truth`` [N] as class indices. Raises ValueError for one that is no whole number from 0 to
    ``classes`` − 1: an index of −1 ("no label") would count as the last class."""
    indices = np.asarray(truth)
    wrong = ~((indices >= 0) & (indices < classes)) | (indices != np.floor(indices))
    if wrong.any():
        raise ValueError(
            f"{int(wrong.sum())} labels are no class index below {classes}, the first one is "
            f"{indices[wrong][0]}; leave utterances without a label out"
        )
    return indices.astype(np.int64)


def confusion_counts(truth: Indices, decided: Indices, classes: int) -> Indices:
    """Counts [C, C] of each class (row) and decision (column); both inputs are checked indices."""
    counts = np.bincount(truth * classes + decided, minlength=classes * classes)
    return counts.reshape(classes, classes)


def majority_class(train_truth: NDArray[Any], classes: int) -> int:
    """The commonest class; the first one of several."""
    return int(np.bincount(class_indices(train_truth, classes), minlength=classes).argmax())


def classification_metrics(truth: NDArray[Any], probabilities: Floats) -> dict[str, float | None]:
    """All of ``CLASSIFICATION_METRICS`` for truth [N] and probabilities [N, C]; the decision is
    the likeliest class. None: undefined for this truth. ValueError as ``class_indices``."""
    truth = class_indices(truth, probabilities.shape[1])
    confusion = confusion_counts(truth, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        ACCURACY: accuracy(confusion),
        BALANCED_ACCURACY: balanced_accuracy(confusion),
        WEIGHTED_F1: weighted_f1(confusion),
        MACRO_F1: macro_f1(confusion),
        AUC: auc(truth, probabilities),
        CALIBRATION_ERROR: expected_calibration_error(probabilities, truth) if len(truth) else None,
    }


def class_scores(confusion: Indices, labels: tuple[str, ...]) -> tuple[ClassScores, ...]:
    """Scores of each class from the counts [C, C]."""

    def ratio(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    right, support, decided = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    return tuple(
        ClassScores(label, ratio(tp, said), ratio(tp, true), ratio(2 * tp, true + said), true)
        for label, tp, true, said in zip(
            labels, right.tolist(), support.tolist(), decided.tolist(), strict=True
        )
    )


def weighted_f1(confusion: Indices) -> float | None:
    """Mean F1 of the classes, weighted by how often they occur in the truth."""
    support = confusion.sum(axis=1)
    return float(_f1(confusion) @ support / support.sum()) if support.any() else None


def macro_f1(confusion: Indices) -> float | None:
    """Mean F1 over the classes that occur in truth or decisions, as scikit-learn's: a class that
    is only decided for counts with 0, one that never appears does not count."""
    occurring = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(_f1(confusion)[occurring].mean()) if occurring.any() else None


def auc(truth: Indices, probabilities: Floats) -> float | None:
    """Area under the ROC curve, ties counting half (the Mann–Whitney statistic).

    Two classes: of the last one. More: mean of each class against the rest, over the classes
    that occur. None where fewer than two classes occur.
    """
    classes = probabilities.shape[1]
    support = np.bincount(truth, minlength=classes)
    if np.count_nonzero(support) < 2:
        return None
    areas = []
    for c in [1] if classes == 2 else np.flatnonzero(support).tolist():
        # Equal values share the mean of their ranks, which count from 1.
        _, place, count = np.unique(probabilities[:, c], return_inverse=True, return_counts=True)
        ranks = (np.cumsum(count) - (count - 1) / 2)[place]
        above = ranks[truth == c].sum() - support[c] * (support[c] + 1) / 2
        areas.append(above / (support[c] * (len(truth) - support[c])))
    return float(np.mean(areas))


def expected_calibration_error(probabilities: Floats, truth: Indices, bins: int = 10) -> float:
    """Mean gap between confidence and accuracy over ``bins`` equal bins of confidence.

    ``probabilities`` [N, C] (Guo et al., ICML 2017). ValueError as ``class_indices``.
    """
    right = probabilities.argmax(axis=1) == class_indices(truth, probabilities.shape[1])
    confidence = probabilities.max(axis=1)
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(1, len(truth)))


def accuracy(confusion: Indices) -> float | None:
    """Share of the utterances that are decided right."""
    return float(np.trace(confusion) / confusion.sum()) if confusion.any() else None


def balanced_accuracy(confusion: Indices) -> float | None:
    """Mean recall over the classes that occur."""
    support = confusion.sum(axis=1)
    recall = np.diag(confusion)[support > 0] / support[support > 0]
    return float(recall.mean()) if recall.size else None


def _f1(confusion: Indices) -> Floats:
    """F1 of each class [C]; 0 for one that never appears."""
    appearing = confusion.sum(axis=0) + confusion.sum(axis=1)
    return np.asarray(2 * np.diag(confusion) / np.maximum(1, appearing))


def regression_metrics(truth: Floats, predicted: Floats) -> dict[str, float | None]:
    """All of ``REGRESSION_METRICS`` for numbers [N], −3 … 3; None where undefined.

    As MMSA (Mao et al., ACL 2022 demo; ``utils/metricsTop.py``), the source of most published
    figures on CMU-MOSI and CMU-MOSEI: numbers are clipped, then rounded with halves to the *even*
    neighbour (2.5 → 2, −0.5 → 0). "has0": all utterances, ≥ 0 against < 0. "non0": those with a
    truth other than 0, > 0 against the rest. F1 is the weighted one. Raises ValueError for
    different lengths, or a value that is not finite.
    """
    truth, predicted = _finite_pair(truth, predicted)
    if not len(truth):
        return dict.fromkeys(REGRESSION_METRICS)
    judged = truth != 0
    has0 = confusion_counts((truth >= 0) * 1, (predicted >= 0) * 1, 2)
    non0 = confusion_counts((truth[judged] > 0) * 1, (predicted[judged] > 0) * 1, 2)

    def same(limit: int) -> float:
        rounded = np.round(np.clip([truth, predicted], -limit, limit))
        return float((rounded[0] == rounded[1]).mean())

    return {
        MAE: float(np.abs(predicted - truth).mean()),
        CORRELATION: correlation(truth, predicted),
        ACC_7: same(3),
        ACC_5: same(2),
        ACC_2_HAS0: accuracy(has0),
        F1_HAS0: weighted_f1(has0),
        ACC_2_NON0: accuracy(non0),
        F1_NON0: weighted_f1(non0),
    }


def ch_sims_metrics(truth: Floats, predicted: Floats) -> dict[str, float | None]:
    """All of ``CH_SIMS_METRICS`` for numbers [N] whose labels are −1 … 1; None where undefined.

    As MMSA for CH-SIMS: everything is clipped to −1 … 1 first. acc-2: at most 0 against above.
    acc-3 cuts at ±0.1, acc-5 also at ±0.7; a number on a cut belongs to the class below. F1 is the
    weighted one of the two classes. Raises ValueError as :func:`regression_metrics`.
    """
    truth, predicted = np.clip(_finite_pair(truth, predicted), -1, 1)
    if not len(truth):
        return dict.fromkeys(CH_SIMS_METRICS)

    def counts(*cuts: float) -> Indices:
        of_truth, decided = (np.searchsorted(cuts, numbers) for numbers in (truth, predicted))
        return confusion_counts(of_truth, decided, len(cuts) + 1)

    two = counts(0.0)
    return {
        SIMS_ACC_2: accuracy(two),
        SIMS_ACC_3: accuracy(counts(-0.1, 0.1)),
        SIMS_ACC_5: accuracy(counts(-0.7, -0.1, 0.1, 0.7)),
        SIMS_F1: weighted_f1(two),
        SIMS_MAE: float(np.abs(predicted - truth).mean()),
        SIMS_CORRELATION: correlation(truth, predicted),
    }


def _finite_pair(truth: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    truth, predicted = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and predictions {predicted.shape} do not match")
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        raise ValueError("a number is missing or infinite; leave utterances without a label out")
    return truth, predicted


def correlation(first: Floats, second: Floats) -> float | None:
    """Pearson's correlation of two [N]; None where one of them is constant."""
    if not len(first) or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    first, second = first - first.mean(), second - second.mean()
    # Scaled to at most 1, so that squares of tiny differences do not vanish.
    first, second = first / np.abs(first).max(), second / np.abs(second).max()
    return float(np.clip(first @ second / np.sqrt((first @ first) * (second @ second)), -1, 1))


def intervals(
    statistics: Callable[[Indices], Sequence[float | None] | Floats],
    groups: Sequence[str] | NDArray[Any],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval | None]:
    """Intervals of several figures from the same draws: percentile bootstrap over whole videos.

    Utterances of one video resemble each other; drawing them one by one would pretend to more
    evidence than there is (Davison & Hinkley, Bootstrap Methods and Their Application, §3.8).
    With few videos the intervals are somewhat too narrow, as those of every percentile bootstrap.

    ``statistics`` gives all figures for a choice of rows (indices [K], repeated where a video was
    drawn twice), None or NaN where undefined. ``groups`` [N]: the video of each row. ``level``:
    share of the draws inside an interval.

    A figure has no interval (None) where there is a single video, or where it is undefined for the
    rows as they are or for more than ``1 - LEAST_DEFINED`` of the draws. Raises ValueError for no
    rows, no draws, or a level that is not between 0 and 1.
    """
    if draws < 1 or not 0 < level < 1 or not len(groups):
        raise ValueError("a bootstrap needs rows, draws and a level between 0 and 1")
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    point = np.asarray(statistics(np.arange(len(group_of))), dtype=float)
    order, sizes = np.argsort(group_of, kind="stable"), np.bincount(group_of)
    if len(sizes) == 1:
        return [None] * len(point)
    members = np.split(order, np.cumsum(sizes)[:-1])
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(draws, len(sizes)))
    rows = (np.concatenate([members[group] for group in chosen]) for chosen in drawn)
    values = np.array([statistics(indices) for indices in rows], dtype=float)
    found: list[Interval | None] = []
    for at, column in zip(point, values.T, strict=True):
        defined = column[np.isfinite(column)]
        if np.isfinite(at) and len(defined) / draws >= LEAST_DEFINED:
            low, high = np.quantile(defined, ((1 - level) / 2, (1 + level) / 2))
            found.append(Interval(float(low), float(high)))
        else:
            found.append(None)
    return found
