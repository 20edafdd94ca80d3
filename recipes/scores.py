"""Scores of decisions, as the card of a shipped model states them."""

from dataclasses import dataclass

import numpy as np

from avsent.training import metrics
from avsent.training.metrics import Indices


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracy, balanced accuracy (mean recall over the classes that occur), confusion counts."""

    accuracy: float
    balanced_accuracy: float
    confusion: tuple[tuple[int, ...], ...]
    """Rows: truth; columns: decision."""

    @property
    def count(self) -> int:
        """Utterances judged."""
        return sum(map(sum, self.confusion))


def scores(truth: Indices, decided: Indices, classes: int) -> Scores:
    """Scores of decisions [N] against ``truth`` [N]; ValueError for what is no class index."""
    truth, decided = (metrics.class_indices(one, classes) for one in (truth, decided))
    confusion = metrics.confusion_counts(truth, decided, classes)
    return Scores(
        accuracy=metrics.accuracy(confusion) or 0.0,
        balanced_accuracy=metrics.balanced_accuracy(confusion) or 0.0,
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def majority(train_truth: Indices, truth: Indices, classes: int) -> Scores:
    """Scores of always deciding for the commonest class of ``train_truth``."""
    always = np.full_like(truth, metrics.majority_class(train_truth, classes))
    return scores(truth, always, classes)
