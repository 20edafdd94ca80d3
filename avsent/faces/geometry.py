"""Boxes and similarity transforms: the small geometry that the face room shares."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.faces.points import Box, eye_centres

BOX_SIDE_PER_SPREAD = 2.9
"""Side of dlib's detector box over the root-mean-square distance of landmarks to their mean."""
BOX_RISE_PER_SPREAD = 0.105
"""How far the middle of dlib's box lies above the landmarks' mean, in the same unit."""

Matrix = NDArray[np.float64]
"""[2, 3]: x' = M[:, :2] @ x + M[:, 2]"""


def box_of_landmarks(landmarks: NDArray[np.floating[Any]]) -> Box:
    """The square that dlib's detector would draw round the face with ``landmarks`` [68, 2].

    The detector's own boxes come in steps of 6/5 and 8 pixels, and the shape predictor answers
    to those steps. Boxes made from the landmarks do not step; fed back into the predictor they
    settle in one or two rounds from 25% off (both constants are medians of 775 detections).
    """
    mean = landmarks.mean(axis=0)
    spread = float(np.sqrt(np.square(landmarks - mean).sum(axis=1).mean()))
    half = BOX_SIDE_PER_SPREAD * spread / 2
    x, y = float(mean[0]), float(mean[1]) - BOX_RISE_PER_SPREAD * spread
    return x - half, y - half, x + half, y + half


def box_side(box: Box) -> float:
    """The longer side of ``box`` in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def box_centre(box: Box) -> tuple[float, float]:
    """(x, y) of the middle of ``box``."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    area_a = (a[2] - a[0]) * (a[3] - a[1])
    area_b = (b[2] - b[0]) * (b[3] - b[1])
    return common / (area_a + area_b - common)


def same_place(a: Box, b: Box) -> bool:
    """Whether two boxes can only be the same face: they overlap, or one lies inside the other."""
    if overlap(a, b) > 0.3:
        return True
    small, large = (a, b) if box_side(a) < box_side(b) else (b, a)
    x, y = box_centre(small)
    return (
        large[0] < x < large[2]
        and large[1] < y < large[3]
        and 2 * box_side(small) > box_side(large)
    )


def roll(landmarks: NDArray[np.floating[Any]]) -> float:
    """Angle of the line through the eyes of ``landmarks`` [68, 2] in radians, clockwise > 0."""
    left, right = eye_centres(landmarks)
    return float(np.arctan2(right[1] - left[1], right[0] - left[0]))


def chip_matrix(box: Box, face_px: float, chip_px: int, angle: float = 0.0) -> Matrix:
    """The transform that puts ``box`` in the middle of a chip [chip_px, chip_px].

    The box is ``face_px`` wide there, and a face rolled by ``angle`` radians stands upright.
    """
    scale = face_px / max(box_side(box), 1.0)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])
    middle = (chip_px - 1) / 2 - linear @ np.array(box_centre(box))
    return np.column_stack([linear, middle])


def inverse(matrix: Matrix) -> Matrix:
    """The inverse of a transform [2, 3]."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def apply(matrix: Matrix, points: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """``points`` [N, 2] through ``matrix``."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def fit_similarity(source: NDArray[np.floating[Any]], target: NDArray[np.floating[Any]]) -> Matrix:
    """The rotation, scale and shift that carries ``source`` [N, 2] nearest to ``target`` [N, 2].

    Least squares in closed form, without reflection. With all source points in one place the
    scale is undefined; the result is then a mere shift.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    s, t = (source - source_mean).astype(np.float64), (target - target_mean).astype(np.float64)
    power = float(np.square(s).sum())
    if power < 1e-9:
        a, b = 1.0, 0.0
    else:
        a = float((s * t).sum()) / power
        b = float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / power
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def warp(gray: NDArray[np.uint8], to_chip: Matrix, chip_px: int) -> NDArray[np.uint8]:
    """The chip [chip_px, chip_px] of ``gray`` [H, W]; beyond the frame its edge is repeated.

    A face far larger than the chip is reduced by area averaging first: a plain warp reads four
    pixels for each it writes and would alias.
    """
    scale = float(np.hypot(to_chip[0, 0], to_chip[1, 0]))
    if scale <= 0.5:
        gray, to_chip = _reduced(gray, to_chip, chip_px, int(1 / max(scale, 1e-3)))
    chip = cv2.warpAffine(
        gray,
        to_chip,
        (chip_px, chip_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(chip, dtype=np.uint8)


def _reduced(
    gray: NDArray[np.uint8], to_chip: Matrix, chip_px: int, factor: int
) -> tuple[NDArray[np.uint8], Matrix]:
    """The part of ``gray`` that the chip shows, ``factor`` times smaller, and its transform."""
    height, width = gray.shape
    corners = np.array([[0, 0], [chip_px, 0], [0, chip_px], [chip_px, chip_px]], dtype=np.float64)
    seen = apply(inverse(to_chip), corners)
    x0, y0 = (int(v) for v in np.clip(seen.min(axis=0) - factor, 0, [width - 1, height - 1]))
    x1, y1 = (int(v) for v in np.clip(seen.max(axis=0) + factor, 1, [width, height]))
    small_w, small_h = (x1 - x0) // factor, (y1 - y0) // factor
    if small_w < 2 or small_h < 2:
        return gray, to_chip
    small = cv2.resize(
        gray[y0 : y0 + small_h * factor, x0 : x0 + small_w * factor],
        (small_w, small_h),
        interpolation=cv2.INTER_AREA,
    )
    # x_full = x0 + factor * (x_small + 1/2) - 1/2
    moved = to_chip.copy()
    half = (factor - 1) / 2
    moved[:, 2] += to_chip[:, :2] @ np.array([x0 + half, y0 + half])
    moved[:, :2] *= factor
    return np.asarray(small, dtype=np.uint8), moved
