"""Faces in frames: dlib's 68 landmarks by name, boxes, similarity transforms and chips (small
copies of a face)."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LANDMARK_COUNT = 68
LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)

CROP_PX = 96  # side of the aligned grey crop

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels
Matrix = NDArray[np.float64]  # [2, 3]: x' = M[:, :2] @ x + M[:, 2]
Points = NDArray[np.floating[Any]]  # points (x, y) in pixels [..., 2]
Complex = NDArray[np.complex128]  # points [N] as x + iy
Gray = NDArray[np.uint8]  # grey pictures [..., H, W]

# The right eye's centre minus the left eye's: one product instead of two means
_EYE_AXIS = np.zeros(LANDMARK_COUNT)
_EYE_AXIS[LEFT_EYE], _EYE_AXIS[RIGHT_EYE] = -1 / 6, 1 / 6


def eye_axis(landmarks: Points) -> tuple[float, float]:
    """(x, y) from the left to the right eye's centre of one face's ``landmarks`` [68, 2]."""
    x, y = (_EYE_AXIS @ landmarks).tolist()
    return x, y


def eye_centres(landmarks: Points) -> tuple[NDArray[Any], NDArray[Any]]:
    """Centres of the two eyes [..., 2] of ``landmarks`` [..., 68, 2]; left in the picture first."""
    return landmarks[..., LEFT_EYE, :].mean(axis=-2), landmarks[..., RIGHT_EYE, :].mean(axis=-2)


def eye_distance(landmarks: Points) -> NDArray[Any]:
    """Distance of the eye centres in pixels [...]: the unit of all measures of a face."""
    left, right = eye_centres(landmarks)
    return np.asarray(np.linalg.norm(right - left, axis=-1))


@dataclass(frozen=True, slots=True)
class Sighting:
    """The box of the face of ``track`` at ``time_s``, in displayed pixels."""

    track: int
    time_s: float
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class FaceObservation:
    """One face in one analysed frame.

    ``landmarks`` [68, 2] float32 are smoothed, in pixels of the frame in which the face is upright;
    ``crop`` [96, 96] uint8 is aligned by a similarity, so that the eyes lie on a fixed row.
    """

    track: int
    time_s: float
    box: Box
    landmarks: NDArray[np.float32]
    crop: Gray


BOX_SIDE_PER_SPREAD = 2.9
"""Side of dlib's detector box over the root-mean-square distance of landmarks to their mean."""
BOX_RISE_PER_SPREAD = 0.105
"""Height of the middle of dlib's box above the mean of the landmarks, in the same unit."""


def box_of_landmarks(landmarks: Points) -> Box:
    """The square that dlib's detector would draw round the face with ``landmarks`` [68, 2].

    The detector's own boxes come in steps of 6/5 and 8 pixels, and the predicted landmarks step
    with them. Boxes from landmarks do not: fed back into the predictor they converge in one or two
    rounds from 25% off. Both constants are medians of 775 detections.
    """
    points = as_complex(landmarks)
    mean = complex(points.sum()) / len(points)
    apart = points - mean
    spread = math.sqrt(float(np.vdot(apart, apart).real) / len(points))
    half = BOX_SIDE_PER_SPREAD * spread / 2
    x, y = mean.real, mean.imag - BOX_RISE_PER_SPREAD * spread
    return x - half, y - half, x + half, y + half


def box_side(box: Box) -> float:
    """The longer side in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def box_centre(box: Box) -> tuple[float, float]:
    """(x, y) of the middle."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def turned_back(box: Box, turns: int, shape: tuple[int, int]) -> Box:
    """``box`` of a frame that np.rot90 made by ``turns``, in the frame before, of ``shape``."""
    height, width = shape if turns % 2 == 0 else shape[::-1]
    for _ in range(turns):
        left, top, right, bottom = box
        box, height, width = (height - bottom, left, height - top, right), width, height
    return box


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
    """Whether two boxes are the same face: they overlap, or one lies inside the other."""
    if overlap(a, b) > 0.3:
        return True
    small, large = (a, b) if box_side(a) < box_side(b) else (b, a)
    x, y = box_centre(small)
    inside = large[0] < x < large[2] and large[1] < y < large[3]
    return inside and 2 * box_side(small) > box_side(large)


def roll(landmarks: Points) -> float:
    """Angle of the line through the eyes of ``landmarks`` [68, 2] in radians, clockwise > 0."""
    x, y = eye_axis(landmarks)
    return math.atan2(y, x)


