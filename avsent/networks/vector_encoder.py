"""Utterance "encoder" for ready-made vectors: the scale of the training data, nothing learnt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LIMIT = 3.0
"""Standardised values are cut off here: without it the rare outliers of prosody drown the rest."""


class VectorEncoder(nn.Module):
    """Vectors [N, R] → standardised [N, R], cut off at ±``LIMIT``.

    NaN is a value that is not known: it becomes 0, the mean of the training data.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, vectors: Tensor) -> None:
        """Take mean and deviation from the training ``vectors`` [N, R]."""
        known = ~vectors.isnan()
        count = known.sum(dim=0).clamp_min(1)
        mean = vectors.nan_to_num().sum(dim=0) / count
        apart = torch.where(known, vectors - mean, torch.zeros_like(vectors))
        deviation = (apart.square().sum(dim=0) / count).sqrt()
        self.mean.copy_(mean)
        # Of what was never known nothing can be said.
        deviation = torch.where(known.any(dim=0), deviation.clamp_min(1e-6), torch.inf)
        self.deviation.copy_(deviation)

    def forward(self, vectors: Tensor) -> Tensor:
        standardised: Tensor = (vectors - self.mean) / self.deviation
        return standardised.clamp(-LIMIT, LIMIT).nan_to_num(0.0)
