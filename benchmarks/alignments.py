"""Other forms of HMTL's adversarial half, for ``bench_transfer.py``: which one makes the spaces of
source and target alike, and what does it cost?"""

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from avsent.model.networks.transfer import (
    ByModality,
    Transfer,
    adversarial_loss,
    discriminator_loss,
)
from avsent.training import trainer
from avsent.training.losses import Teacher, Updates

NOISE = 0.3  # standard deviation of instance noise; embeddings lie within −1 and 1
WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels, times the median squared distance
WEIGHTS = {
    "discriminator": 0.1,
    "reversed gradient": 0.1,
    "instance noise": 0.3,
    "spectral normalisation": 0.3,
    "critic": 0.1,
    "on the reconstruction": 0.1,
    "means": 1.0,
    "maximum mean discrepancy": 10.0,
    "means by class": 0.2,
}
"""Forms, and the γ at which each was best of those that were tried."""


class Form(Transfer):
    """A discriminator that differs from HMTL's in what ``name`` says."""

    def __init__(self, name: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.name, self.teacher = name, None
        if name in ("spectral normalisation", "critic"):
            for modality in self.modalities:
                layers = self.discriminators[modality].layers
                self.discriminators[modality].layers = nn.Sequential(
                    spectral_norm(layers[0]), nn.LeakyReLU(0.2), spectral_norm(layers[-1])
                )

    def _seen(self, modality: str, target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
        if self.name == "on the reconstruction":
            target = self.decoders[modality](target)
        if self.name == "instance noise":
            target, source = (one + NOISE * torch.randn_like(one) for one in (target, source))
        return target, source

    def discriminator_losses(
        self, embeddings: ByModality, present: ByModality, source: Tensor, has_source: Tensor
    ) -> Tensor:
        losses = []
        for modality, judge in self.discriminators.items():
            with torch.no_grad():
                target, own = self._seen(modality, embeddings[modality], source)
            ours, theirs = judge(target), judge(own)
            loss = discriminator_loss(theirs, ours, has_source, present[modality])
            if self.name == "critic":
                loss = (1 - theirs)[has_source].relu().mean() + (1 + ours).relu()[
                    present[modality]
                ].mean()
            losses.append(loss)
        return torch.stack(losses).mean()

    def adversarial_losses(self, embeddings: ByModality, present: ByModality) -> Tensor:
        losses = []
        for modality, judge in self.discriminators.items():
            there = present[modality]
            if self.name in DISTANCES:
                losses.append(DISTANCES[self.name](self.teacher, embeddings[modality], there))
                continue
            target, _ = self._seen(modality, embeddings[modality], self.teacher.embeddings)
            logits = judge(target)
            loss = adversarial_loss(logits, there)
            if self.name == "reversed gradient":
                loss = -functional.softplus(logits)[there].mean()
            losses.append(-logits[there].mean() if self.name == "critic" else loss)
        return torch.stack(losses).mean()


def _means(teacher: Teacher, target: Tensor, there: Tensor) -> Tensor:
    between = teacher.embeddings[teacher.present].mean(dim=0) - target[there].mean(dim=0)
    return between.square().sum()


def _means_by_class(teacher: Teacher, target: Tensor, there: Tensor) -> Tensor:
    """The classes are the source's decisions, which also the utterances without a label have."""
    classes, pairs = teacher.outputs.argmax(dim=-1), there & teacher.present
    found = classes[pairs].unique()
    parts = (pairs & (classes == one) for one in found)
    sums = [(teacher.embeddings[p].mean(0) - target[p].mean(0)).square().sum() for p in parts]
    return torch.stack(sums).sum() / teacher.outputs.shape[-1]


def _discrepancy(teacher: Teacher, target: Tensor, there: Tensor) -> Tensor:
    ours, theirs = target[there], teacher.embeddings[teacher.present]
    both, count = torch.cat([theirs, ours]), len(theirs)
    squares = torch.cdist(both, both).square()
    width = squares.detach().median().clamp_min(1e-9)
    kernel = torch.stack([torch.exp(-squares / (width * one)) for one in WIDTHS]).mean(dim=0)
    kernel = kernel - torch.diag(kernel.diag())
    within = kernel[:count, :count].sum() / (count * (count - 1))
    own = kernel[count:, count:].sum() / (len(ours) * (len(ours) - 1))
    return within + own - 2 * kernel[:count, count:].mean()


DISTANCES = {
    "means": _means,
    "maximum mean discrepancy": _discrepancy,
    "means by class": _means_by_class,
}
"""Forms without a discriminator."""


@contextlib.contextmanager
def form(name: str) -> Iterator[None]:
    """Training inside uses the form ``name``."""

    class Seeing(Updates):
        def _train_transfer(self, transfer: Any, output: Any, source: Teacher) -> dict[str, float]:
            transfer.teacher = source
            return super()._train_transfer(transfer, output, source)

    def made(*arguments: Any) -> Form:
        return Form(name, *arguments)

    changes = {"Transfer": made, "Updates": Seeing}
    with mock.patch.multiple(trainer, **changes):
        yield