def chip_matrix(box: Box, face_px: float, chip_px: int, angle: float = 0.0) -> Matrix:
    """The transform of ``box`` to the middle of a chip [chip_px, chip_px].

    There the box is ``face_px`` wide, and a face rolled by ``angle`` radians is upright.
    """
    scale = face_px / max(box_side(box), 1.0)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    x, y = box_centre(box)
    middle = (chip_px - 1) / 2
    right, down = middle - cos * x - sin * y, middle + sin * x - cos * y
    return np.array([[cos, sin, right], [-sin, cos, down]])


def inverse(matrix: Matrix) -> Matrix:
    """The inverse of a transform [2, 3]."""
    (a, b, x), (c, d, y) = matrix.tolist()
    size = a * d - b * c
    a, b, c, d = d / size, -b / size, -c / size, a / size
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def apply(matrix: Matrix, points: Points) -> NDArray[np.float32]:
    """``points`` [N, 2] through ``matrix``."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def fit_similarity(source: Complex, target: Complex) -> tuple[complex, complex]:
    """``turn`` and ``shift`` for which ``turn * source + shift`` is nearest to ``target`` [N].

    Least squares in closed form, without reflection. If all source points coincide, the scale is
    undefined and the result a mere shift. Complex numbers take a fifth of the time of matrices:
    small arrays cost by the call.
    """
    source_mean = complex(source.sum()) / len(source)
    target_mean = complex(target.sum()) / len(target)
    s = source - source_mean
    power = float(np.vdot(s, s).real)
    turn = 1 + 0j if power < 1e-9 else complex(np.vdot(s, target - target_mean) / power)
    return turn, target_mean - turn * source_mean


def as_complex(points: Points) -> Complex:
    """``points`` [N, 2] as complex numbers [N], x + iy: a similarity is then a product."""
    return np.ascontiguousarray(points, dtype=np.float64).view(np.complex128).reshape(-1)


def matrix_of(turn: complex, shift: complex) -> Matrix:
    """The transform z → ``turn * z + shift`` of complex numbers as a matrix [2, 3]."""
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def warp(gray: Gray, to_chip: Matrix, chip_px: int) -> Gray:
    """The chip [chip_px, chip_px] of ``gray`` [H, W]; beyond the frame its edge is repeated.

    A face far larger than the chip is first reduced by area averaging: a plain warp reads four
    pixels for each that it writes and would alias.
    """
    scale = math.hypot(to_chip[0, 0], to_chip[1, 0])
    if scale <= 0.5:
        gray, to_chip = _reduced(gray, to_chip, chip_px, int(1 / max(scale, 1e-3)))
    size, how = (chip_px, chip_px), cv2.INTER_LINEAR
    chip = cv2.warpAffine(gray, to_chip, size, flags=how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, dtype=np.uint8)


def _reduced(gray: Gray, to_chip: Matrix, chip_px: int, factor: int) -> tuple[Gray, Matrix]:
    """The part of ``gray`` in the chip, ``factor`` times smaller, and its transform."""
    height, width = gray.shape
    (x0, x1), (y0, y1) = (
        _span(row, chip_px, factor, length)
        for row, length in zip(inverse(to_chip).tolist(), (width, height), strict=True)
    )
    small_w, small_h = (x1 - x0) // factor, (y1 - y0) // factor
    if small_w < 2 or small_h < 2:
        return gray, to_chip
    part = gray[y0 : y0 + small_h * factor, x0 : x0 + small_w * factor]
    small = cv2.resize(part, (small_w, small_h), interpolation=cv2.INTER_AREA)
    # x_full = x0 + factor * (x_small + 1/2) - 1/2
    u, v = x0 + (factor - 1) / 2, y0 + (factor - 1) / 2
    rows = [[a * factor, b * factor, x + a * u + b * v] for a, b, x in to_chip.tolist()]
    return np.asarray(small, dtype=np.uint8), np.array(rows)


def _span(row: list[float], chip_px: int, border: int, length: int) -> tuple[int, int]:
    """First and last pixel, of ``length``, of a chip along one axis of the frame; ``row`` [3]: that
    of the axis in the transform from chip to frame."""
    ends = [row[2] + u * row[0] + v * row[1] for u in (0, chip_px) for v in (0, chip_px)]
    first = min(max(min(ends) - border, 0), length - 1)
    last = min(max(max(ends) + border, 1), length)
    return int(first), int(last)
