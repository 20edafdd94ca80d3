"""Plain fusion: concatenation of the embeddings, ``z = [a; v]``."""

from __future__ import annotations

import torch
from torch import Tensor

from avsent.networks.fusion.base import Embedded, FusedHead, HeadSizes, no_context


class ConcatHead(FusedHead):
    """No attention between utterances or modalities; the baseline of every fusion paper."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes, len(sizes.modalities) * sizes.embedding)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See :class:`FusedHead`."""
        parts = [embedded.values[modality] for modality in self.modalities]
        return torch.cat(parts, dim=-1), no_context(embedded)
