"""Figures of merit for classification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def scores(truth: NDArray[np.int64], decided: NDArray[np.int64], classes: int) -> Scores:
    """Scores of decisions [N] against ``truth`` [N], class indices below ``classes``."""
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (truth, decided), 1)
    per_class = confusion.sum(axis=1)
    occurring = per_class > 0
    recall = np.diag(confusion)[occurring] / per_class[occurring]
    return Scores(
        accuracy=float(np.trace(confusion) / max(1, confusion.sum())),
        balanced_accuracy=float(recall.mean()) if recall.size else 0.0,
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def majority(train_truth: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> Scores:
    """Scores of always deciding for the commonest class of ``train_truth``."""
    commonest = int(np.bincount(train_truth, minlength=classes).argmax())
    return scores(truth, np.full_like(truth, commonest), classes)


def expected_calibration_error(
    probabilities: NDArray[np.float64], truth: NDArray[np.int64], bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy over ``bins`` equal bins of confidence.

    ``probabilities`` [N, C] (Guo et al., ICML 2017).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(float(right[bin_of == b].mean() - confidence[bin_of == b].mean()))
        * float(np.mean(bin_of == b))
        for b in range(bins)
        if np.any(bin_of == b)
    ]
    return float(sum(gaps))
