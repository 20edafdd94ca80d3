"""Votes of experts, added to what HMTL's fusion says: few numbers, hard to learn wrongly.

An expert's log probabilities are already an answer. Each stream's, measured from their mean on the
training data (which takes their prior away), enter the decision with one weight; a stream that is
missing says nothing. The fusion network above starts from there.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsent.networks.config import VoteConfig
from avsent.networks.vector_encoder import VectorEncoder


class Votes(nn.Module):
    """Weighted votes of the streams; ``weight`` [S] starts at 1, ``bias`` [C] at 0."""

    def __init__(self, streams: tuple[VoteConfig, ...], labels: int) -> None:
        super().__init__()
        for stream in streams:
            if len(stream.columns) != labels:
                raise ValueError("a vote needs one column per label")
        self.streams = streams
        self.weight = nn.Parameter(torch.ones(len(streams)))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(
        self,
        values: dict[str, Tensor],
        present: dict[str, Tensor],
        scales: dict[str, VectorEncoder],
    ) -> Tensor:
        """By modality ``values`` [B, U, R], standardised by ``scales``, and ``present`` [B, U] →
        logits [B, U, C]."""
        logits = self.bias.expand(*next(iter(values.values())).shape[:2], -1)
        for weight, stream in zip(self.weight, self.streams, strict=True):
            deviation = scales[stream.modality].deviation
            # What was never known in training has no scale, and no say.
            deviation = torch.where(deviation.isfinite(), deviation, torch.zeros_like(deviation))
            said = (values[stream.modality] * deviation)[..., list(stream.columns)]
            there = present[stream.modality][..., None].to(said.dtype)
            logits = logits + weight * said * there
        return logits
