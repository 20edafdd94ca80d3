"""Figures of merit for classification, and the names of all figures of merit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ACCURACY = "accuracy"
BALANCED_ACCURACY = "balanced_accuracy"
WEIGHTED_F1 = "weighted_f1"
MACRO_F1 = "macro_f1"
AUC = "auc"
CALIBRATION_ERROR = "ece"
CLASSIFICATION_METRICS = (
    ACCURACY,
    BALANCED_ACCURACY,
    WEIGHTED_F1,
    MACRO_F1,
    AUC,
    CALIBRATION_ERROR,
)

MAE = "mae"
CORRELATION = "correlation"
ACC_7 = "acc_7"
ACC_5 = "acc_5"
ACC_2_HAS0 = "acc_2_has0"
F1_HAS0 = "f1_has0"
ACC_2_NON0 = "acc_2_non0"
F1_NON0 = "f1_non0"
REGRESSION_METRICS = (
    MAE,
    CORRELATION,
    ACC_7,
    ACC_5,
    ACC_2_HAS0,
    F1_HAS0,
    ACC_2_NON0,
    F1_NON0,
)

LOWER_IS_BETTER = frozenset({CALIBRATION_ERROR, MAE})

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
}
"""What people read, by name."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy, balanced accuracy (mean recall over the classes that occur), confusion counts."""

    accuracy: float
    balanced_accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    """Rows: truth; columns: decision."""

    @property
    def count(self) -> int:
        return sum(map(sum, self.confusion))


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How well one class is told from the others; None where there is nothing to divide by.

    ``precision``: of what was decided for the class; ``recall``: of what belongs to it;
    ``support``: how many belong to it.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def class_indices(truth: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """``truth`` [N] as class indices.

    Raises:
        ValueError: one of them is no whole number from 0 to ``classes`` − 1. Without this, an
            index of −1 ("no label") would count as the last class.
    """
    indices = np.asarray(truth)
    wrong = ~((indices >= 0) & (indices < classes)) | (indices != np.floor(indices))
    if wrong.any():
        raise ValueError(
            f"{int(wrong.sum())} labels are no class index below {classes}, the first one is "
            f"{indices[wrong][0]}; leave utterances without a label out"
        )
    return indices.astype(np.int64)


def confusion_counts(
    truth: NDArray[np.int64], decided: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts [C, C] of each class (row) and decision (column); both inputs are checked indices."""
    counts = np.bincount(truth * classes + decided, minlength=classes * classes)
    return counts.reshape(classes, classes)


def scores(truth: NDArray[np.int64], decided: NDArray[np.int64], classes: int) -> Scores:
    """Scores of decisions [N] against ``truth`` [N], class indices below ``classes``.

    Raises:
        ValueError: an index is outside that range.
    """
    confusion = confusion_counts(
        class_indices(truth, classes), class_indices(decided, classes), classes
    )
    return Scores(
        accuracy=_accuracy(confusion) or 0.0,
        balanced_accuracy=_balanced_accuracy(confusion) or 0.0,
        confusion=as_rows(confusion),
    )


def majority(train_truth: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> Scores:
    """Scores of always deciding for the commonest class of ``train_truth``."""
    return scores(truth, np.full_like(truth, majority_class(train_truth, classes)), classes)


def majority_class(train_truth: NDArray[np.int64], classes: int) -> int:
    """The commonest class; the first one of several."""
    return int(np.bincount(class_indices(train_truth, classes), minlength=classes).argmax())


def classification_metrics(
    truth: NDArray[Any], probabilities: NDArray[np.float64]
) -> dict[str, float | None]:
    """All of ``CLASSIFICATION_METRICS`` for truth [N] and probabilities [N, C]; the decision is
    the likeliest class. None: undefined for this truth.

    Raises:
        ValueError: see ``class_indices``.
    """
    truth = class_indices(truth, probabilities.shape[1])
    confusion = confusion_counts(truth, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        ACCURACY: _accuracy(confusion),
        BALANCED_ACCURACY: _balanced_accuracy(confusion),
        WEIGHTED_F1: weighted_f1(confusion),
        MACRO_F1: macro_f1(confusion),
        AUC: auc(truth, probabilities),
        CALIBRATION_ERROR: _calibration_error(probabilities, truth, 10) if len(truth) else None,
    }


def class_scores(confusion: NDArray[np.int64], labels: tuple[str, ...]) -> tuple[ClassScores, ...]:
    """Scores of each class from the counts [C, C]."""
    right, support, decided = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)

    def ratio(part: int, whole: int) -> float | None:
        return float(part / whole) if whole else None

    return tuple(
        ClassScores(
            label=label,
            precision=ratio(right[c], decided[c]),
            recall=ratio(right[c], support[c]),
            f1=ratio(2 * right[c], support[c] + decided[c]),
            support=int(support[c]),
        )
        for c, label in enumerate(labels)
    )


def weighted_f1(confusion: NDArray[np.int64]) -> float | None:
    """Mean F1 of the classes, weighted by how often they occur in the truth."""
    support = confusion.sum(axis=1)
    total = support.sum()
    return float(_f1(confusion) @ support / total) if total else None


def macro_f1(confusion: NDArray[np.int64]) -> float | None:
    """Mean F1 over the classes that occur in truth or decisions, as scikit-learn's: a class that
    is only decided for counts with 0, one that never appears does not count."""
    occurring = (confusion.sum(axis=0) + confusion.sum(axis=1)) > 0
    return float(_f1(confusion)[occurring].mean()) if occurring.any() else None


def auc(truth: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float | None:
    """Area under the ROC curve, ties counting half (the Mann–Whitney statistic).

    Two classes: of the last one. More: mean of each class against the rest, over the classes
    that occur. None where fewer than two classes occur.
    """
    classes = probabilities.shape[1]
    support = np.bincount(truth, minlength=classes)
    if np.count_nonzero(support) < 2:
        return None
    judged = [1] if classes == 2 else np.flatnonzero(support).tolist()
    areas = []
    for c in judged:
        inside = support[c]
        above = _ranks(probabilities[:, c])[truth == c].sum() - inside * (inside + 1) / 2
        areas.append(above / (inside * (len(truth) - inside)))
    return float(np.mean(areas))


def expected_calibration_error(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy over ``bins`` equal bins of confidence.

    ``probabilities`` [N, C] (Guo et al., ICML 2017).

    Raises:
        ValueError: see ``class_indices``.
    """
    return _calibration_error(probabilities, class_indices(truth, probabilities.shape[1]), bins)


def as_rows(confusion: NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """Counts [C, C] as tuples of plain numbers."""
    return tuple(tuple(int(n) for n in row) for row in confusion)


def _calibration_error(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], bins: int
) -> float:
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(bin_of, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(1, len(truth)))


def _accuracy(confusion: NDArray[np.int64]) -> float | None:
    total = confusion.sum()
    return float(np.trace(confusion) / total) if total else None


def _balanced_accuracy(confusion: NDArray[np.int64]) -> float | None:
    support = confusion.sum(axis=1)
    occurring = support > 0
    recall = np.diag(confusion)[occurring] / support[occurring]
    return float(recall.mean()) if recall.size else None


def _f1(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """F1 of each class [C]; 0 for one that never appears."""
    appearing = confusion.sum(axis=0) + confusion.sum(axis=1)
    f1: NDArray[np.float64] = 2 * np.diag(confusion) / np.maximum(1, appearing)
    return f1


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places [N] of ``values`` from 1 up; equal ones share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(count) - (count - 1) / 2)[place]
    return ranks
