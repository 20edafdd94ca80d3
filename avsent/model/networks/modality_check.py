"""M3ER's modality check and proxy features, between the voice and the face of an utterance.

Mittal et al., AAAI 2020. *Check*: both representations are projected to a common space by canonical
correlation analysis, ``f' = Hᵀ(f − mean)``; where the two projections do not agree,
``ρ = cov(f'_a, f'_v) / (σ_a σ_v) < τ``, one of them is ineffectual. With three modalities it is the
one that agrees with none of the others; with two, ρ alone cannot tell which. Ours: the one that
lies further from all that was seen in training (its Mahalanobis distance, by that of training
utterances). One that lies beyond all reason far away is ineffectual without being compared. And
ours: a component weighs as much as it correlates, as H holds it times its canonical correlation.

*Proxy*: with bases v_j of the effective modality and w_j of the other, the nearest v_j to f (L2)
are found, ``f = Σ a_i v_i`` is solved, and ``p = Σ a_i w_i`` stands in. The alternative is one
linear map from space to space.

Everything here is fitted on training data and kept as buffers: see ``avsent.training.modality_check``.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from avsent.labels import MODALITIES
from avsent.model.networks.config import GuardConfig

OTHER = {"audio": "face", "face": "audio"}
LEAST_SPREAD = 1e-6
"""Of a projection: one that is the same in all components correlates with nothing."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """Of each utterance [B, U]: ``agreement`` ρ, NaN where a modality is missing; by modality the
    ``distance`` from the training data, NaN where it is missing; whether it lies ``beyond`` what is
    believed; whether it is ``effective``: present, and not found ineffectual."""

    agreement: Tensor
    distance: dict[str, Tensor]
    beyond: dict[str, Tensor]
    effective: dict[str, Tensor]


class Guard(nn.Module):
    """The check and the proxies of a model with ``sizes`` of representations by modality."""

    def __init__(self, config: GuardConfig, sizes: dict[str, int]) -> None:
        super().__init__()
        if tuple(sizes) != MODALITIES:
            raise ValueError("a guard needs voice and face")
        self.config = config
        for modality, size in sizes.items():
            self.register_buffer(f"{modality}_mean", torch.zeros(size))
            self.register_buffer(f"{modality}_whitening", torch.zeros(size, size).fill_diagonal_(1))
            self.register_buffer(f"{modality}_projection", torch.zeros(size, config.components))
            self.register_buffer(f"{modality}_basis", torch.zeros(config.basis, size))
            other = sizes[OTHER[modality]]
            self.register_buffer(f"{modality}_map", torch.zeros(size, other))

    def part(self, modality: str, name: str) -> Tensor:
        """The buffer ``name`` of ``modality``."""
        buffer: Tensor = self.get_buffer(f"{modality}_{name}")
        return buffer

    def agreement(self, audio: Tensor, face: Tensor) -> Tensor:
        """M3ER's ρ [...] of representations ``audio`` [..., A] and ``face`` [..., F]: Pearson's
        correlation over the canonical components of each utterance."""
        first, second = (
            self._centred(modality, values) @ self.part(modality, "projection")
            for modality, values in zip(MODALITIES, (audio, face), strict=True)
        )
        first = first - first.mean(dim=-1, keepdim=True)
        second = second - second.mean(dim=-1, keepdim=True)
        spread = first.norm(dim=-1) * second.norm(dim=-1)
        agreed: Tensor = (first * second).sum(dim=-1) / spread.clamp_min(LEAST_SPREAD)
        # Rounding must not carry it past the limit that means "never".
        return agreed.clamp(-1.0, 1.0)

    def distance(self, modality: str, values: Tensor) -> Tensor:
        """How far representations ``values`` [..., R] lie from the training data: the Mahalanobis
        distance, of which 1 is the root mean square over training utterances."""
        whitened = self._centred(modality, values) @ self.part(modality, "whitening")
        return whitened.square().mean(dim=-1).sqrt()

    def check(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> Checked:
        """Which modalities of the utterances can be relied on.

        By modality ``values`` [B, U, R] and ``present`` [B, U]. The last one is not taken away:
        what lies far from the training data in both still says more than nothing.
        """
        both = present["audio"] & present["face"]
        nothing = torch.full_like(both, torch.nan, dtype=values["audio"].dtype)
        agreement = torch.where(both, self.agreement(values["audio"], values["face"]), nothing)
        distance, beyond = {}, {}
        limits = dict(zip(MODALITIES, self.config.farthest, strict=True))
        for modality in MODALITIES:
            far = self.distance(modality, values[modality])
            distance[modality] = torch.where(present[modality], far, nothing)
            beyond[modality] = present[modality] & (far > limits[modality])
        strange = {m: beyond[m] & present[OTHER[m]] & ~beyond[OTHER[m]] for m in MODALITIES}
        apart = {m: distance[m] / limits[m] for m in MODALITIES}
        # Of two that contradict each other, one stays; NaN compares as False.
        contrary = both & ~beyond["audio"] & ~beyond["face"] & (agreement < self.config.agreement)
        blamed = {
            "audio": contrary & (apart["audio"] > apart["face"]),
            "face": contrary & (apart["audio"] <= apart["face"]),
        }
        effective = {m: present[m] & ~strange[m] & ~blamed[m] for m in MODALITIES}
        return Checked(agreement, distance, beyond, effective)

    def proxy(self, modality: str, values: Tensor) -> Tensor:
        """What stands in for the modality other than ``modality``, whose ``values`` [N, R] are
        effective → [N, S]."""
        if self.config.linear or not len(values):
            return self._centred(modality, values) @ self.part(modality, "map") + self.part(
                OTHER[modality], "mean"
            )
        basis, images = self.part(modality, "basis"), self.part(OTHER[modality], "basis")
        count = min(self.config.neighbours, len(basis))
        nearest = torch.cdist(values, basis).topk(count, dim=1, largest=False).indices
        vectors = basis[nearest]  # [N, k, R]
        # f = Σ a_i v_i in least squares; the ridge keeps near neighbours of each other from
        # cancelling out with huge coefficients.
        gram = vectors @ vectors.mT
        scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(LEAST_SPREAD)
        ridge = self.config.ridge * scale[:, None, None] * torch.eye(count).to(gram)
        share = torch.linalg.solve(gram + ridge, vectors @ values[:, :, None])
        made: Tensor = (share.mT @ images[nearest])[:, 0]
        return made

    def stood_in(
        self, values: dict[str, Tensor], effective: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """``values`` [B, U, R] with a proxy wherever one modality alone is ``effective`` [B, U],
        and where that is."""
        filled, where = dict(values), {}
        for modality in MODALITIES:
            other = OTHER[modality]
            where[modality] = effective[other] & ~effective[modality]
            made = self.proxy(other, values[other][where[modality]])
            filled[modality] = values[modality].clone()
            filled[modality][where[modality]] = made.to(filled[modality].dtype)
        return filled, where

    def _centred(self, modality: str, values: Tensor) -> Tensor:
        return values - self.part(modality, "mean")
