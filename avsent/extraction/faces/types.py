"""Faces in frames, and dlib's 68 landmarks by name. Imports neither dlib nor OpenCV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LANDMARK_COUNT = 68
LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)

CROP_PX = 96  # side of the aligned grey crop

Box = tuple[float, float, float, float]
"""left, top, right, bottom in pixels"""

# The right eye's centre minus the left eye's: one product instead of two means
_EYE_AXIS = np.zeros(LANDMARK_COUNT)
_EYE_AXIS[LEFT_EYE], _EYE_AXIS[RIGHT_EYE] = -1 / 6, 1 / 6


def eye_axis(landmarks: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """(x, y) from the left to the right eye's centre of one face's ``landmarks`` [68, 2]."""
    x, y = (_EYE_AXIS @ landmarks).tolist()
    return x, y


def eye_centres(landmarks: NDArray[np.floating[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres of the two eyes [..., 2] of ``landmarks`` [..., 68, 2]; left in the picture first."""
    return landmarks[..., LEFT_EYE, :].mean(axis=-2), landmarks[..., RIGHT_EYE, :].mean(axis=-2)


def eye_distance(landmarks: NDArray[np.floating[Any]]) -> NDArray[Any]:
    """Distance of the eye centres in pixels [...]: the unit of all measures of a face."""
    left, right = eye_centres(landmarks)
    distance: NDArray[Any] = np.linalg.norm(right - left, axis=-1)
    return distance


@dataclass(frozen=True, slots=True)
class Sighting:
    """The box of the face of ``track`` at ``time_s``, in pixels of the frame."""

    track: int
    time_s: float
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class FaceObservation:
    """One face in one analysed frame.

    ``landmarks`` [68, 2] float32 are smoothed, in pixels of the upright frame; ``crop`` [96, 96]
    uint8 is aligned by a similarity transform, so that the eyes lie on a fixed row.
    """

    track: int
    time_s: float
    box: Box
    landmarks: NDArray[np.float32]
    crop: NDArray[np.uint8]
