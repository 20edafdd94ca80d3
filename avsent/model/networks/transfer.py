"""HM-Decoder and HM-Discriminator: transfer from a source model to the target's embeddings.

Seo, Na, Kim, IEEE Access 2020, with r_t an embedding of the target and r_s the source's:
``L_dec = mean ‖Dec(r_t) − r_s‖²``, ``L_disc = −mean log D(r_s) − mean log(1 − D(r_t))``,
``L_adv = −mean log D(r_t)``. Used in training only.
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from avsent.model.networks.config import TransferConfig

ByModality = dict[str, Tensor]


class HMDecoder(nn.Module):
    """Target embedding [..., ``size``] → source embedding [..., ``out``]; dense ReLU → dense tanh.

    The source's embeddings are GRU outputs, within −1 and 1, and tanh reaches all of them.
    """

    def __init__(self, size: int, hidden: int, out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, out), nn.Tanh()
        )

    def forward(self, embedding: Tensor) -> Tensor:
        reconstructed: Tensor = self.layers(embedding)
        return reconstructed


class HMDiscriminator(nn.Module):
    """Embedding [..., ``size``] → logit [...] of being the source's; dense ReLU → dense.

    The sigmoid is part of the losses, for numerical stability.
    """

    def __init__(self, size: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1)
        )

    def forward(self, embedding: Tensor) -> Tensor:
        logit: Tensor = self.layers(embedding).squeeze(-1)
        return logit


def decoder_loss(reconstructed: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of [B, U, D] over the utterances in ``mask`` [B, U]; 0 if none."""
    # Masked before the square, so that a missing source has no gradient.
    error = (reconstructed - source).masked_fill(~mask[..., None], 0.0)
    return _mean(error.square().mean(dim=-1), mask)


def discriminator_loss(
    on_source: Tensor, on_target: Tensor, source_mask: Tensor, target_mask: Tensor
) -> Tensor:
    """``−mean log D(r_s) − mean log(1 − D(r_t))`` of logits [B, U], each over its own mask."""
    missed = _mean(nn.functional.softplus(-on_source), source_mask)
    return missed + _mean(nn.functional.softplus(on_target), target_mask)


def adversarial_loss(on_target: Tensor, mask: Tensor) -> Tensor:
    """``−mean log D(r_t)`` of logits [B, U] over ``mask``."""
    return _mean(nn.functional.softplus(-on_target), mask)


class Transfer(nn.Module):
    """A decoder and a discriminator for each modality of the target.

    Losses are means over all ``modalities``, so that a modality missing in a batch does not change
    the step of the others. By modality: ``embeddings`` [B, U, D] and ``present`` [B, U]; ``source``
    [B, U, D] and ``has_source`` [B, U]. Masks are False on padding.

    Raises ValueError if source and target embeddings differ in size, or without modalities.
    """

    def __init__(
        self, modalities: tuple[str, ...], source: int, target: int, config: TransferConfig
    ) -> None:
        super().__init__()
        if source != target:
            raise ValueError(
                f"embeddings of the source have size {source}, of the target {target}; "
                "give both the same second_gru"
            )
        if not modalities:
            raise ValueError("transfer needs at least one modality")
        self.modalities = modalities
        decoders = {m: HMDecoder(target, config.decoder_hidden, source) for m in modalities}
        sizes = target, config.discriminator_hidden, config.dropout
        discriminators = {m: HMDiscriminator(*sizes) for m in modalities}
        self.decoders, self.discriminators = nn.ModuleDict(decoders), nn.ModuleDict(discriminators)

    def decoder_losses(
        self, embeddings: ByModality, present: ByModality, source: Tensor, has_source: Tensor
    ) -> Tensor:
        """``L_dec`` where modality and source are there. Trains decoders and embedding networks."""
        losses = [
            decoder_loss(self.decoders[m](embeddings[m]), source.detach(), present[m] & has_source)
            for m in self.modalities
        ]
        return torch.stack(losses).mean()

    def discriminator_losses(
        self, embeddings: ByModality, present: ByModality, source: Tensor, has_source: Tensor
    ) -> Tensor:
        """``L_disc``. Trains the discriminators alone."""
        losses = []
        for modality in self.modalities:
            judge = self.discriminators[modality]
            on_source, on_target = judge(source.detach()), judge(embeddings[modality].detach())
            losses.append(discriminator_loss(on_source, on_target, has_source, present[modality]))
        return torch.stack(losses).mean()

    def adversarial_losses(self, embeddings: ByModality, present: ByModality) -> Tensor:
        """``L_adv``. Trains the embedding networks alone."""
        losses = []
        for modality in self.modalities:
            discriminator = self.discriminators[modality]
            fixed = {name: w.detach() for name, w in discriminator.named_parameters()}
            on_target: Tensor = functional_call(discriminator, fixed, (embeddings[modality],))
            losses.append(adversarial_loss(on_target, present[modality]))
        return torch.stack(losses).mean()


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` [B, U] where ``mask`` is True; 0, with a gradient, if nowhere."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp_min(1)
