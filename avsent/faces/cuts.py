"""Cuts: where one shot ends and the next begins, from tiny copies of the frames."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

TINY_W, TINY_H = 48, 27
SHIFT_PX = 5
"""Camera movement, in pixels of the tiny copy, that does not count as change."""
FLAT_LEVELS = 3.0
"""Standard deviation in grey levels below which a frame (black, a white flash) shows nothing."""

SUDDEN = 0.28
"""Unlikeness that is a cut when the frames before were calm..."""
SUDDEN_RISE = 6.0
"""...that is, when it is this many times that of any of the last frames."""
SUDDEN_CHANGE = 0.35
"""Mean change over contrast that it takes as well: a faint picture is noise."""
SUDDEN_SHIFTED = 0.1
"""And a pan that starts abruptly is alike at some shift."""
TOTAL = 0.6
TOTAL_SHIFTED = 0.38
TOTAL_RISE = 2.0
"""Among moving frames a cut must be unlike at every shift."""
CALM = 0.01
"""Unlikeness of frames in which nothing moves."""
MOVING = 0.1
"""Unlikeness taken for granted right after a cut, when nothing is known of the new shot."""
RECENT_FRAMES = 3


class CutDetector:
    """Frame by frame, whether a new shot has begun.

    Unlikeness is 1 minus the correlation of two frames, so a change of brightness is none. A
    flat frame is passed over: the frame after it is compared with the one before it, hence a
    flash is no cut, and the picture after a black gap is one only if it is another.
    """

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._recent: deque[float] = deque(maxlen=RECENT_FRAMES)

    def push(self, gray: NDArray[np.uint8]) -> bool:
        """Whether ``gray`` [H, W] is the first frame of another shot than the frame before."""
        tiny = _tiny(gray)
        if float(tiny.std()) < FLAT_LEVELS:
            return False
        last, self._last = self._last, tiny
        if last is None:
            return False
        unlike, change = _unlikeness(last, tiny)
        before = max([CALM, *self._recent])
        self._recent.append(unlike)
        sudden = unlike >= max(SUDDEN, SUDDEN_RISE * before) and change >= SUDDEN_CHANGE
        total = unlike >= max(TOTAL, TOTAL_RISE * before)
        shifted = _shifted_unlikeness(last, tiny) if sudden or total else 0.0
        if (sudden and shifted >= SUDDEN_SHIFTED) or (total and shifted >= TOTAL_SHIFTED):
            self._recent.clear()
            self._recent.append(MOVING)
            return True
        return False


def _tiny(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The frame averaged down to [TINY_H, TINY_W].

    Of a large frame only every n-th pixel is averaged: reading all of a full HD frame takes
    2 ms, more than following a face.
    """
    height, width = gray.shape
    sparse = gray[:: max(1, height // (4 * TINY_H)), :: max(1, width // (4 * TINY_W))]
    small = cv2.resize(np.ascontiguousarray(sparse), (TINY_W, TINY_H), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def _unlikeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float]:
    """1 - correlation (0..2), and the mean absolute change over the mean contrast."""
    a, b = a - a.mean(), b - b.mean()
    spread_a, spread_b = float(a.std()), float(b.std())
    correlation = float((a * b).mean()) / max(spread_a * spread_b, 1e-6)
    change = float(np.abs(a - b).mean()) / (0.5 * (spread_a + spread_b) + 4.0)
    return 1.0 - correlation, change


def _shifted_unlikeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """1 - correlation at the best shift of up to ``SHIFT_PX``."""
    inner = (slice(SHIFT_PX, -SHIFT_PX), slice(SHIFT_PX, -SHIFT_PX))
    best = max(
        float(cv2.matchTemplate(a, b[inner], cv2.TM_CCOEFF_NORMED).max()),
        float(cv2.matchTemplate(b, a[inner], cv2.TM_CCOEFF_NORMED).max()),
    )
    return 1.0 - best
