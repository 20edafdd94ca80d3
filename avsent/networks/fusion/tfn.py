"""Tensor fusion: ``z = [a; 1] ⊗ [v; 1]`` (Zadeh et al., EMNLP 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from avsent.networks.fusion.base import Embedded, FusedHead, HeadSizes, no_context


class TfnHead(FusedHead):
    """Every product of a component of one modality with one of the other, and each alone.

    A missing modality enters as zeros: the products vanish, its 1 passes the other one on.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes, (sizes.embedding + 1) ** 2)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See :class:`FusedHead`."""
        first, second = (_with_one(embedded.values[modality]) for modality in self.modalities)
        products = torch.einsum("bui,buj->buij", first, second)
        return products.flatten(start_dim=2), no_context(embedded)


def _with_one(values: Tensor) -> Tensor:
    return torch.cat([values, values.new_ones(*values.shape[:-1], 1)], dim=-1)
