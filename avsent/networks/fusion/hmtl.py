"""HMTL's fusion: concatenation of raw, self-attended and bi-attended embeddings.

One modality X: ``[X; SA(X)]``. Two, X and Y: ``[X; Y; SA(X); SA(Y); BA(X, Y)]`` (Seo, Na, Kim,
IEEE Access 2020), with the attention of Ghosal et al., EMNLP 2018.
"""

from __future__ import annotations

import torch
from torch import Tensor

from avsent.networks.attention import cross_attention
from avsent.networks.fusion.base import Embedded, FusedHead, HeadSizes


class HmtlHead(FusedHead):
    """Attention over the utterances of a video, inside a modality and between two."""

    def __init__(self, sizes: HeadSizes) -> None:
        parts = 2 if len(sizes.modalities) == 1 else 6
        super().__init__(sizes, parts * sizes.embedding)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See :class:`FusedHead`."""
        raw = [embedded.values[modality] for modality in self.modalities]
        present = [embedded.present[modality] for modality in self.modalities]
        own = [cross_attention(x, x, there) for x, there in zip(raw, present, strict=True)]
        if len(raw) == 1:
            ((attended, weight),) = own
            row = weight * present[0][..., None].to(weight.dtype)
            return torch.cat([raw[0], attended], dim=-1), {self.modalities[0]: row}
        first = cross_attention(raw[0], raw[1], present[1])
        second = cross_attention(raw[1], raw[0], present[0])
        fused = torch.cat([*raw, own[0][0], own[1][0], first[0], second[0]], dim=-1)
        return fused, {
            self.modalities[0]: _contribution(own[0][1], second[1], present[0], present[1]),
            self.modalities[1]: _contribution(own[1][1], first[1], present[1], present[0]),
        }


def _contribution(own: Tensor, others: Tensor, has_own: Tensor, has_other: Tensor) -> Tensor:
    """Mean of the attention that an utterance pays to one modality, [B, U, U]; zero rows where
    the utterance lacks that modality."""
    both = has_other[..., None]
    mixed = torch.where(both, (own + others) / 2, own)
    return mixed * has_own[..., None].to(mixed.dtype)
