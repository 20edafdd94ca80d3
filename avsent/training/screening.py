"""M3ER's check on the training data itself: vectors that lie outside all others are left out.

The canonical correlations that judge at prediction (``avsent.training.guarding``) need training
data, and where many of it are noise they would learn the noise. So what lies far from the middle
of its modality is found first, by medians, which damage to less than half of it cannot move. Raw
sound and faces are checked where they are made (``avsent.features.quality``).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from avsent.networks.guard import PAIR
from avsent.training.videos import Videos

FARTHEST = 3.0
"""Times the median distance."""
LIMIT = 10.0
"""Deviations at which a single dimension is cut off: one wild value is no damage."""
NORMAL = 1.4826
"""Standard deviations in a median absolute deviation of normal values."""
LEAST = 32
"""Fewer vectors have no middle."""


def screened(videos: Videos, modalities: tuple[str, ...] = PAIR) -> tuple[Videos, dict[str, int]]:
    """``videos`` without the vectors that stand out, and how many these were by modality."""
    present, found = dict(videos.present), {}
    for modality in modalities:
        if modality not in videos.vectors:
            continue
        there = present[modality]
        outside = outlying(videos.vectors[modality][there])
        left = there.clone()
        left[there] = ~outside
        present[modality] = left
        found[modality] = int(outside.sum())
    return dataclasses.replace(videos, present=present), found


def outlying(vectors: Tensor) -> Tensor:
    """Which of ``vectors`` [N, R] lie ``FARTHEST`` from the middle [N] bool; NaN is not known."""
    outside = torch.zeros(len(vectors), dtype=torch.bool)
    if len(vectors) < LEAST:
        return outside
    for _ in range(2):  # again without those: their distances no longer blur the scale
        kept = vectors[~outside]
        middle = kept.nanmedian(dim=0).values
        spread = NORMAL * (kept - middle).abs().nanmedian(dim=0).values
        apart = (vectors - middle) / spread.where(spread > 0, torch.inf)
        distance = apart.clamp(-LIMIT, LIMIT).square().nanmean(dim=1).sqrt()
        outside = distance > FARTHEST * distance[~outside].nanmedian()
    return outside
