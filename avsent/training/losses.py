"""One training step of HMTL: who is moved by which loss.

==========================  ===============================================
what                        is trained by
==========================  ===============================================
HM-Decoder                  decoder loss
HM-Discriminator            discriminator loss
target embedding networks   α · classification + β · decoder + γ · adversarial
target classifier           α · classification
encoders of raw modalities  as the embedding networks, and α · ``ENCODER_SHARE`` · classification
                            by each alone (ours, see :class:`EncoderHeads`)
source model                nothing: it is frozen
==========================  ===============================================

Seo, Na, Kim, IEEE Access 2020. Encoders below the embedding networks belong to them. The target
runs once per step: decoder and discriminator learn from its detached embeddings first, then the
target learns against both, held still.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avsent.model.networks.fusion import multiplicative_loss
from avsent.model.networks.target import TargetModel, TargetOutput, Utterances
from avsent.model.networks.transfer import Transfer
from avsent.training.settings import OptimiserSettings, TransferSettings

ENCODER_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Taught:
    """The source's embeddings [B, U, D] of a batch, and where there are any [B, U] bool."""

    embeddings: Tensor
    there: Tensor


class EncoderHeads(nn.Module):
    """A linear classifier on the representation of each raw modality, only while training.

    The way back from the decision to a spectrogram leads through two GRUs with dropout: alone it
    teaches an encoder slowly and badly (measured on RAVDESS). Ready-made vectors need none.
    """

    def __init__(self, model: TargetModel) -> None:
        super().__init__()
        config = model.config
        outputs = 1 if config.real else len(config.labels)
        self.linear = nn.ModuleDict(
            {
                name: nn.Linear(config.representation_size(name), outputs)
                for name in config.modalities
                if not config.vectors.of(name)
            }
        )

    def loss(
        self,
        model: TargetModel,
        utterances: Utterances,
        labels: Tensor,
        class_weights: Tensor | None,
        label_smoothing: float,
    ) -> Tensor:
        """Sum over the modalities of the classification loss by each alone."""
        losses = []
        for name, linear in self.linear.items():
            used = ~labels.isnan() & utterances.present[name]
            decided = linear(utterances.values[name][used])
            wanted = labels[used]
            if not len(wanted):
                continue
            if model.config.real:
                losses.append(functional.smooth_l1_loss(decided[:, 0], wanted.float()))
            else:
                losses.append(
                    functional.cross_entropy(
                        decided,
                        wanted.long(),
                        weight=class_weights,
                        label_smoothing=label_smoothing,
                    )
                )
        return torch.stack(losses).sum() if losses else labels.new_zeros(())


class Updates:
    """The optimisers of one run and the step they take together.

    Without ``transfer`` only classification is learnt. ``class_weights`` [C]: see
    ``torch.nn.functional.cross_entropy``.
    """

    def __init__(
        self,
        model: TargetModel,
        transfer: Transfer | None,
        optimiser: OptimiserSettings,
        weights: TransferSettings,
        class_weights: Tensor | None = None,
    ) -> None:
        self.model = model
        self.transfer = transfer
        self._settings = optimiser
        self._weights = weights
        self._class_weights = class_weights
        self.encoder_heads = EncoderHeads(model).to(next(model.parameters()).device)
        learning = nn.ModuleList([model, self.encoder_heads])
        self.optimisers: dict[str, torch.optim.Optimizer] = {"target": self._adam(learning)}
        if transfer is not None:
            self.optimisers["decoder"] = self._adam(transfer.decoders)
            self.optimisers["discriminator"] = self._adam(transfer.discriminators)

    def _adam(self, module: nn.Module) -> torch.optim.Optimizer:
        # Vector encoders have nothing to learn: they hold the scale of the data.
        return torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=self._settings.learning_rate,
            weight_decay=self._settings.weight_decay,
        )

    def set_rate(self, rate: float) -> None:
        """Learning rate of every optimiser from the next step on."""
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    def step(
        self,
        utterances: Utterances,
        labels: Tensor,
        taught: Taught | None = None,
        share: float = 1.0,
    ) -> dict[str, float]:
        """Move everything once; returns the losses by name.

        ``labels`` [B, U]: class index or number, NaN where unknown; ``share``: of β and γ.
        """
        settings = self._settings
        if settings.input_dropout or settings.modality_dropout:
            utterances = thinned(utterances, settings.input_dropout, settings.modality_dropout)
        output = self.model(utterances)
        classification = classification_loss(
            self.model, output, labels, self._class_weights, settings.label_smoothing
        )
        losses = {"classification": classification.item()}
        if self.encoder_heads.linear:
            alone = self.encoder_heads.loss(
                self.model, utterances, labels, self._class_weights, settings.label_smoothing
            )
            classification = classification + ENCODER_SHARE * alone
        total = self._weights.classification * classification
        if self.transfer is not None and taught is not None:
            losses |= self._teach_transfer(output, taught)
            total = total + share * self._embedding_objective(output, taught, losses)
        self._apply("target", self.model, total)
        return losses

    def _teach_transfer(self, output: TargetOutput, taught: Taught) -> dict[str, float]:
        """Decoder and discriminator learn; the target does not, its embeddings are detached."""
        assert self.transfer is not None
        given = {name: value.detach() for name, value in output.embeddings.items()}
        losses = {}
        if self._weights.decoder:
            loss = self.transfer.decoder_losses(
                given, output.present, taught.embeddings, taught.there
            )
            self._apply("decoder", self.transfer.decoders, loss)
            losses["decoder"] = loss.item()
        if self._weights.adversarial:
            loss = self.transfer.discriminator_losses(
                given, output.present, taught.embeddings, taught.there
            )
            self._apply("discriminator", self.transfer.discriminators, loss)
            losses["discriminator"] = loss.item()
        return losses

    def _embedding_objective(
        self, output: TargetOutput, taught: Taught, losses: dict[str, float]
    ) -> Tensor:
        """``β·L_dec + γ·L_adv``, with gradients for the embedding networks alone."""
        assert self.transfer is not None
        objective = torch.zeros((), device=output.logits.device)
        with _still(self.transfer):
            if self._weights.decoder:
                objective = objective + self._weights.decoder * self.transfer.decoder_losses(
                    output.embeddings, output.present, taught.embeddings, taught.there
                )
            if self._weights.adversarial:
                loss = self.transfer.adversarial_losses(output.embeddings, output.present)
                losses["adversarial"] = loss.item()
                objective = objective + self._weights.adversarial * loss
        return objective

    def _apply(self, name: str, module: nn.Module, loss: Tensor) -> None:
        optimiser = self.optimisers[name]
        optimiser.zero_grad(set_to_none=True)
        if not loss.requires_grad:
            return
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), self._settings.clip)
        optimiser.step()


