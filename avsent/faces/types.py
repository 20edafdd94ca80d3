"""What the face room hands up: one observation per face and analysed frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.faces.points import Box

CROP_PX = 96
"""Side of the aligned grey crop."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where the face of ``track`` was at ``time_s``: its box in pixels of the frame."""

    track: int
    time_s: float
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class FaceObservation:
    """One face in one analysed frame.

    ``landmarks`` [68, 2] float32 are smoothed and in pixels of the frame as shown; ``crop``
    [96, 96] uint8 is aligned by a similarity transform, so that the eyes lie on a fixed row.
    """

    track: int
    time_s: float
    box: Box
    landmarks: NDArray[np.float32]
    crop: NDArray[np.uint8]
