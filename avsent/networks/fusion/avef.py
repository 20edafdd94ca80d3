"""AVEF: voice and face are put together piece by piece in time (Ma et al. 2019).

An utterance is split into S segments, audio and face features are concatenated per segment, and
the segments are averaged.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsent.networks.fusion.base import Embedded, FusedHead, HeadSizes, no_context


class AvefHead(FusedHead):
    """``z = 1/S Σ_s ReLU(W [a_s; v_s] + b)``.

    The dense layer is ours: without one the average over segments of a concatenation is the
    concatenation of the averages, and the segments would not matter. Ready-made vectors are one
    segment: then this is plain concatenation with one more layer.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        size = sizes.context.classifier
        super().__init__(sizes, size)
        self.segment = nn.Linear(len(sizes.modalities) * sizes.embedding, size)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See :class:`FusedHead`; from ``embedded.segments`` [B, U, S, D]."""
        parts = [embedded.segments[modality] for modality in self.modalities]
        together = torch.relu(self.segment(torch.cat(parts, dim=-1)))
        return together.mean(dim=2), no_context(embedded)
