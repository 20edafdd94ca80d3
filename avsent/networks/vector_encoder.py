"""Utterance "encoder" for ready-made vectors: the scale of the training data, nothing learnt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LIMIT = 3.0
"""Standardised values are cut off here: without it the rare outliers of prosody drown the rest."""


class VectorEncoder(nn.Module):
    """Vectors [N, R] → standardised [N, R], cut off at ±``LIMIT``."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, vectors: Tensor) -> None:
        """Take mean and deviation from the training ``vectors`` [N, R]."""
        self.mean.copy_(vectors.mean(dim=0))
        self.deviation.copy_(vectors.std(dim=0, unbiased=False).clamp_min(1e-6))

    def forward(self, vectors: Tensor) -> Tensor:
        standardised: Tensor = (vectors - self.mean) / self.deviation
        return standardised.clamp(-LIMIT, LIMIT)
