"""Many dimensions onto a sheet of paper: principal components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Projection(NamedTuple):
    """``centre`` [D], two ``axes`` [D, 2] of length 1, their ``shares`` of the variance [2]."""

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    shares: NDArray[np.float64]

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points [N, D] as [N, 2]."""
        projected: NDArray[np.float64] = (points - self.centre) @ self.axes
        return projected


def principal_axes(points: NDArray[np.float64]) -> Projection:
    """The two directions in which ``points`` [N, D], D ≥ 2, spread the most.

    Each axis points to where its largest part is positive, as the sign is arbitrary.
    """
    centre = points.mean(axis=0)
    # The scatter matrix is small, [D, D], however many points there are.
    sizes, axes = np.linalg.eigh((points - centre).T @ (points - centre))
    sizes, axes = np.maximum(sizes[::-1], 0), axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    return Projection(centre, axes, sizes[:2] / max(sizes.sum(), np.finfo(float).tiny))
