"""One training step of HMTL: which loss trains which network.

==========================  ===============================================
network                     trained by
==========================  ===============================================
HM-Decoder                  decoder loss
HM-Discriminator            discriminator loss
target embedding networks   α · classification + β · decoder + γ · adversarial
target classifier           α · classification
all of the target           β · distillation, in place of decoder and adversarial, if chosen
encoders of raw modalities  as the embedding networks, and α · ``ENCODER_SHARE`` · classification
                            by each alone (ours, see :class:`EncoderHeads`)
source model                nothing: it is frozen
==========================  ===============================================

Seo, Na, Kim, IEEE Access 2020. Encoders below the embedding networks belong to them. The target
runs once per step: decoder and discriminator learn from its detached embeddings first, then the
target learns with both of them frozen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avsent.model.networks.fusion import TargetOutput, multiplicative_loss
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.transfer import Transfer
from avsent.training.settings import OptimiserSettings, TransferSettings

ENCODER_SHARE = 0.5
DISTIL_TEMPERATURE = 2.0
"""Of both class distributions in distillation: the less likely classes teach, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Teacher:
    """What a frozen source makes of the utterances of the target, as the target's training sees it:
    ``embeddings`` [B, U, D], ``outputs`` [B, U, C] (logits; numbers: [B, U, 1]), and where it has
    them: ``present`` [B, U] bool."""

    embeddings: Tensor
    outputs: Tensor
    present: Tensor

    def batch(self, rows: list[int], longest: int, device: torch.device) -> Teacher:
        """Those of the videos ``rows``, for at most ``longest`` utterances each."""
        parts = (self.embeddings, self.outputs, self.present)
        return Teacher(*(part[rows, :longest].to(device) for part in parts))


class EncoderHeads(nn.Module):
    """A linear classifier on the representation of each raw modality, used in training only.

    The gradient from the decision to a spectrogram passes two GRUs with dropout; by itself it
    trains an encoder slowly and badly (measured on RAVDESS). Ready-made vectors need no head.
    """

    def __init__(self, model: TargetModel) -> None:
        super().__init__()
        config = model.config
        self.real = config.real
        self.linear = nn.ModuleDict(
            {
                name: nn.Linear(config.representation_size(name), config.outputs)
                for name in config.modalities
                if not config.vectors.of(name)
            }
        )

    def loss(
        self, utterances: Utterances, labels: Tensor, weights: Tensor | None, smoothing: float
    ) -> Tensor:
        """Sum over the modalities of the classification loss by each alone."""
        losses = []
        for name, linear in self.linear.items():
            used = ~labels.isnan() & utterances.present[name]
            if bool(used.any()):
                logits = linear(utterances.values[name][used])
                losses.append(_label_loss(logits, labels[used], self.real, weights, smoothing))
        return torch.stack(losses).sum() if losses else labels.new_zeros(())


