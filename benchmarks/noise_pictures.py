"""Damage to the picture of a face: blur, occlusion, a camera too far away.

Pictures are grey [H, W] and ``ENLARGE`` times as large as FER2013's of 48 pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.types import eye_centres
from recipes.corpora import ENLARGE

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

SKIN_POINTS = (1, 15, 29, 31, 35)
"""Jaw beside the eyes, and nose: where a still shows skin whatever the expression."""
MASK_GREY = 200
MOUTH_POINTS, NOSE_BASE, CHIN = slice(48, 60), 33, 8


def blurred(picture: Picture, points: Points, strength_px: float) -> Picture:
    """``picture`` under a Gaussian whose deviation is ``strength_px`` of a picture of 48."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), strength_px * ENLARGE), dtype=np.uint8)


def mouth_covered(picture: Picture, points: Points, *, mask: bool) -> Picture:
    """``picture`` with a box from the nose to the chin of ``points`` [68, 2]: light grey like a
    ``mask``, or in the tone of the skin like a hand."""
    left, right = eye_centres(points.astype(np.float64))
    along = (right - left) / max(float(np.linalg.norm(right - left)), 1.0)
    down = np.array([-along[1], along[0]])
    sides = points[MOUTH_POINTS] @ along
    wider = 0.35 * (sides.max() - sides.min())
    corners = [
        x * along + y * down
        for x, y in (
            (sides.min() - wider, points[NOSE_BASE] @ down),
            (sides.max() + wider, points[NOSE_BASE] @ down),
            (sides.max() + wider, points[CHIN] @ down),
            (sides.min() - wider, points[CHIN] @ down),
        )
    ]
    tone = MASK_GREY if mask else skin_tone(picture, points)
    covered = picture.copy()
    cv2.fillConvexPoly(covered, np.round(np.stack(corners)).astype(np.int32), tone)
    return covered


def eyes_covered(picture: Picture, points: Points) -> Picture:
    """``picture`` with large dark glasses before the eyes of ``points`` [68, 2]."""
    left, right = eye_centres(points.astype(np.float64))
    apart = float(np.linalg.norm(right - left))
    axes = round(0.46 * apart), round(0.36 * apart)
    tilt = float(np.degrees(np.arctan2(right[1] - left[1], right[0] - left[0])))
    covered = picture.copy()
    middles = [(round(x), round(y + 0.05 * apart)) for x, y in (left, right)]
    for middle in middles:
        cv2.ellipse(covered, middle, axes, tilt, 0, 360, 20, thickness=cv2.FILLED)
    cv2.line(covered, middles[0], middles[1], 20, thickness=max(round(0.08 * apart), 1))
    return covered


def reduced(picture: Picture, points: Points, eyes_px: float) -> Picture:
    """``picture`` as a camera would have taken it with ``eyes_px`` pixels between the eyes of
    ``points`` [68, 2], enlarged again."""
    left, right = eye_centres(points.astype(np.float64))
    scale = eyes_px / max(float(np.linalg.norm(right - left)), 1.0)
    side = max(round(len(picture) * scale), 2)
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, picture.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.uint8)


def skin_tone(picture: Picture, points: Points) -> int:
    """Median grey of ``picture`` round its landmarks ``points`` [68, 2] on bare skin."""
    at = np.clip(np.round(points[list(SKIN_POINTS)]).astype(int), 0, len(picture) - 1)
    return int(np.median(picture[at[:, 1], at[:, 0]]))
