"""Many utterances told in few numbers: where the score tends to, and means over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 8
"""Utterances from which on there is a trend to speak of."""
POINTS = 300
_SIGMAS_S = (2, 5, 10, 15, 20, 30, 60, 120, 300, 600)
_SHARE = 1 / 80
"""Of the whole time: the width that is looked for."""
_UTTERANCES = 1.5
"""The width is at least that of so many utterances."""
_REACH = 3.0
"""Sigmas from the next utterance at which the curve ends."""


@dataclass(frozen=True, slots=True, eq=False)
class Trend:
    """``values`` at ``times_s``, NaN far from all utterances; ``sigma_s``: of the Gaussian."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    sigma_s: float


def trend_of(
    starts_s: NDArray[np.float64], ends_s: NDArray[np.float64], scores: NDArray[np.float64]
) -> Trend | None:
    """The mean score around each moment: each utterance counts by its length and by a Gaussian of
    the distance to its middle. None for few utterances.

    All [N].
    """
    if len(scores) < FEWEST:
        return None
    first, last = float(starts_s.min()), float(ends_s.max())
    wanted = (last - first) * max(_SHARE, _UTTERANCES / len(scores))
    sigma = float(next((s for s in _SIGMAS_S if s >= wanted), _SIGMAS_S[-1]))
    times = np.linspace(first, last, POINTS)
    middles, lengths = (starts_s + ends_s) / 2, np.maximum(ends_s - starts_s, 1e-3)
    # How far outside an utterance a moment is; within it, nothing.
    away = np.maximum(starts_s - times[:, None], times[:, None] - ends_s).clip(0)
    weights = lengths * np.exp(-0.5 * ((times[:, None] - middles) / sigma) ** 2)
    total = weights.sum(axis=1)
    near = (away.min(axis=1) <= _REACH * sigma) & (total > 0)
    values = np.full(POINTS, np.nan)
    values[near] = (weights[near] @ scores) / total[near]
    return Trend(times, values, sigma)


def binned(
    starts_s: NDArray[np.float64],
    ends_s: NDArray[np.float64],
    values: NDArray[np.float64],
    width_s: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Starts [B] of the stretches of ``width_s`` in which anything is said, and the mean ``values``
    [N, K] of each [B, K]: an utterance counts by how long it lasts in the stretch."""
    edges = np.arange(0.0, float(ends_s.max()) + width_s, width_s)
    overlap = np.minimum(ends_s, edges[1:, None]) - np.maximum(starts_s, edges[:-1, None])
    overlap = overlap.clip(0)
    said = overlap.sum(axis=1)
    there = said > 0
    return edges[:-1][there], (overlap[there] @ values) / said[there, None]
