"""Figures of merit for real-valued sentiment, −3 … 3, as MMSA computes them.

MMSA (Mao et al., ACL 2022 demo; ``trains/utils/metricsTop.py``) is what most published figures
on CMU-MOSI, CMU-MOSEI and CH-SIMS come from, so its habits are kept: numbers are clipped and then
rounded with ``np.round``, in which halves go to the *even* neighbour (2.5 → 2, −0.5 → 0), and F1
is weighted by how often each of the two classes occurs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from avsent.training import metrics
from avsent.training.metrics import confusion_counts, weighted_f1


def regression_metrics(
    truth: NDArray[np.float64], predicted: NDArray[np.float64]
) -> dict[str, float | None]:
    """All of ``REGRESSION_METRICS`` for numbers [N]; None where undefined.

    "has0": all utterances, ≥ 0 against < 0. "non0": those with a truth other than 0, > 0 against
    the rest.

    Raises:
        ValueError: different lengths, or a value that is not finite.
    """
    truth, predicted = np.asarray(truth, dtype=float), np.asarray(predicted, dtype=float)
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise ValueError(f"truth {truth.shape} and predictions {predicted.shape} do not match")
    if not (np.isfinite(truth).all() and np.isfinite(predicted).all()):
        raise ValueError("a number is missing or infinite; leave utterances without a label out")
    if not len(truth):
        return dict.fromkeys(metrics.REGRESSION_METRICS)
    judged = truth != 0
    has0 = _two_classes(truth >= 0, predicted >= 0)
    non0 = _two_classes(truth[judged] > 0, predicted[judged] > 0)
    return {
        metrics.MAE: float(np.abs(predicted - truth).mean()),
        metrics.CORRELATION: correlation(truth, predicted),
        metrics.ACC_7: _rounded_accuracy(truth, predicted, 3),
        metrics.ACC_5: _rounded_accuracy(truth, predicted, 2),
        metrics.ACC_2_HAS0: has0[0],
        metrics.F1_HAS0: has0[1],
        metrics.ACC_2_NON0: non0[0],
        metrics.F1_NON0: non0[1],
    }


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Pearson's correlation of two [N]; None where one of them is constant."""
    if not len(first) or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    first, second = _centred(first), _centred(second)
    return float(np.clip(first @ second / np.sqrt((first @ first) * (second @ second)), -1, 1))


def _centred(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Without their mean, and of size 1, so that squares of tiny differences do not vanish."""
    values = values - values.mean()
    centred: NDArray[np.float64] = values / np.abs(values).max()
    return centred


def _rounded_accuracy(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], limit: int
) -> float:
    truth, predicted = np.clip(truth, -limit, limit), np.clip(predicted, -limit, limit)
    return float((np.round(predicted) == np.round(truth)).mean())


def _two_classes(
    truth: NDArray[np.bool_], decided: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Accuracy and weighted F1."""
    if not len(truth):
        return None, None
    confusion = confusion_counts(truth.astype(np.int64), decided.astype(np.int64), 2)
    return float((truth == decided).mean()), weighted_f1(confusion)
