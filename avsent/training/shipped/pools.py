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
from avsent.training.shipped.noise import noisy_clip, noisy_stills
from avsent.training.shipped.pool import Pool
from avsent.training.shipped.posteriors import Experts, Posteriors, of_clips, of_stills

COPIES = 2
"""Versions of each training clip as another microphone and camera would have taken it."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Posteriors of N items in several versions, with all that is known of them; ``spoilt``: of
    the same items full of noise."""

    versions: tuple[Posteriors, ...]
    emotion: NDArray[np.int64]
    polarity: NDArray[np.int64]
    speakers: tuple[str, ...]
    spoilt: Posteriors | None = None

    def pool(self, names: tuple[str, ...]) -> Pool:
        """With the labels of ``names``: the three polarities, or the eight emotions."""
        labels = self.polarity if names == POLARITY_LABELS else self.emotion
        assert names in (POLARITY_LABELS, EMOTIONS)
        return Pool(names, labels, self.speakers, self.versions, self.spoilt)


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
    return Known(
        tuple(_joined([part.versions[k] for part in parts]) for k in range(copies + 1)),
        np.concatenate([part.emotion for part in parts]),
        np.concatenate([part.polarity for part in parts]),
        tuple(speaker for part in parts for speaker in part.speakers),
        _joined([part.spoilt for part in parts if part.spoilt is not None]),
    )


def know_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    seed: int = 0,
    copies: int = 0,
) -> Known:
    """What ``experts`` say of ``clips``: unchanged, then ``copies`` changed ones; and of noise."""
    rng = np.random.default_rng([seed, 77])
    versions = [of_clips(config, experts, clips)]
    versions += [of_clips(config, experts, clips, rng) for _ in range(copies)]
    speakers = tuple(f"actor {clip.actor}" for clip in clips)
    rng = np.random.default_rng([seed, 79])
    spoilt = of_clips(config, experts, [noisy_clip(clip, rng) for clip in clips])
    return Known(tuple(versions), emotion_of(clips), polarity_of(clips), speakers, spoilt)


def know_stills(config: ExpertsConfig, experts: Experts, stills: Stills) -> Known:
    """What ``experts`` say of ``stills``; everyone in them is a stranger."""
    speakers = ("still",) * len(stills.pictures)
    said = of_stills(config, experts, stills)
    spoilt = of_stills(config, experts, noisy_stills(stills, np.random.default_rng(80)))
    return Known((said,), stills.emotion, stills.polarity, speakers, spoilt)


def _joined(parts: Sequence[Posteriors]) -> Posteriors:
    return Posteriors(
        np.concatenate([part.audio for part in parts]),
        np.concatenate([part.face for part in parts]),
    )
