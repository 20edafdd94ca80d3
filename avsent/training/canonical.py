"""Canonical correlation analysis in closed form, with a ridge: the common space of a pair.

Hotelling 1936; the ridge as in Vinod 1976. ``sklearn.cross_decomposition.CCA`` gives the same
without a ridge (a test compares them), but iterates, and cannot take one: with 54 correlated
dimensions and a thousand utterances the plain solution fits noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
RIDGE = 0.1
"""Added to each variance, as a share of the mean one."""
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """One side: ``mean`` [R]; ``whitening`` [R, R], which makes the (ridged) covariance the
    identity; ``directions`` [R, K]. Dimensions that never vary have zeros throughout."""

    mean: Matrix
    whitening: Matrix
    directions: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """Both sides, and the ``correlations`` [K] of their components, the largest first."""

    first: Space
    second: Space
    correlations: Matrix


def canonical(first: Matrix, second: Matrix, components: int, ridge: float = RIDGE) -> Canonical:
    """Of paired rows ``first`` [N, R] and ``second`` [N, S].

    The components are uncorrelated within a side, have variance 1 (less for the ridge), and
    correlate with their like of the other side. There are no more than dimensions that vary:
    what is left of ``components`` has zeros.

    Raises:
        ValueError: there are fewer than two rows.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError("pairs are needed, two or more")
    left, right = _whitened(first, ridge), _whitened(second, ridge)
    cross = (first - left[0]).T @ (second - right[0]) / len(first)
    rotate, found, back = np.linalg.svd(left[1].T @ cross @ right[1], full_matrices=False)
    count = min(components, len(found))
    correlations = np.zeros(components)
    correlations[:count] = found[:count]
    sides = [
        Space(mean, whitening, _padded(whitening @ turn[:, :count], components))
        for (mean, whitening), turn in ((left, rotate), (right, back.T))
    ]
    return Canonical(sides[0], sides[1], correlations)


def _whitened(rows: Matrix, ridge: float) -> tuple[Matrix, Matrix]:
    """Mean [R] and whitening [R, R] of ``rows`` [N, R]."""
    mean = rows.mean(axis=0)
    apart = rows - mean
    covariance = apart.T @ apart / len(rows)
    varies = np.diagonal(covariance) > LEAST_VARIANCE
    whitening = np.zeros_like(covariance)
    if varies.any():
        inner = covariance[np.ix_(varies, varies)]
        inner = inner + ridge * np.trace(inner) / len(inner) * np.eye(len(inner))
        whitening[np.ix_(varies, varies)] = np.linalg.inv(np.linalg.cholesky(inner)).T
    return mean, whitening


def _padded(directions: Matrix, components: int) -> Matrix:
    found = np.zeros((len(directions), components))
    found[:, : directions.shape[1]] = directions
    return found
