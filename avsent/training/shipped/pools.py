"""Posteriors of clips and stills as pools to make videos of, for either set of labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.data.ravdess import RavdessClip
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.networks.config import ExpertsConfig
from avsent.training.metrics import Scores
from avsent.training.shipped.corpora import Stills, emotion_of, of_actors, polarity_of
from avsent.training.shipped.fusing import Pool
from avsent.training.shipped.posteriors import Experts, Posteriors, of_clips, of_stills

COPIES = 2
"""Versions of each training clip as another microphone and camera would have taken it."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Posteriors of N items in several versions, with all that is known of them."""

    versions: tuple[Posteriors, ...]
    emotion: NDArray[np.int64]
    polarity: NDArray[np.int64]
    speakers: tuple[str, ...]

    def pool(self, names: tuple[str, ...]) -> Pool:
        """With the labels of ``names``: the three polarities, or the eight emotions."""
        labels = self.polarity if names == POLARITY_LABELS else self.emotion
        assert names in (POLARITY_LABELS, EMOTIONS)
        return Pool(names, labels, self.speakers, self.versions)


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Posteriors on people that the experts have not met: to learn the fusion from, and to measure
    it. ``pictures``: the pixel network alone on all of FER2013's private test part, seven classes.
    """

    clips: Known
    stills: Known
    test_clips: Known
    test_stills: Known
    pictures: Scores


def know_strangers(
    config: ExpertsConfig,
    experts: Sequence[Experts],
    groups: Sequence[Sequence[int]],
    clips: Sequence[RavdessClip],
    seed: int,
    copies: int = COPIES,
) -> Known:
    """Each group of actors, judged by the experts that never met it."""
    parts = []
    for number, (expert, group) in enumerate(zip(experts, groups, strict=True)):
        theirs = of_actors(clips, group)
        parts.append(know_clips(config, expert, theirs, seed + number, copies))
    versions = tuple(
        Posteriors(
            np.concatenate([part.versions[k].audio for part in parts]),
            np.concatenate([part.versions[k].face for part in parts]),
        )
        for k in range(copies + 1)
    )
    return Known(
        versions,
        np.concatenate([part.emotion for part in parts]),
        np.concatenate([part.polarity for part in parts]),
        tuple(speaker for part in parts for speaker in part.speakers),
    )


def know_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    seed: int = 0,
    copies: int = 0,
) -> Known:
    """What ``experts`` say of ``clips``: unchanged, then ``copies`` changed ones."""
    rng = np.random.default_rng([seed, 77])
    versions = [of_clips(config, experts, clips)]
    versions += [of_clips(config, experts, clips, rng) for _ in range(copies)]
    speakers = tuple(f"actor {clip.actor}" for clip in clips)
    return Known(tuple(versions), emotion_of(clips), polarity_of(clips), speakers)


def know_stills(config: ExpertsConfig, experts: Experts, stills: Stills) -> Known:
    """What ``experts`` say of ``stills``; everyone in them is a stranger."""
    speakers = ("still",) * len(stills.pictures)
    said = of_stills(config, experts, stills)
    return Known((said,), stills.emotion, stills.polarity, speakers)
