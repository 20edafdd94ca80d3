"""M3ER's modality check and proxy features for the voice and the face of an utterance.

Mittal et al., AAAI 2020. *Check*: canonical correlation analysis projects both representations to
a common space, ``f' = Hᵀ(f − mean)``. If the projections disagree, ``ρ = cov(f'_a, f'_v) /
(σ_a σ_v) < τ``, one modality is ineffectual. M3ER has three modalities and drops the one that
agrees with neither of the others; with two, ρ cannot tell which. Ours: drop the one farther from
the training data (Mahalanobis distance), and drop a modality beyond a limit of that distance
without comparing it. H is scaled by the canonical correlations (ours).

*Proxy*: with bases v_j of the effective modality and w_j of the other, solve ``f = Σ a_i v_i`` for
the nearest v_j (L2); ``p = Σ a_i w_i`` replaces the other. The alternative is one linear map.

All is fitted on training data, see :mod:`avsent.training.modality_check`, and kept in buffers.
"""

import dataclasses

import torch
from torch import Tensor, nn

from avsent.labels import MODALITIES
from avsent.model.networks.config import ModalityCheckConfig

OTHER = {"audio": "face", "face": "audio"}
LEAST_SPREAD = 1e-6  # least spread of a projection: a constant one would divide by 0


@dataclasses.dataclass(frozen=True, slots=True)
class CheckOutcome:
    """Outcome of the check for utterances [B, U].

    ``agreement``: M3ER's ρ, NaN where a modality is missing. By modality: ``distance`` from the
    training data, NaN where missing; ``beyond``: that distance exceeds its limit; ``effective``:
    the modality is present and was not found ineffectual.
    """

    agreement: Tensor
    distance: dict[str, Tensor]
    beyond: dict[str, Tensor]
    effective: dict[str, Tensor]


class ModalityCheck(nn.Module):
    """The check and the proxies for representations of ``sizes`` by modality."""

    def __init__(self, config: ModalityCheckConfig, sizes: dict[str, int]) -> None:
        super().__init__()
        if tuple(sizes) != MODALITIES:
            raise ValueError("a modality check needs voice and face")
        self.config = config
        for modality, size in sizes.items():
            self.register_buffer(f"{modality}_mean", torch.zeros(size))
            self.register_buffer(f"{modality}_whitening", torch.zeros(size, size).fill_diagonal_(1))
            self.register_buffer(f"{modality}_projection", torch.zeros(size, config.components))
            self.register_buffer(f"{modality}_basis", torch.zeros(config.basis, size))
            other = sizes[OTHER[modality]]
            self.register_buffer(f"{modality}_map", torch.zeros(size, other))

    def part(self, modality: str, name: str) -> Tensor:
        buffer: Tensor = self.get_buffer(f"{modality}_{name}")
        return buffer

    def agreement(self, audio: Tensor, face: Tensor) -> Tensor:
        """M3ER's ρ [...] of ``audio`` [..., A] and ``face`` [..., F]: Pearson's correlation over
        the canonical components of each utterance."""
        first, second = (
            self._centred(modality, values) @ self.part(modality, "projection")
            for modality, values in zip(MODALITIES, (audio, face), strict=True)
        )
        first = first - first.mean(dim=-1, keepdim=True)
        second = second - second.mean(dim=-1, keepdim=True)
        spread = first.norm(dim=-1) * second.norm(dim=-1)
        agreed: Tensor = (first * second).sum(dim=-1) / spread.clamp_min(LEAST_SPREAD)
        # A limit of −1 means: never drop a modality. Rounding must not fall below it.
        return agreed.clamp(-1.0, 1.0)

    def distance(self, modality: str, values: Tensor) -> Tensor:
        """Mahalanobis distance [...] of ``values`` [..., R] from the training mean, divided by
        √R, so that training utterances have a root mean square of about 1."""
        whitened = self._centred(modality, values) @ self.part(modality, "whitening")
        return whitened.square().mean(dim=-1).sqrt()

    def check(self, values: dict[str, Tensor], present: dict[str, Tensor]) -> CheckOutcome:
        """Find the effective modalities; by modality ``values`` [B, U, R], ``present`` [B, U].

        At least one stays: an utterance far from the training data in both keeps both.
        """
        both = present["audio"] & present["face"]
        missing = torch.full_like(both, torch.nan, dtype=values["audio"].dtype)
        agreement = torch.where(both, self.agreement(values["audio"], values["face"]), missing)
        distance, beyond = {}, {}
        limits = dict(zip(MODALITIES, self.config.farthest, strict=True))
        for modality in MODALITIES:
            far = self.distance(modality, values[modality])
            distance[modality] = torch.where(present[modality], far, missing)
            beyond[modality] = present[modality] & (far > limits[modality])
        outlier = {m: beyond[m] & present[OTHER[m]] & ~beyond[OTHER[m]] for m in MODALITIES}
        relative = {m: distance[m] / limits[m] for m in MODALITIES}
        # NaN compares as False.
        contrary = both & ~beyond["audio"] & ~beyond["face"] & (agreement < self.config.agreement)
        dropped = {
            "audio": contrary & (relative["audio"] > relative["face"]),
            "face": contrary & (relative["audio"] <= relative["face"]),
        }
        effective = {m: present[m] & ~outlier[m] & ~dropped[m] for m in MODALITIES}
        return CheckOutcome(agreement, distance, beyond, effective)

    def proxy(self, modality: str, values: Tensor) -> Tensor:
        """Proxy [N, S] of the other modality, made from ``values`` [N, R] of ``modality``."""
        if self.config.linear or not len(values):
            mapped = self._centred(modality, values) @ self.part(modality, "map")
            return mapped + self.part(OTHER[modality], "mean")
        basis, images = self.part(modality, "basis"), self.part(OTHER[modality], "basis")
        count = min(self.config.neighbours, len(basis))
        nearest = torch.cdist(values, basis).topk(count, dim=1, largest=False).indices
        vectors = basis[nearest]  # [N, k, R]
        # Least squares; the ridge avoids huge coefficients of opposite signs.
        gram = vectors @ vectors.mT
        scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(LEAST_SPREAD)
        ridge = self.config.ridge * scale[:, None, None] * torch.eye(count).to(gram)
        share = torch.linalg.solve(gram + ridge, vectors @ values[:, :, None])
        made: Tensor = (share.mT @ images[nearest])[:, 0]
        return made

    def fill_proxies(
        self, values: dict[str, Tensor], effective: dict[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Replace ``values`` [B, U, R] by proxies where only the other modality is ``effective``
        [B, U]; also return the mask of the replaced ones [B, U], by modality."""
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
