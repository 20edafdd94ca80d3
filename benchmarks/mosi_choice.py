"""Which configuration is worth trying on the test part: chosen on clean validation only.

Clean are the audio features and the transcripts (TF-IDF fitted on the training part), so audio
alone, taught by nobody or by TF-IDF, can be validated on videos drawn from the training videos.
Video and text vectors were fitted to the labels of those very videos: nothing that reads them is
validated here. The rule, fixed before any test figure of these configurations was read but for the
plain one (later some candidates and seeds were cut, to save time):

1. Of ``CANDIDATES`` (audio, no transfer), take the configuration and the number of epochs with
   the largest validation AUC, mean over the seeds and over three neighbouring epochs.
2. With that configuration, of ``TRANSFERS`` take what has the largest validation AUC in the same
   sense, its number of epochs chosen anew; no transfer is one of them (first five seeds).
3. The first system that is declared: this configuration on audio and face, with this number of
   epochs, the mean of the probabilities of five models, each trained without one fifth of the
   training videos. That the models are averaged, and that the face is added, is decided beforehand.

A second rule was written down after the plain table's fusion heads had been read on the test part;
it reads no test figure itself. A network on audio and face is judged on validation with the face
withheld: audio is clean, so this shows how much it has learnt to hear beside a face that knows all
the answers.

4. Of ``HEADS``, take the one and its number of epochs by that figure, as in step 1; the second
   system is again the mean of five models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mosi_course import Courses, Lead
from mosi_plain import FEWER_SEEDS, SEEDS
from mosi_runs import DECODER, PLAIN, SIZES, STRONG
from numpy.typing import NDArray

FOLDS = 5
_HALF = dataclasses.replace(SIZES, first_gru=24, dense=24, second_gru=12, classifier=24)
_HELD = dataclasses.replace

CANDIDATES = {
    "plain (dropout .4)": Lead(held=PLAIN),
    "strong (dropout .7, weight decay 1e-3, input dropout .3)": Lead(held=STRONG),
    "strong, weight decay 1": Lead(held=_HELD(STRONG, weight_decay=1.0)),
    "strong, half the sizes": Lead(held=STRONG, sizes=_HALF),
    "strong, input dropout .5": Lead(held=_HELD(STRONG, input_dropout=0.5)),
    "strong, strength of sentiment as label": Lead(held=STRONG, real=True),
}
ADAPTED = {"strong, audio standardised within the video": Lead(held=STRONG, adapt=True)}
"""Speaker-adaptive: shown, never chosen."""

TRANSFERS = {
    "no transfer": (0.0, 0.0),
    "decoder β 5": (DECODER, 0.0),
}
"""β and γ; the source is a cross-fitted TF-IDF."""

HEADS = {
    "hmtl": Lead(target="A+V", held=PLAIN),
    "hmtl, modality dropout .5": Lead(target="A+V", held=_HELD(PLAIN, modality_dropout=0.5)),
    "multiplicative, M3ER's loss": Lead(target="A+V", held=PLAIN, fusion="multiplicative"),
}
"""A+V, plain regularisation, no transfer."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A configuration on all seeds: ``valid`` AUC and ``test`` figures [S, E], the best number of
    epochs by validation, and the validation AUC there."""

    lead: Lead
    valid: NDArray[np.float64]
    test: dict[str, NDArray[np.float64]]

    @property
    def smoothed(self) -> NDArray[np.float64]:
        """Validation AUC [E], mean over seeds and three neighbouring epochs."""
        mean = np.pad(self.valid.mean(axis=0), 1, mode="edge")
        return np.convolve(mean, np.ones(3) / 3, "valid")

    @property
    def epochs(self) -> int:
        """The number of epochs that validation asks for."""
        return int(self.smoothed.argmax()) + 1

    @property
    def value(self) -> float:
        """Validation AUC with this number of epochs."""
        return float(self.smoothed.max())

    def at(self, metric: str, epochs: int) -> list[float]:
        """A test figure by seed after ``epochs``."""
        return [float(v) for v in self.test[metric][:, epochs - 1]]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was tried, and what the rule takes."""

    candidates: dict[str, Tried]
    adapted: dict[str, Tried]
    transfers: dict[str, Tried]
    heads: dict[str, Tried]

    @property
    def candidate(self) -> str:
        """Step 1 of the rule."""
        return max(self.candidates, key=lambda name: self.candidates[name].value)

    @property
    def transfer(self) -> str:
        """Step 2 of the rule."""
        return max(self.transfers, key=lambda name: self.transfers[name].value)

    @property
    def head(self) -> str:
        """Step 4 of the rule."""
        return max(self.heads, key=lambda name: self.heads[name].value)

    @property
    def lead(self) -> Lead:
        """Step 3: the same on audio and face."""
        return dataclasses.replace(self.transfers[self.transfer].lead, target="A+V")

    @property
    def epochs(self) -> int:
        """With how many epochs."""
        return self.transfers[self.transfer].epochs


def choose(courses: Courses) -> Choice:
    """Run everything that is to be chosen from."""
    candidates = tried(courses, CANDIDATES)
    first = Choice(candidates, {}, {}, {}).candidate
    taught = {
        name: dataclasses.replace(CANDIDATES[first], decoder=decoder, adversarial=adversarial)
        for name, (decoder, adversarial) in TRANSFERS.items()
    }
    return Choice(
        candidates,
        tried(courses, ADAPTED),
        tried(courses, taught, seeds=FEWER_SEEDS),
        tried(courses, HEADS, "heard"),
    )


def tried(
    courses: Courses,
    leads: dict[str, Lead],
    evidence: str = "valid",
    seeds: Sequence[int] = SEEDS,
) -> dict[str, Tried]:
    """All ``leads`` on ``seeds``; runs of a seed follow each other, as they share a source.

    ``evidence``: "valid", or "heard" for the validation part with the face withheld.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in leads}
    for seed in seeds:
        for name, lead in leads.items():
            found[name].append(courses.of(lead, seed))
    return {
        name: Tried(
            leads[name],
            np.array([run[evidence] for run in runs]),
            {m: np.array([run["test"][m] for run in runs]) for m in runs[0]["test"]},
        )
        for name, runs in found.items()
    }
