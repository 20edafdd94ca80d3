"""Posteriors that tell their polarity, and a fusion that has learnt from them in a moment."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from small_experts import FACE, MOVING, PIXELS, SPOKEN, VOICE

from avsent.labels import POLARITY_LABELS
from avsent.networks.config import ContextConfig
from avsent.training.seed import Trained
from avsent.training.settings import OptimiserSettings
from avsent.training.shipped.fusing import Fusing, fuse
from avsent.training.shipped.pool import Pool, by_speaker, split_pool
from avsent.training.shipped.posteriors import Posteriors

SETTINGS = Fusing(
    clip_videos=150,
    still_videos=60,
    validation_videos=40,
    context=ContextConfig(first_gru=8, dense=12, second_gru=8, classifier=12, dropout=0.1),
    optimiser=OptimiserSettings(
        epochs=6, patience=6, batch_videos=16, learning_rate=1e-2, select="loss"
    ),
)


def pool_of(
    speakers: int, seed: int, *, stills: bool = False, each: int = 6, versions: int = 1
) -> Pool:
    """``each`` utterances of every polarity by every speaker and one without, whose posteriors
    tell it; the first columns of either modality hold row and version. Of some clips no prosody is
    known, of others no movement."""
    rng = np.random.default_rng(seed)
    means = {size: np.random.default_rng(9).normal(0, 1, (3, size)) for size in (VOICE, FACE)}
    own = np.repeat([-1, 0, 1, 2], [1, each, each, each])
    labels = np.tile(own, speakers)
    found = []
    for version in range(versions):
        said = []
        for size in (VOICE, FACE):
            vectors = means[size][labels.clip(0)] + rng.normal(0, 0.7, (len(labels), size))
            vectors[:, 0], vectors[:, 1] = np.arange(len(labels)) / 100, version
            said.append(vectors.astype(np.float32))
        audio, face = said
        if stills:
            audio[:], face[:, MOVING] = np.nan, np.nan
        else:
            audio[3::11, SPOKEN], face[4::11, MOVING], face[:, PIXELS] = np.nan, np.nan, np.nan
        found.append(Posteriors(audio, face))
    names = [f"actor {number}" for number in range(speakers) for _ in own]
    return Pool(POLARITY_LABELS, labels, tuple(names), tuple(found))


@cache
def trained() -> Trained:
    clips = by_speaker(pool_of(8, 0, versions=2), ("actor 6", "actor 7"))
    return fuse(clips, split_pool(pool_of(1, 1, stills=True, each=30), 0.4, 0), SETTINGS, seed=0)


def row_of(vector: NDArray[np.float32]) -> int:
    return round(float(vector[0]) * 100)
