"""Movement of a face between two frames: pyramidal Lucas-Kanade flow of its landmarks.

The flow runs on small chips of fixed face size, cut at the same place from both frames, so that
its cost and range (about half a face) are the same for small and large faces. A chip is reused for
the next frame while the face stays near its middle.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import (
    Matrix,
    as_complex,
    box_centre,
    box_side,
    chip_matrix,
    fit_similarity,
    matrix_of,
    warp,
)
from avsent.extraction.faces.types import Box

FLOW_FACE_PX = 64
FLOW_CHIP_PX = 144
FLOW_POINTS = slice(17, 60, 2)
"""Every other point of brows, nose, eyes and outer lips. The jaw line slides over the background,
and inner lips vanish."""
WINDOW_PX = 12
PYRAMID_LEVELS = 2
MAX_RETURN_PX = 1.2  # a point followed forth and back must return to within this distance
MIN_FOLLOWED = 0.5  # share of points that must return; with fewer the face is lost
MAX_STEP_SCALE = 1.35  # largest growth or shrinkage of a face between two analysed frames
MAX_OFF_PX = 5.0  # a new chip is cut when the face is this far from the middle …
MAX_OFF_SCALE = 1.08  # … or this much larger or smaller


class FaceFlow:
    """Follows one face: :meth:`motion` at each new frame, then :meth:`keep` with the face's box.

    Only a chip is kept, so the caller may decode the next frame into the same memory.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._now: NDArray[np.uint8] | None = None
        self._scale, self._shift = 1.0, 0j  # from the frame to the chips

    def motion(self, gray: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> Matrix | None:
        """The similarity [2, 3] that carries the face from the frame kept to ``gray`` [H, W].

        ``landmarks`` [68, 2] are those in the frame kept. None when the face cannot be followed.
        """
        if self._before is None:
            return None
        scale, shift = self._scale, self._shift
        self._now = warp(gray, matrix_of(complex(scale), shift), FLOW_CHIP_PX)
        start = scale * as_complex(landmarks[FLOW_POINTS]) + shift
        ends, ok_there = _flow(self._before, self._now, start)
        back, ok_back = _flow(self._now, self._before, ends)
        good = ok_there & ok_back & (np.abs(back - start) <= MAX_RETURN_PX)
        if np.count_nonzero(good) < MIN_FOLLOWED * len(good):
            return None
        start, ends = start[good], ends[good]
        turn, moved = fit_similarity(start, ends)
        # Again without the points that moved differently from the head: speaking lips, blinks.
        apart = np.abs(turn * start + moved - ends)
        rigid = apart <= max(1.0, 1.5 * float(np.sort(apart)[len(apart) // 2]))
        turn, moved = fit_similarity(start[rigid], ends[rigid])
        if not 1 / MAX_STEP_SCALE <= abs(turn) <= MAX_STEP_SCALE:
            return None
        return matrix_of(turn, (turn * shift + moved - shift) / scale)

    def keep(self, gray: NDArray[np.uint8], box: Box) -> None:
        """Keep ``gray`` [H, W], last given to :meth:`motion`, in which the face is at ``box``."""
        self._before, self._now = self._now, None
        if self._before is None or not self._in_the_middle(box):
            to_chip = chip_matrix(box, FLOW_FACE_PX, FLOW_CHIP_PX)
            self._scale, self._shift = float(to_chip[0, 0]), complex(*to_chip[:, 2])
            self._before = warp(gray, to_chip, FLOW_CHIP_PX)

    def forget(self) -> None:
        """The face is out of sight."""
        self._before = self._now = None

    def _in_the_middle(self, box: Box) -> bool:
        off = self._scale * complex(*box_centre(box)) + self._shift
        middle = (FLOW_CHIP_PX - 1) / 2
        size = self._scale * box_side(box) / FLOW_FACE_PX
        return (
            abs(off - complex(middle, middle)) <= MAX_OFF_PX
            and 1 / MAX_OFF_SCALE <= size <= MAX_OFF_SCALE
        )


def _flow(
    a: NDArray[np.uint8], b: NDArray[np.uint8], points: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Where ``points`` [N] (x + iy) of chip ``a`` are in chip ``b``, and whether they are found."""
    ends, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        a,
        b,
        points.astype(np.complex64).view(np.float32).reshape(-1, 1, 2),
        None,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=PYRAMID_LEVELS,
    )
    return as_complex(ends[:, 0, :]), found[:, 0].astype(bool)
