"""What changes from frame to frame: cuts between shots, and the movement of a face."""

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces import geometry
from avsent.extraction.faces.geometry import Box, Complex, Gray, Matrix

TINY_W, TINY_H = 48, 27
SAMPLED = 4  # pixels of the frame read for each pixel of the tiny copy, across and down
SHIFT_PX = 5  # camera movement, in pixels of the tiny copy, that is no change
FLAT_LEVELS = 3.0
"""Standard deviation in grey levels below which a frame is flat (black, a white flash)."""

# A cut after calm frames: all of these hold.
SUDDEN = 0.28  # dissimilarity
SUDDEN_RISE = 6.0  # times the highest dissimilarity of the last frames
SUDDEN_CHANGE = 0.35  # mean change over contrast: a faint picture is noise
SUDDEN_SHIFTED = 0.1  # dissimilarity at the best shift: an abrupt pan is similar at some shift
# The same after moving frames
TOTAL, TOTAL_SHIFTED, TOTAL_RISE = 0.6, 0.38, 2.0
CALM = 0.01  # least dissimilarity assumed of the last frames
MOVING = 0.1  # dissimilarity assumed right after a cut, when the new shot is unknown
RECENT_FRAMES = 3


@dataclass(frozen=True, slots=True)
class _Tiny:
    """A tiny copy [TINY_H, TINY_W] less its mean, and its standard deviation."""

    levels: NDArray[np.float32]
    spread: float


class CutDetector:
    """Tells for each frame whether a new shot begins with it.

    Dissimilarity is 1 minus the correlation of two frames, so a change of brightness is none.
    Flat frames are skipped: the frame after them is compared with the one before, so a flash is
    no cut, and a black gap is one only if another picture follows.
    """

    def __init__(self) -> None:
        self._last: _Tiny | None = None
        self._recent: deque[float] = deque(maxlen=RECENT_FRAMES)

    def push(self, gray: Gray) -> bool:
        """Whether ``gray`` [H, W] is the first frame of a new shot."""
        tiny = _tiny(gray)
        if tiny.spread < FLAT_LEVELS:
            return False
        last, self._last = self._last, tiny
        if last is None:
            return False
        difference, change = _dissimilarity(last, tiny)
        before = max([CALM, *self._recent])
        self._recent.append(difference)
        sudden = difference >= max(SUDDEN, SUDDEN_RISE * before) and change >= SUDDEN_CHANGE
        total = difference >= max(TOTAL, TOTAL_RISE * before)
        shifted = _shifted_dissimilarity(last.levels, tiny.levels) if sudden or total else 0.0
        if (sudden and shifted >= SUDDEN_SHIFTED) or (total and shifted >= TOTAL_SHIFTED):
            self._recent.clear()
            self._recent.append(MOVING)
            return True
        return False


def _tiny(gray: Gray) -> _Tiny:
    """The frame sampled and averaged: reading all of a full HD frame would take 2 ms, more than
    tracking a face."""
    sparse = cv2.resize(gray, (SAMPLED * TINY_W, SAMPLED * TINY_H), interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(sparse, (TINY_W, TINY_H), interpolation=cv2.INTER_AREA).astype(np.float32)
    levels = small - small.mean()
    return _Tiny(levels, math.sqrt(float(np.vdot(levels, levels)) / levels.size))


def _dissimilarity(a: _Tiny, b: _Tiny) -> tuple[float, float]:
    """1 - correlation (0..2), and the mean absolute change over the mean contrast."""
    size = a.levels.size
    correlation = float(np.vdot(a.levels, b.levels)) / size / max(a.spread * b.spread, 1e-6)
    apart = cv2.norm(a.levels, b.levels, cv2.NORM_L1) / size
    return 1.0 - correlation, apart / (0.5 * (a.spread + b.spread) + 4.0)


def _shifted_dissimilarity(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """1 - correlation at the best shift of up to ``SHIFT_PX``."""
    inner = (slice(SHIFT_PX, -SHIFT_PX), slice(SHIFT_PX, -SHIFT_PX))
    found = (cv2.matchTemplate(x, y[inner], cv2.TM_CCOEFF_NORMED) for x, y in ((a, b), (b, a)))
    return 1.0 - max(float(correlations.max()) for correlations in found)


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
        self._before: Gray | None = None
        self._now: Gray | None = None
        self._scale, self._shift = 1.0, 0j  # from the frame to the chips

    def motion(self, gray: Gray, landmarks: NDArray[np.float32]) -> Matrix | None:
        """The similarity [2, 3] that carries the face from the frame kept to ``gray`` [H, W].

        ``landmarks`` [68, 2] are those in the frame kept. None when the face cannot be followed.
        """
        if self._before is None:
            return None
        scale, shift = self._scale, self._shift
        self._now = geometry.warp(gray, geometry.matrix_of(complex(scale), shift), FLOW_CHIP_PX)
        start = scale * geometry.as_complex(landmarks[FLOW_POINTS]) + shift
        ends, ok_there = _flow(self._before, self._now, start)
        back, ok_back = _flow(self._now, self._before, ends)
        good = ok_there & ok_back & (np.abs(back - start) <= MAX_RETURN_PX)
        if np.count_nonzero(good) < MIN_FOLLOWED * len(good):
            return None
        start, ends = start[good], ends[good]
        turn, moved = geometry.fit_similarity(start, ends)
        # Again without the points that moved differently from the head: speaking lips, blinks.
        apart = np.abs(turn * start + moved - ends)
        rigid = apart <= max(1.0, 1.5 * float(np.sort(apart)[len(apart) // 2]))
        turn, moved = geometry.fit_similarity(start[rigid], ends[rigid])
        if not 1 / MAX_STEP_SCALE <= abs(turn) <= MAX_STEP_SCALE:
            return None
        return geometry.matrix_of(turn, (turn * shift + moved - shift) / scale)

    def keep(self, gray: Gray, box: Box) -> None:
        """Keep ``gray`` [H, W], last given to :meth:`motion`, in which the face is at ``box``."""
        self._before, self._now = self._now, None
        if self._before is None or not self._in_the_middle(box):
            to_chip = geometry.chip_matrix(box, FLOW_FACE_PX, FLOW_CHIP_PX)
            self._scale, self._shift = float(to_chip[0, 0]), complex(*to_chip[:, 2])
            self._before = geometry.warp(gray, to_chip, FLOW_CHIP_PX)

    def forget(self) -> None:
        """The face is out of sight."""
        self._before = self._now = None

    def _in_the_middle(self, box: Box) -> bool:
        off = self._scale * complex(*geometry.box_centre(box)) + self._shift
        middle = (FLOW_CHIP_PX - 1) / 2
        size = self._scale * geometry.box_side(box) / FLOW_FACE_PX
        centred = abs(off - complex(middle, middle)) <= MAX_OFF_PX
        return centred and 1 / MAX_OFF_SCALE <= size <= MAX_OFF_SCALE


def _flow(a: Gray, b: Gray, points: Complex) -> tuple[Complex, NDArray[np.bool_]]:
    """Where ``points`` [N] (x + iy) of chip ``a`` are in chip ``b``, and whether they are found."""
    ends, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        a,
        b,
        points.astype(np.complex64).view(np.float32).reshape(-1, 1, 2),
        None,
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=PYRAMID_LEVELS,
    )
    return geometry.as_complex(ends[:, 0, :]), found[:, 0].astype(bool)
