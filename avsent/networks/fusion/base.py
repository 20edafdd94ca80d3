"""What every fusion head takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from avsent.networks.config import ContextConfig, FusionConfig


@dataclass(frozen=True, slots=True)
class Embedded:
    """Embedding networks' output for B videos of up to U utterances.

    ``values`` [B, U, D] by modality, zero where it is missing; ``present`` [B, U] bool by
    modality, False on padding. ``segments`` [B, U, S, D]: the same for S pieces of each utterance
    (AVEF only).
    """

    values: dict[str, Tensor]
    present: dict[str, Tensor]
    segments: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """``logits`` [B, U, C] (a real-valued head: [B, U, 1]).

    ``context`` [B, U, U] by modality: row i says how much each utterance contributed to i through
    that modality; rows sum to 1, or to 0 where i lacks the modality. ``votes`` [B, U, C]: logits
    of each modality alone, where the head has them.
    """

    logits: Tensor
    context: dict[str, Tensor]
    votes: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeadSizes:
    """What a head is built from: its modalities, size D of an embedding, number of outputs C."""

    modalities: tuple[str, ...]
    embedding: int
    outputs: int
    context: ContextConfig
    fusion: FusionConfig


class FusedHead(nn.Module):
    """A head that makes one vector of all modalities and classifies it.

    HMTL: dense ReLU → dense, dropout between. Subclasses give the vector and its ``size``.
    """

    def __init__(self, sizes: HeadSizes, size: int) -> None:
        super().__init__()
        self.modalities = sizes.modalities
        self.classifier = nn.Sequential(
            nn.Linear(size, sizes.context.classifier),
            nn.ReLU(),
            nn.Dropout(sizes.context.dropout),
            nn.Linear(sizes.context.classifier, sizes.outputs),
        )

    def start_silent(self) -> None:
        """Begin with logits of 0: where experts vote, the fusion learns what they miss."""
        last = self.classifier[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """Fused vector [B, U, size] and the context attention of each modality."""
        raise NotImplementedError

    def forward(self, embedded: Embedded) -> Decision:
        fused, context = self.fuse(embedded)
        return Decision(self.classifier(fused), context)


def no_context(embedded: Embedded) -> dict[str, Tensor]:
    """Context attention of heads without attention over utterances: each looks at itself."""
    context = {}
    for modality, present in embedded.present.items():
        own = torch.eye(present.shape[1], device=present.device, dtype=torch.float32)
        context[modality] = own * present[..., None]
    return context
