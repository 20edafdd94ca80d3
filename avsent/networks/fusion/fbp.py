"""Factorized bilinear pooling: ``z = SumPool(Ũᵀa ∘ Ṽᵀv, k)`` (Zhang, Wang, Du, IJCNN 2019).

``Ũ`` and ``Ṽ`` are bias-free and give k·o numbers each; their product is summed over windows of
k without overlap. k, o and what is done after pooling are not known; signed square root and L2
are the usual choice and an option here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from avsent.networks.fusion.base import Embedded, FusedHead, HeadSizes, no_context

SMALL = 1e-8
"""Keeps the gradients of square root and norm finite at 0."""


class FbpHead(FusedHead):
    """Low-rank bilinear products of two modalities.

    Where one is missing its factor is 1, the neutral element of the product, so that the other
    passes (ours; the paper has no missing modality). Where both are, z is 0.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        factors, outputs = sizes.fusion.factors, sizes.fusion.outputs
        if min(factors, outputs) < 1:
            raise ValueError("fbp needs one factor and one output or more")
        super().__init__(sizes, outputs)
        self.factors = factors
        self.normalise = sizes.fusion.normalise
        self.projections = nn.ModuleDict(
            {
                modality: nn.Linear(sizes.embedding, factors * outputs, bias=False)
                for modality in sizes.modalities
            }
        )

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See :class:`FusedHead`."""
        first, second = (
            self.projections[modality](embedded.values[modality]).masked_fill(
                ~embedded.present[modality][..., None], 1.0
            )
            for modality in self.modalities
        )
        anything = torch.stack([embedded.present[m] for m in self.modalities]).any(dim=0)
        product = (first * second).masked_fill(~anything[..., None], 0.0)
        pooled = product.unflatten(-1, (-1, self.factors)).sum(dim=-1)
        return normalised(pooled) if self.normalise else pooled, no_context(embedded)


def normalised(pooled: Tensor) -> Tensor:
    """``sign(z) √|z|``, then length 1, over the last axis; 0 stays 0.

    ``z / √(|z| + ε)`` is the signed square root with a finite slope at 0.
    """
    root = pooled / torch.sqrt(pooled.abs() + SMALL)
    return root / torch.sqrt(root.square().sum(dim=-1, keepdim=True) + SMALL)
