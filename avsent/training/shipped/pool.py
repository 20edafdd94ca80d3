"""Utterances that the experts have judged, to make videos of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.training.shipped.posteriors import Posteriors


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Utterances to make videos of. ``labels`` [N]: index in ``names``, −1 for none; ``speakers``
    [N]; ``versions``: posteriors of the N, unchanged first, then as other devices give them;
    ``spoilt``: what is left of them in noise, where that is known."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    speakers: tuple[str, ...]
    versions: tuple[Posteriors, ...]
    spoilt: Posteriors | None = None

    def only(self, rows: NDArray[np.int64]) -> Pool:
        """These utterances alone."""
        versions = tuple(said.only(rows) for said in self.versions)
        speakers = tuple(self.speakers[row] for row in rows)
        spoilt = None if self.spoilt is None else self.spoilt.only(rows)
        return Pool(self.names, self.labels[rows], speakers, versions, spoilt)

    def in_noise(self) -> Pool:
        """The same utterances, spoilt."""
        assert self.spoilt is not None
        return dataclasses.replace(self, versions=(self.spoilt,) * len(self.versions))


def split_pool(pool: Pool, share: float, seed: int) -> dict[str, Pool]:
    """A pool of utterances without speakers in two parts: ``share`` of it is for validation."""
    order = np.random.default_rng(seed).permutation(len(pool.labels))
    cut = round(share * len(order))
    return {"valid": pool.only(np.sort(order[:cut])), "train": pool.only(np.sort(order[cut:]))}


def by_speaker(pool: Pool, validation: Sequence[str]) -> dict[str, Pool]:
    """A pool in two parts: the speakers ``validation`` and the others."""
    held = np.array([speaker in validation for speaker in pool.speakers])
    return {
        "valid": pool.only(np.flatnonzero(held)),
        "train": pool.only(np.flatnonzero(~held)),
    }


def there(vector: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """A row of posteriors; None where its modality is missing."""
    return None if np.isnan(vector).all() else vector
