"""Aligned crops: every face at the same place and size, whatever its size in the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.faces.geometry import fit_similarity, warp
from avsent.faces.points import eye_centres
from avsent.faces.types import CROP_PX

NOSE_BASE = 33
MOUTH_CORNERS = (48, 54)

EYE_DISTANCE_PX = 35.0
"""Distance of the eye centres in the crop."""
EYE_ROW_PX = 36.5
"""Row of the eyes. Both are means over the faces of FER2013: the pixel network, which learnt from
its pictures as they are, meets faces framed alike."""

# Distances below the eyes in eye distances, means over frontal faces.
NOSE_BASE_DROP = 0.71
MOUTH_DROP = 1.08

TEMPLATE = np.array(
    [
        [(CROP_PX - 1 - EYE_DISTANCE_PX) / 2, EYE_ROW_PX],
        [(CROP_PX - 1 + EYE_DISTANCE_PX) / 2, EYE_ROW_PX],
        [(CROP_PX - 1) / 2, EYE_ROW_PX + NOSE_BASE_DROP * EYE_DISTANCE_PX],
        [(CROP_PX - 1) / 2, EYE_ROW_PX + MOUTH_DROP * EYE_DISTANCE_PX],
    ]
)
"""Where the eyes, the base of the nose and the middle of the mouth lie in the crop [4, 2]."""


def anchors(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The eye centres, nose base and middle of the mouth corners [4, 2] of ``landmarks`` [68, 2].

    Mouth corners and not lips: speaking must not shift the crop.
    """
    left, right = eye_centres(landmarks)
    mouth = landmarks[list(MOUTH_CORNERS)].mean(axis=0)
    return np.stack([left, right, landmarks[NOSE_BASE], mouth]).astype(np.float64)


def align_crop(gray: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The face with ``landmarks`` [68, 2] in ``gray`` [H, W] as an upright crop [96, 96]."""
    return warp(gray, fit_similarity(anchors(landmarks), TEMPLATE), CROP_PX)