def classification_loss(
    model: TargetModel,
    output: TargetOutput,
    labels: Tensor,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """The classification objective over labelled utterances that have a modality.

    Cross-entropy of classes, smooth L1 of numbers (real-valued labels), or the multiplicative
    loss where the head is multiplicative. 0 where a batch has no such utterance.
    """
    anything = torch.stack(list(output.present.values())).any(dim=0)
    used = ~labels.isnan() & anything
    if not bool(used.any()):
        return output.logits.sum() * 0.0
    config = model.config
    if config.real:
        return functional.smooth_l1_loss(output.logits[..., 0][used], labels[used].float())
    if config.fusion.name == "multiplicative":
        return multiplicative_loss(
            output.votes,
            output.present,
            torch.where(used, labels.nan_to_num(), -1.0).long(),
            beta=config.fusion.beta,
            original=config.fusion.original,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
        )
    return functional.cross_entropy(
        output.logits[used],
        labels[used].long(),
        weight=class_weights,
        label_smoothing=label_smoothing,
    )


def thinned(utterances: Utterances, inputs: float, modality: float) -> Utterances:
    """A share ``inputs`` of each representation's values set to 0, the others scaled up; and with
    two modalities, a share ``modality`` of utterances without one of them."""
    values = {
        name: functional.dropout(value, inputs) if inputs else value
        for name, value in utterances.values.items()
    }
    present = dict(utterances.present)
    if modality and len(present) == 2:
        first, second = present
        drawn = torch.rand(present[first].shape, device=present[first].device)
        both = present[first] & present[second]
        present[first] = present[first] & ~(both & (drawn < modality / 2))
        present[second] = present[second] & ~(both & (drawn > 1 - modality / 2))
    return Utterances(values, present, utterances.lengths)


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Weight [C] of each class, the inverse of how common it is in ``labels`` (NaN: none).

    Their mean over the labels is 1; a class that does not occur weighs 0.
    """
    counts = torch.bincount(labels[~labels.isnan()].long(), minlength=classes).float()
    occurring = counts > 0
    weights = torch.zeros(classes)
    weights[occurring] = counts.sum() / (occurring.sum() * counts[occurring])
    return weights


@contextmanager
def _still(transfer: Transfer) -> Iterator[None]:
    """Gradients pass through ``transfer``, none stay in it."""
    transfer.requires_grad_(False)
    try:
        yield
    finally:
        transfer.requires_grad_(True)


def one_cycle(progress: float, peak: float) -> float:
    """Learning rate at ``progress`` (0 … 1) of a run: up over the first third, then down to
    nearly 0, each half a cosine (Smith 2018). A function of progress alone, so that a resumed
    run goes on where it was."""
    if progress < 0.3:
        low, high, at = peak / 25, peak, progress / 0.3
    else:
        low, high, at = peak, peak / 1e4, (progress - 0.3) / 0.7
    return float(high + (low - high) * (1 + np.cos(np.pi * at)) / 2)
