"""The systems that the rules of ``mosi_choice`` declare, on the test part."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from experiments import mean_sd
from mosi_choice import FOLDS, Choice
from mosi_course import SCALE, Courses, Lead, truth_of
from mosi_ensemble import ensemble
from mosi_plain import FEWER_SEEDS
from numpy.typing import NDArray

from avsent.training.dataset import Videos
from avsent.training.metrics import Interval, auc, intervals

FIRST, SECOND = "first (steps 1–3)", "second (step 4)"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """The mean of several models, once per seed."""

    figures: tuple[dict[str, float], ...]
    members: float
    """Mean AUC of the single models."""
    interval: Interval | None
    """95% of the AUC of the mean over all seeds, bootstrap over test videos."""

    def of(self, metric: str) -> list[float]:
        """One figure by seed."""
        return [figures[metric] for figures in self.figures]


def run_systems(courses: Courses, choice: Choice) -> dict[str, Ensemble]:
    """The declared systems by name, and the first one without transfer where it has one."""
    head = choice.heads[choice.head]
    systems = {
        FIRST: _ensemble(courses, choice.lead, choice.epochs),
        SECOND: _ensemble(courses, head.lead, head.epochs),
    }
    bare = dataclasses.replace(choice.lead, decoder=0.0, adversarial=0.0)
    if bare != choice.lead:
        systems["first, without transfer"] = _ensemble(courses, bare, choice.epochs)
    return systems


def _ensemble(courses: Courses, lead: Lead, epochs: int) -> Ensemble:
    runs = [ensemble(courses, lead, seed, FOLDS, epochs) for seed in FEWER_SEEDS]
    test = courses.test_part()
    mean = np.mean([run["probabilities"] for run in runs], axis=0) / SCALE
    return Ensemble(
        tuple(run["test"] for run in runs),
        mean_sd([auc for run in runs for auc in run["members"]])[0],
        auc_interval(test, mean),
    )


def auc_interval(test: Videos, positive: NDArray[np.float64]) -> Interval | None:
    """95% interval of the AUC with other test videos."""
    videos = [sample.video for video in test.samples for sample in video]
    both = np.stack([1.0 - positive, positive], axis=1)
    truth = truth_of(test)
    return intervals(lambda rows: [auc(truth[rows], both[rows])], videos, draws=2000)[0]
