"""Multiplicative fusion: each modality votes, and sure modalities outweigh unsure ones.

Class-wise losses of the modalities i present in an utterance, M of them, p_i^y the probability
that i gives class y:

* Liu et al. 2018 (``original``): ``c_y = −Σ_i [Π_{j≠i}(1 − p_j^y)]^{β/(M−1)} log p_i^y``
* M3ER (Mittal et al., AAAI 2020): ``c_y = −Σ_i (p_i^y)^{β/(M−1)} log p_i^y``

The weight in front of the logarithm is a constant to the gradient. With one modality it is 1:
its own cross-entropy.

Liu decides for the class of the smallest loss. With M3ER's form that cannot be done: where p_i^y
is small its weight is smaller still, and c_y falls to 0 for the least likely class. Its weights
are therefore taken at the class that the modality itself votes for (ours; M3ER does not say).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from avsent.model.networks.attention import cross_attention
from avsent.model.networks.config import ContextConfig, FusionConfig


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


class ConcatHead(FusedHead):
    """No attention between utterances or modalities; the baseline of every fusion paper."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes, len(sizes.modalities) * sizes.embedding)

    def fuse(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """See :class:`FusedHead`."""
        parts = [embedded.values[modality] for modality in self.modalities]
        return torch.cat(parts, dim=-1), no_context(embedded)


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


class MultiplicativeHead(nn.Module):
    """A classifier per modality, dense ReLU → dense with dropout between.

    ``logits`` are :func:`decision_logits`. Train with :func:`multiplicative_loss` on the
    ``votes``.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        if sizes.outputs < 2:
            raise ValueError("multiplicative fusion needs classes, not a number")
        if sizes.fusion.beta < 0:
            raise ValueError("multiplicative fusion needs a beta of 0 or more")
        self.beta = sizes.fusion.beta
        self.original = sizes.fusion.original
        self.classifiers = nn.ModuleDict(
            {
                modality: nn.Sequential(
                    nn.Linear(sizes.embedding, sizes.context.classifier),
                    nn.ReLU(),
                    nn.Dropout(sizes.context.dropout),
                    nn.Linear(sizes.context.classifier, sizes.outputs),
                )
                for modality in sizes.modalities
            }
        )

    def forward(self, embedded: Embedded) -> Decision:
        """Votes are zero where their modality is missing; logits where all are."""
        votes = {
            modality: classify(embedded.values[modality]).masked_fill(
                ~embedded.present[modality][..., None], 0.0
            )
            for modality, classify in self.classifiers.items()
        }
        logits = decision_logits(votes, embedded.present, self.beta, self.original)
        return Decision(logits, no_context(embedded), votes)


def class_losses(
    votes: dict[str, Tensor], present: dict[str, Tensor], beta: float, original: bool
) -> Tensor:
    """``c`` [B, U, C] of the ``votes`` [B, U, C] of the modalities ``present`` [B, U]; 0 where
    there is none. See the module for the forms."""
    logs, there = _stacked(votes, present)
    return -(_weights(logs.detach(), there, beta, original) * logs).sum(dim=0)


def decision_logits(
    votes: dict[str, Tensor], present: dict[str, Tensor], beta: float, original: bool
) -> Tensor:
    """What to decide by, [B, U, C]: Liu's −c, or ``Σ_i (max_y p_i^y)^{β/(M−1)} log p_i^y``.

    With one modality its softmax is the modality's own; 0 where there is none. A class that every
    modality prefers is the one decided for.
    """
    if original:
        return -class_losses(votes, present, beta, original)
    logs, there = _stacked(votes, present)
    peak = logs.detach().amax(dim=-1, keepdim=True)
    return (_weights(peak, there, beta, original) * logs).sum(dim=0)


def _stacked(votes: dict[str, Tensor], present: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Log-probabilities [M, B, U, C] and where they count [M, B, U, 1]."""
    logs = torch.stack([vote.log_softmax(dim=-1) for vote in votes.values()])
    return logs, torch.stack([present[modality] for modality in votes])[..., None]


def _weights(logs: Tensor, there: Tensor, beta: float, original: bool) -> Tensor:
    """Weight of each of the log-probabilities ``logs`` [M, B, U, C]; 0 where it is missing."""
    # Alone an utterance's modality has weight 1 in both forms: there is nobody to yield to.
    others = there.sum(dim=0).to(logs.dtype) - 1
    exponent = torch.where(others > 0, beta / others.clamp_min(1), torch.zeros_like(others))
    if original:
        unsure = (-torch.expm1(logs)).masked_fill(~there, 1.0)
        # Products of the others one by one: dividing the whole by (1 − p_i) fails at p_i = 1.
        rest = [
            torch.cat([unsure[:index], unsure[index + 1 :]]).prod(dim=0)
            for index in range(len(unsure))
        ]
        base = torch.stack(rest)
    else:
        base = torch.exp(logs)
    return torch.pow(base, exponent) * there


def multiplicative_loss(
    votes: dict[str, Tensor],
    present: dict[str, Tensor],
    truth: Tensor,
    *,
    beta: float,
    original: bool,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean ``c_y`` of the true classes ``truth`` [B, U] (−1: none) over the labelled utterances
    that have a modality; 0, with gradients of 0, where there is no such utterance.

    Only the true class enters, as in Liu's objective. ``class_weights`` [C] and
    ``label_smoothing`` act as in ``torch.nn.functional.cross_entropy``, which this equals with
    one modality (both are ours).
    """
    losses = class_losses(votes, present, beta, original)
    anything = torch.stack([present[modality] for modality in votes]).any(dim=0)
    used = (truth >= 0) & anything
    if not bool(used.any()):
        return losses.sum() * 0.0
    chosen, classes = losses[used], truth[used]
    if class_weights is None:
        class_weights = chosen.new_ones(chosen.shape[-1])
    weight = class_weights[classes]
    true = (weight * chosen.gather(1, classes[:, None]).squeeze(1)).sum()
    every = (class_weights * chosen).sum() / chosen.shape[-1]
    return ((1 - label_smoothing) * true + label_smoothing * every) / weight.sum()


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


HEADS: dict[str, Callable[[HeadSizes], nn.Module]] = {
    "hmtl": HmtlHead,
    "concat": ConcatHead,
    "tfn": TfnHead,
    "fbp": FbpHead,
    "multiplicative": MultiplicativeHead,
    "avef": AvefHead,
}
PAIRS_ONLY = ("tfn", "fbp", "multiplicative")
"""Heads that are defined for two modalities."""


def make_head(sizes: HeadSizes) -> nn.Module:
    """The head that ``sizes.fusion.name`` names.

    Raises:
        ValueError: it is unknown, or does not suit the modalities.
    """
    name = sizes.fusion.name
    if name not in HEADS:
        raise ValueError(f"no fusion {name!r}; there are {', '.join(HEADS)}")
    if name in PAIRS_ONLY and len(sizes.modalities) != 2:
        raise ValueError(f"fusion {name} needs two modalities")
    return HEADS[name](sizes)
