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

import torch
from torch import Tensor, nn

from avsent.networks.fusion.base import Decision, Embedded, HeadSizes, no_context


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
