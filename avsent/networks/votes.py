"""Votes of experts, added to what HMTL's fusion says: few numbers, hard to learn wrongly.

An expert's log probabilities are already an answer; each stream's enter the decision with one
weight, less the log probabilities of how common the labels were where the expert learnt: four of
seven emotions are negative, and an expert that is at a loss would call everything so. A stream that
is missing says nothing. The fusion network above starts from there.
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
            if len(stream.columns) != labels or len(stream.log_prior) not in (0, labels):
                raise ValueError("a vote needs one column per label, and a prior for each or none")
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
            columns = list(stream.columns)
            scale = scales[stream.modality]
            standardised = values[stream.modality][..., columns]
            # Nothing but zeros: the stream is missing, or was never known in training.
            there = present[stream.modality] & (standardised != 0).any(dim=-1)
            deviation = scale.deviation[columns]
            deviation = torch.where(deviation.isfinite(), deviation, torch.zeros_like(deviation))
            said = standardised * deviation + scale.mean[columns]
            if stream.log_prior:
                said = said - said.new_tensor(stream.log_prior)
            logits = logits + weight * said * there[..., None].to(said.dtype)
        return logits
