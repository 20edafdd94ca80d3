"""Detection of cuts between shots, from tiny copies of the frames."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

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

    def push(self, gray: NDArray[np.uint8]) -> bool:
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


def _tiny(gray: NDArray[np.uint8]) -> _Tiny:
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
    best = max(
        float(cv2.matchTemplate(a, b[inner], cv2.TM_CCOEFF_NORMED).max()),
        float(cv2.matchTemplate(b, a[inner], cv2.TM_CCOEFF_NORMED).max()),
    )
    return 1.0 - best
