"""Face sequence of an utterance: landmarks free of position, size and tilt, and small pictures.

The features keep only what another camera would show, too. The jaw line is dropped (its points
slide); the face is centred between the eyes, turned upright and measured in eye distances.
Differences between frames and other spread statistics are left out: they measure the camera.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import eye_centres

JAW_POINTS = 17
POINTS = 68 - JAW_POINTS
MOUTH = slice(48 - JAW_POINTS, POINTS)
STILL_MOVEMENT, STILL_S, STILL_FRAMES = 0.012, 2.0, 5
"""Eye distances, least time and frames. Mouths in photos stray 0.010 from their mean shape, those
of talkers 0.015 in any two seconds, and in any five frames half a second apart."""
PICTURE_PX = 48
PICTURE_EVERY = 2
"""The pixel network sees every second frame. At 10 Hz that is five pictures a second; the network
costs more than all others together."""
MIN_DEVIATION = 4.0
"""Grey levels. A picture with less contrast is not scaled up: that would amplify noise."""
MOST_FRAMES = 256
"""Frames kept of a track for its median. With more, every second one is dropped, and from then on
half as many are taken."""


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """How the face sequence is made; stored in the checkpoint."""

    analysis_rate_hz: float = 10.0
    points: int = POINTS


@dataclass(frozen=True, slots=True, eq=False)
class FaceFeatures:
    """``times_s`` [T]; ``landmarks`` [T, 51, 2] float32 in eye distances; ``pictures``
    [⌈T/2⌉, 48, 48] uint8 grey, of every ``PICTURE_EVERY``-th frame; ``neutral`` [51, 2]: the
    speaker's face at rest (see :class:`NeutralFace`), where it is part of the data."""

    times_s: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    pictures: NDArray[np.uint8] | None = None
    neutral: NDArray[np.float32] | None = None

    def still(self) -> bool:
        """Whether the mouth has not moved for long enough to be that of a frozen picture."""
        times_s, movement = self.times_s, _mouth_movement(self.landmarks)
        return _still(movement, times_s[-1] - times_s[0], len(times_s))


def _mouth_movement(landmarks: NDArray[Any]) -> float:
    """How far the points of the mouth stray from its mean shape in ``landmarks`` [T, 51, 2]."""
    mouth = landmarks[:, MOUTH]
    shape = mouth - mouth.mean(axis=1, keepdims=True)
    return float(np.sqrt(shape.var(axis=0).sum(axis=-1).mean()))


def _still(movement: float, seconds: float, frames: int) -> bool:
    return movement < STILL_MOVEMENT and seconds >= STILL_S and frames >= STILL_FRAMES


def face_features(
    times_s: NDArray[Any], landmarks: NDArray[Any], crops: NDArray[np.uint8] | None = None
) -> FaceFeatures | None:
    """Face sequence of ``landmarks`` [T, 68, 2] (pixels, already smoothed) at ``times_s`` [T], with
    the aligned ``crops`` [T, S, S] of the same frames.

    Frames whose eyes coincide are dropped. Returns None where no frame is left.
    """
    normalised, usable = normalise_landmarks(landmarks)
    if not usable.any():
        return None
    times_s = np.asarray(times_s, dtype=np.float64)[usable]
    pictures = None if crops is None else pictures_of(crops[usable])
    return FaceFeatures(times_s, normalised[usable], pictures)


def pictures_of(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Small pictures [⌈T/2⌉, 48, 48] of every ``PICTURE_EVERY``-th of ``crops`` [T, S, S]."""
    shape, how = (PICTURE_PX, PICTURE_PX), cv2.INTER_AREA
    small = [cv2.resize(crop, shape, interpolation=how) for crop in crops[::PICTURE_EVERY]]
    return np.stack(small).astype(np.uint8)


def standardised(grey: NDArray[Any]) -> NDArray[np.float32]:
    """Each picture of ``grey`` [T, H, W] with mean 0 and deviation 1."""
    values = grey.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= np.maximum(values.std(axis=(1, 2), keepdims=True), MIN_DEVIATION)
    return values


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


class NeutralFace:
    """Running median of one track's normalised landmarks, in bounded memory."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.float32]] = []
        self._every, self._count = 1, 0
        self._movement: float | None = None  # of the mouth, of a track that has ended

    def add(self, landmarks: NDArray[Any]) -> None:
        """Add a frame's ``landmarks`` [68, 2], in pixels and smoothed."""
        self._count += 1
        if (self._count - 1) % self._every:
            return
        normalised, usable = normalise_landmarks(landmarks[None])
        if not usable[0]:
            return
        self._kept.append(normalised[0])
        if len(self._kept) > MOST_FRAMES:
            self._kept = self._kept[::2]
            self._every *= 2

    def settle(self) -> None:
        """Keep only the median of a track that has ended: hours of video have thousands."""
        median, self._movement = self.median(), self._moved()
        self._kept = [] if median is None else [median]

    def median(self) -> NDArray[np.float32] | None:
        """The face [51, 2] in eye distances; None where no frame was usable."""
        if not self._kept:
            return None
        return np.asarray(np.median(np.stack(self._kept), axis=0), dtype=np.float32)

    def still(self, seconds: float) -> bool:
        """As :meth:`FaceFeatures.still`, for all of a track that has lasted so long."""
        return _still(self._moved(), seconds, self._count)

    def _moved(self) -> float:
        if self._movement is not None or not self._kept:
            return self._movement or 0.0
        return _mouth_movement(np.stack(self._kept))
