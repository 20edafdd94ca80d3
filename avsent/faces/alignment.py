"""Aligned crops: every face at the same place and size, whatever its size in the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.faces.geometry import as_complex, fit_turn, matrix_of, warp
from avsent.faces.points import LANDMARK_COUNT, LEFT_EYE, RIGHT_EYE
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


# What each landmark counts for each anchor [4, 68]: one product instead of three means.
_SHARES = np.zeros((4, LANDMARK_COUNT))
_SHARES[0, LEFT_EYE] = _SHARES[1, RIGHT_EYE] = 1 / 6
_SHARES[2, NOSE_BASE] = 1
_SHARES[3, list(MOUTH_CORNERS)] = 1 / 2
_TEMPLATE_POINTS = as_complex(TEMPLATE)


def anchors(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """The eye centres, nose base and middle of the mouth corners [4, 2] of ``landmarks`` [68, 2].

    Mouth corners and not lips: speaking must not shift the crop.
    """
    found: NDArray[np.float64] = _SHARES @ landmarks
    return found


def align_crop(gray: NDArray[np.uint8], landmarks: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The face with ``landmarks`` [68, 2] in ``gray`` [H, W] as an upright crop [96, 96]."""
    turn, shift = fit_turn(as_complex(anchors(landmarks)), _TEMPLATE_POINTS)
    return warp(gray, matrix_of(turn, shift), CROP_PX)
