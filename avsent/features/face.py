"""Face sequence of an utterance: landmarks free of place, size and tilt, and aligned crops.

Only what survives another camera is kept: the jaw line is dropped (its points slide), the face
is centred between the eyes, turned upright and measured in eye distances. Differences between
frames and other spread statistics are left out on purpose: they measure the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.faces.points import eye_centres

JAW_POINTS = 17
POINTS = 68 - JAW_POINTS
MIN_FRAMES = 1
MIN_FACE_SHARE = 0.2
"""A face seen in a smaller share of an utterance's analysed frames cannot speak for it."""


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """How the face sequence is made; stored in the checkpoint."""

    analysis_rate_hz: float = 10.0
    points: int = POINTS


@dataclass(frozen=True, slots=True, eq=False)
class FaceFeatures:
    """``times_s`` [T]; ``landmarks`` [T, 51, 2] float32 in eye distances; ``crops`` [T, 96, 96];
    ``neutral`` [51, 2]: the speaker's face at rest (see :class:`~avsent.features.neutral`)."""

    times_s: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    crops: NDArray[np.uint8] | None = None
    neutral: NDArray[np.float32] | None = None


def face_features(
    times_s: NDArray[Any],
    landmarks: NDArray[Any],
    crops: NDArray[np.uint8] | None = None,
) -> FaceFeatures | None:
    """Face sequence of ``landmarks`` [T, 68, 2] (pixels, already smoothed) at ``times_s`` [T].

    Frames whose eyes coincide are dropped. Returns None where no frame is left.
    """
    if len(times_s) == 0:
        return None
    normalised, usable = normalise_landmarks(landmarks)
    if int(usable.sum()) < MIN_FRAMES:
        return None
    return FaceFeatures(
        times_s=np.asarray(times_s, dtype=np.float64)[usable],
        landmarks=normalised[usable],
        crops=None if crops is None else crops[usable],
    )


def normalise_landmarks(landmarks: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """[T, 68, 2] pixels → [T, 51, 2] eye-centred, upright, in eye distances; usable frames [T]."""
    points = landmarks.astype(np.float64)
    left, right = eye_centres(points)
    axis = right - left
    distance = np.linalg.norm(axis, axis=-1)
    usable = distance > 1e-6
    unit = np.where(usable, distance, 1.0)
    cos, sin = axis[:, 0] / unit, axis[:, 1] / unit
    centred = points[:, JAW_POINTS:] - ((left + right) / 2)[:, None, :]
    x = (cos[:, None] * centred[..., 0] + sin[:, None] * centred[..., 1]) / unit[:, None]
    y = (-sin[:, None] * centred[..., 0] + cos[:, None] * centred[..., 1]) / unit[:, None]
    return np.stack([x, y], axis=-1).astype(np.float32), usable
