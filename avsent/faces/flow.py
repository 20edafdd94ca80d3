"""How a face moved between two frames: pyramidal Lucas-Kanade flow of its landmarks.

The flow runs on small chips of fixed face size cut at the same place from both frames, so that
its cost and its reach (about half a face) are the same for small and large faces.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.faces.geometry import (
    Matrix,
    apply,
    box_of_landmarks,
    chip_matrix,
    fit_similarity,
    inverse,
    warp,
)

FLOW_FACE_PX = 64
FLOW_CHIP_PX = 144
FLOW_POINTS = slice(17, 60)
"""Brows, nose, eyes, outer lips. The jaw line slides over the background, inner lips vanish."""
WINDOW_PX = 15
PYRAMID_LEVELS = 2
MAX_RETURN_PX = 1.2
"""A point followed there and back must arrive within this distance of where it started."""
MIN_FOLLOWED = 0.5
"""Share of points that must return; with fewer the face counts as lost."""
MAX_STEP_SCALE = 1.35
"""A face does not grow or shrink faster than this between two analysed frames."""


def face_motion(
    before: NDArray[np.uint8], now: NDArray[np.uint8], landmarks: NDArray[np.float32]
) -> Matrix | None:
    """The similarity [2, 3] that carries the face from ``before`` to ``now`` (both [H, W]).

    ``landmarks`` [68, 2] are those in ``before``. None when the face cannot be followed.
    """
    to_chip = chip_matrix(box_of_landmarks(landmarks), FLOW_FACE_PX, FLOW_CHIP_PX)
    a, b = warp(before, to_chip, FLOW_CHIP_PX), warp(now, to_chip, FLOW_CHIP_PX)
    start = apply(to_chip, landmarks[FLOW_POINTS])
    ends, ok_there = _flow(a, b, start)
    back, ok_back = _flow(b, a, ends)
    good = ok_there & ok_back & (np.linalg.norm(back - start, axis=1) <= MAX_RETURN_PX)
    if good.mean() < MIN_FOLLOWED:
        return None
    start, ends = start[good], ends[good]
    motion = fit_similarity(start, ends)
    # Once more without the points that moved otherwise than the head: speaking lips, blinks.
    apart = np.linalg.norm(apply(motion, start) - ends, axis=1)
    rigid = apart <= max(1.0, 1.5 * float(np.median(apart)))
    motion = fit_similarity(start[rigid], ends[rigid])
    scale = float(np.hypot(motion[0, 0], motion[1, 0]))
    if not 1 / MAX_STEP_SCALE <= scale <= MAX_STEP_SCALE:
        return None
    return _chain(to_chip, motion, inverse(to_chip))


def _flow(
    a: NDArray[np.uint8], b: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    ends, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        a, b, points[:, None, :], None, winSize=(WINDOW_PX, WINDOW_PX), maxLevel=PYRAMID_LEVELS
    )
    return ends[:, 0, :], found[:, 0].astype(bool)


def _chain(*matrices: Matrix) -> Matrix:
    """The transforms [2, 3] one after the other."""
    whole = np.eye(3)
    for matrix in matrices:
        whole = np.vstack([matrix, [0.0, 0.0, 1.0]]) @ whole
    return whole[:2]
