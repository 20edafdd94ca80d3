"""How far a figure would move with other videos: percentile bootstrap over whole videos.

Utterances of one video resemble each other; drawing them one by one would pretend to more
evidence than there is (Davison & Hinkley, Bootstrap Methods and Their Application, §3.8). With
few videos the intervals are somewhat too narrow, as those of every percentile bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_DEFINED = 0.9
"""A figure that is undefined in more than a tenth of the draws gets no interval."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end, both inside."""

    low: float
    high: float


def interval(
    statistic: Callable[[NDArray[np.int64]], float | None],
    groups: Sequence[str] | NDArray[Any],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of one figure; see ``intervals``."""

    def alone(rows: NDArray[np.int64]) -> list[float]:
        value = statistic(rows)
        return [np.nan if value is None else value]

    return intervals(alone, groups, draws=draws, seed=seed, level=level)[0]


def intervals(
    statistics: Callable[[NDArray[np.int64]], Sequence[float] | NDArray[np.float64]],
    groups: Sequence[str] | NDArray[Any],
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> list[Interval | None]:
    """Intervals of several figures from the same draws.

    Parameters
    ----------
    statistics
        Gives all figures for a choice of rows (indices [K], some of them several times); NaN for
        one that is undefined.
    groups
        Id of the video of each row [N]. As many videos as there are, are drawn with replacement.
    level
        Share of the draws that lie inside.

    Returns
    -------
    One per figure; None where there is a single video, where the figure is undefined for the rows
    as they are, or where it is for more than ``1 - LEAST_DEFINED`` of the draws.

    Raises
    ------
    ValueError
        No rows, no draws, or a level that is not between 0 and 1.
    """
    if draws < 1 or not 0 < level < 1 or not len(groups):
        raise ValueError("a bootstrap needs rows, draws and a level between 0 and 1")
    _, group_of = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    sizes = np.bincount(group_of)
    starts = np.cumsum(sizes) - sizes
    point = np.asarray(statistics(np.arange(len(group_of))), dtype=float)
    if len(sizes) == 1:
        return [None] * len(point)
    rng = np.random.default_rng(seed)
    values = np.stack(
        [
            np.asarray(statistics(order[_rows(starts[drawn], sizes[drawn])]), dtype=float)
            for drawn in rng.integers(len(sizes), size=(draws, len(sizes)))
        ]
    )
    edges = ((1 - level) / 2, (1 + level) / 2)
    return [
        _percentiles(column[np.isfinite(column)], edges)
        if np.isfinite(at) and np.isfinite(column).mean() >= LEAST_DEFINED
        else None
        for at, column in zip(point, values.T, strict=True)
    ]


def _percentiles(values: NDArray[np.float64], edges: tuple[float, float]) -> Interval:
    low, high = np.quantile(values, edges)
    return Interval(float(low), float(high))


def _rows(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """``starts[i] … starts[i] + sizes[i] - 1`` for all i, one after the other."""
    ends = np.cumsum(sizes)
    rows: NDArray[np.int64] = np.arange(ends[-1]) + np.repeat(starts - (ends - sizes), sizes)
    return rows