class Updates:
    """The optimisers of one run, and their common step.

    Without ``transfer`` the classification loss is the only one. ``class_weights`` [C]: see
    ``torch.nn.functional.cross_entropy``. ``pull``: weight of the squared distance of the model's
    weights from where they are now; None for a new model.
    """

    def __init__(
        self,
        model: TargetModel,
        transfer: Transfer | None,
        optimiser: OptimiserSettings,
        weights: TransferSettings,
        class_weights: Tensor | None = None,
        pull: float | None = None,
    ) -> None:
        self.model = model
        self.transfer = transfer
        self._settings = optimiser
        self._weights = weights
        self._class_weights = class_weights
        self.encoder_heads = EncoderHeads(model).to(next(model.parameters()).device)
        self._pull = pull or 0.0
        self._start: list[tuple[nn.Parameter, Tensor]] = []
        if pull is not None:
            self.encoder_heads.linear.clear()  # its encoders have learnt already
            moving = (p for p in model.parameters() if p.requires_grad)
            self._start = [(p, p.detach().clone()) for p in moving]
        learning = nn.ModuleList([model, self.encoder_heads])
        self.optimisers: dict[str, torch.optim.Optimizer] = {"target": self._adam(learning)}
        if transfer is not None:
            self.optimisers["decoder"] = self._adam(transfer.decoders)
            self.optimisers["discriminator"] = self._adam(transfer.discriminators)

    def _adam(self, module: nn.Module) -> torch.optim.Optimizer:
        # Vector encoders have no trained parameters: they hold the scale of the data.
        return torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=self._settings.learning_rate,
            weight_decay=self._settings.weight_decay,
        )

    def set_rate(self, rate: float) -> None:
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = rate

    def step(
        self,
        utterances: Utterances,
        labels: Tensor,
        source: Teacher | None = None,
        share: float = 1.0,
    ) -> dict[str, float]:
        """Take one step of all optimisers; returns the losses by name.

        ``labels`` [B, U]: class index or number, NaN where unknown; ``share``: factor on β and γ.
        """
        settings = self._settings
        if settings.input_dropout or settings.modality_dropout:
            utterances = drop_inputs(utterances, settings.input_dropout, settings.modality_dropout)
        output = self.model(utterances)
        classification = classification_loss(
            self.model, output, labels, self._class_weights, settings.label_smoothing
        )
        losses = {"classification": classification.item()}
        if self.encoder_heads.linear:
            alone = self.encoder_heads.loss(
                utterances, labels, self._class_weights, settings.label_smoothing
            )
            classification = classification + ENCODER_SHARE * alone
        total = self._weights.classification * classification
        for parameter, start in self._start:
            total = total + self._pull * (parameter - start).square().sum()
        if self.transfer is not None and source is not None:
            losses |= self._train_transfer(self.transfer, output, source)
            total = total + share * self._embedding_objective(self.transfer, output, source, losses)
        elif source is not None and self._weights.kind == "distil":
            distilled = distillation_loss(output, source, real=self.model.config.real)
            losses["distillation"] = distilled.item()
            total = total + share * self._weights.decoder * distilled
        self._apply("target", self.model, total)
        return losses

    def _train_transfer(
        self, transfer: Transfer, output: TargetOutput, source: Teacher
    ) -> dict[str, float]:
        """Update decoders and discriminators; the target's embeddings are detached."""
        detached = {name: value.detach() for name, value in output.embeddings.items()}
        inputs = detached, output.present, source.embeddings, source.present
        losses = {}
        if self._weights.decoder:
            loss = transfer.decoder_losses(*inputs)
            self._apply("decoder", transfer.decoders, loss)
            losses["decoder"] = loss.item()
        if self._weights.adversarial:
            loss = transfer.discriminator_losses(*inputs)
            self._apply("discriminator", transfer.discriminators, loss)
            losses["discriminator"] = loss.item()
        return losses

    def _embedding_objective(
        self,
        transfer: Transfer,
        output: TargetOutput,
        source: Teacher,
        losses: dict[str, float],
    ) -> Tensor:
        """``β·L_dec + γ·L_adv``, with gradients for the embedding networks alone."""
        objective = torch.zeros((), device=output.logits.device)
        transfer.requires_grad_(False)  # gradients only pass through it
        if self._weights.decoder:
            objective = objective + self._weights.decoder * transfer.decoder_losses(
                output.embeddings, output.present, source.embeddings, source.present
            )
        if self._weights.adversarial:
            loss = transfer.adversarial_losses(output.embeddings, output.present)
            losses["adversarial"] = loss.item()
            objective = objective + self._weights.adversarial * loss
        transfer.requires_grad_(True)
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
    """The classification loss over labelled utterances that have a modality.

    Cross-entropy of classes, smooth L1 of numbers (real-valued labels), or the multiplicative
    loss of a multiplicative head. 0 for a batch without such utterances.
    """
    anything = torch.stack(list(output.present.values())).any(dim=0)
    used = ~labels.isnan() & anything
    if not bool(used.any()):
        return output.logits.sum() * 0.0
    config = model.config
    if config.fusion.name == "multiplicative" and not config.real:
        return multiplicative_loss(
            output.votes,
            output.present,
            torch.where(used, labels.nan_to_num(), -1.0).long(),
            beta=config.fusion.beta,
            original=config.fusion.original,
            class_weights=class_weights,
            label_smoothing=label_smoothing,
        )
    return _label_loss(
        output.logits[used], labels[used], config.real, class_weights, label_smoothing
    )


def distillation_loss(output: TargetOutput, source: Teacher, *, real: bool) -> Tensor:
    """``T² · KL(source ‖ target)`` of the class distributions at temperature T (Hinton, Vinyals and
    Dean 2015), smooth L1 of numbers; mean over the utterances that both have, 0 for none."""
    anything = torch.stack(list(output.present.values())).any(dim=0)
    used = source.present & anything
    if not bool(used.any()):
        return output.logits.sum() * 0.0
    ours, theirs = output.logits[used].float(), source.outputs[used].float()
    if real:
        return functional.smooth_l1_loss(ours, theirs)
    given, wanted = ((one / DISTIL_TEMPERATURE).log_softmax(dim=-1) for one in (ours, theirs))
    divergence = functional.kl_div(given, wanted, reduction="batchmean", log_target=True)
    return DISTIL_TEMPERATURE**2 * divergence


def _label_loss(
    logits: Tensor, labels: Tensor, real: bool, weights: Tensor | None, smoothing: float
) -> Tensor:
    """Loss of ``logits`` [N, C] (numbers: [N, 1]) for ``labels`` [N]."""
    if real:
        return functional.smooth_l1_loss(logits[:, 0], labels.float())
    return functional.cross_entropy(logits, labels.long(), weights, label_smoothing=smoothing)


def drop_inputs(utterances: Utterances, inputs: float, modality: float) -> Utterances:
    """Dropout on the representations with probability ``inputs``; with two modalities, a share
    ``modality`` of the utterances that have both loses one of them."""
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
    """Weight [C] of each class, inverse to its frequency in ``labels`` (NaN: no label).

    Their mean over the labels is 1; a class that does not occur has weight 0.
    """
    counts = torch.bincount(labels[~labels.isnan()].long(), minlength=classes).float()
    occurring = counts > 0
    weights = torch.zeros(classes)
    weights[occurring] = counts.sum() / (occurring.sum() * counts[occurring])
    return weights


def one_cycle(progress: float, peak: float) -> float:
    """Learning rate at ``progress`` (0 … 1) of a run: up for the first three tenths, then down to
    nearly 0, both as half a cosine (Smith 2018); a resumed run continues the same curve."""
    if progress < 0.3:
        low, high, at = peak / 25, peak, progress / 0.3
    else:
        low, high, at = peak, peak / 1e4, (progress - 0.3) / 0.7
    return float(high + (low - high) * (1 + np.cos(np.pi * at)) / 2)
