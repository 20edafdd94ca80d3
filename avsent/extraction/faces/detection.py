"""dlib's two face detectors on scaled copies: the whole frame, or the surroundings of one face.

The HOG detector finds upright frontal faces of 73 pixels and more and is cheap; the network
finds turned and bowed heads of 80 pixels and more and costs 6 microseconds a pixel. Which one
looks when, and how closely, is the business of :mod:`avsent.extraction.faces.detection`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import (
    Matrix,
    apply,
    box_centre,
    box_side,
    chip_matrix,
    inverse,
    warp,
)
from avsent.extraction.faces.landmarks import model_file
from avsent.extraction.faces.models import loaded
from avsent.extraction.faces.types import Box

HOG_FLOOR = -0.4
"""Lowest HOG score handed out. Faces turned half away score -0.4 to 0.3; on textures without
faces 1 frame in 30 reaches -0.3."""
HOG_MIN_PX = 64
"""The detector's window is 80 pixels wide with some border; a smaller copy holds no face."""
NEAR_FACE_PX = 88
"""Size at which a known face is looked at again: the detector's own steps are 73, 88, 105."""
NEAR_CHIP_PX = 152
"""A third cheaper than 184, and the face lies better on the detector's grid of 8 pixels: of 736
looks at known faces 694 succeed instead of 690, with a mean score of 1.85 instead of 1.60."""

NETWORK_FILE = "mmod_human_face_detector.dat"
NETWORK_FLOOR = 0.45
"""Lowest confidence of the network that counts as a face."""
NETWORK_NEAR_FLOOR = 0.25
"""The same where a face was a moment ago."""
NETWORK_PIXELS = 480 * 270
"""Size of the whole-frame copy the network sees: 0.75 s on one core."""
NETWORK_NEAR_FACE_PX = 90
NETWORK_NEAR_CHIP_PX = 160

MAX_ENLARGEMENT = 2.0
"""Copies are at most this much larger than the frame..."""
TINY_PX = 160
TINY_ENLARGEMENT = 4.0
"""...and of frames below ``TINY_PX`` this much, so that a 48-pixel portrait is seen at all."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found: its box in pixels of the frame and the detector's score.

    HOG scores run from ``HOG_FLOOR`` to about 3.5, the network's from 0.25 to 1.1. The network
    hardly ever errs (``certain``); a HOG score below about 1 wants a second look.
    """

    box: Box
    score: float
    certain: bool = False


def copy_scale(shape: tuple[int, int], long_side_px: int) -> float:
    """Scale of a copy of a frame [H, W] with ``long_side_px``, within the allowed enlargement."""
    longest = max(shape)
    limit = TINY_ENLARGEMENT if longest < TINY_PX else MAX_ENLARGEMENT
    return min(limit, long_side_px / longest)


class FaceDetector:
    """Both detectors. The network is loaded when it is first needed, if its file is there."""

    def __init__(self) -> None:
        import dlib

        self._dlib: Any = dlib
        self._hog = loaded("hog", dlib.get_frontal_face_detector)
        self._network: Any = None
        self._network_path = model_file(NETWORK_FILE)

    def whole(self, gray: NDArray[np.uint8], long_side_px: int) -> list[Detection]:
        """Faces on a copy of ``gray`` [H, W] with ``long_side_px``, best first."""
        scale = copy_scale(gray.shape, long_side_px)
        copy = _scaled(gray, scale)
        if min(copy.shape) < HOG_MIN_PX:
            return []
        rects, scores, _ = self._hog.run(copy, 0, HOG_FLOOR)
        return [
            Detection(_unscaled(rect, scale), float(score))
            for rect, score in zip(rects, scores, strict=True)
        ]

    def near(self, gray: NDArray[np.uint8], box: Box, angle: float = 0.0) -> Detection | None:
        """The face at ``box``, seen at the detector's best size and turned upright by ``angle``.

        Among several the one nearest to the middle of ``box``.
        """
        to_chip = chip_matrix(box, NEAR_FACE_PX, NEAR_CHIP_PX, angle)
        rects, scores, _ = self._hog.run(warp(gray, to_chip, NEAR_CHIP_PX), 0, HOG_FLOOR)
        found = [
            Detection(_from_chip(rect, to_chip), float(score))
            for rect, score in zip(rects, scores, strict=True)
        ]
        return _nearest(found, box)

    def network_whole(self, gray: NDArray[np.uint8]) -> list[Detection]:
        """Faces that the network sees in ``gray`` [H, W], best first."""
        pixels = max(1, gray.shape[0] * gray.shape[1])
        scale = min(copy_scale(gray.shape, max(gray.shape) * 2), math.sqrt(NETWORK_PIXELS / pixels))
        copy = _scaled(gray, scale)
        if min(copy.shape) < HOG_MIN_PX:
            return []
        return [
            Detection(_unscaled(found.rect, scale), float(found.confidence), certain=True)
            for found in self._run_network(copy, NETWORK_FLOOR)
        ]

    def network_near(self, gray: NDArray[np.uint8], box: Box) -> Detection | None:
        """Like :meth:`near`, with the network (0.15 s)."""
        to_chip = chip_matrix(box, NETWORK_NEAR_FACE_PX, NETWORK_NEAR_CHIP_PX)
        found = self._run_network(warp(gray, to_chip, NETWORK_NEAR_CHIP_PX), NETWORK_NEAR_FLOOR)
        detections = [
            Detection(_from_chip(f.rect, to_chip), float(f.confidence), certain=True) for f in found
        ]
        return _nearest(detections, box)

    def _run_network(self, copy: NDArray[np.uint8], floor: float) -> list[Any]:
        if self._network_path is None:
            return []
        if self._network is None:
            path = str(self._network_path)
            self._network = loaded(path, lambda: self._dlib.cnn_face_detection_model_v1(path))
        colour = cv2.cvtColor(copy, cv2.COLOR_GRAY2RGB)
        return [found for found in self._network(colour, 0) if found.confidence >= floor]


def _scaled(gray: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    if abs(scale - 1) < 0.02:
        return np.ascontiguousarray(gray)
    if scale < 1 / 3:
        # Area averaging by a fraction reads every pixel in floating point, 4 ms for a full HD
        # frame; averaging whole blocks first takes a tenth of it.
        gray, scale = _halved(gray, scale)
    height, width = gray.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, size, interpolation=how), dtype=np.uint8)


def _halved(gray: NDArray[np.uint8], scale: float) -> tuple[NDArray[np.uint8], float]:
    height, width = gray.shape
    if min(height, width) < 4:
        return gray, scale
    even = gray[: height // 2 * 2, : width // 2 * 2]
    half = cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, dtype=np.uint8), 2 * scale


def _unscaled(rect: Any, scale: float) -> Box:
    return (
        rect.left() / scale,
        rect.top() / scale,
        (rect.right() + 1) / scale,
        (rect.bottom() + 1) / scale,
    )


def _from_chip(rect: Any, to_chip: Matrix) -> Box:
    """A box found in a chip as an upright square of the same middle and size in the frame."""
    from_chip = inverse(to_chip)
    middle = np.array([[(rect.left() + rect.right()) / 2, (rect.top() + rect.bottom()) / 2]])
    x, y = (float(v) for v in apply(from_chip, middle)[0])
    half = rect.width() * float(np.hypot(from_chip[0, 0], from_chip[1, 0])) / 2
    return x - half, y - half, x + half, y + half


def _nearest(found: list[Detection], box: Box) -> Detection | None:
    x, y = box_centre(box)

    def distance(detection: Detection) -> float:
        other = box_centre(detection.box)
        return math.hypot(other[0] - x, other[1] - y)

    best = min(found, key=distance, default=None)
    return best if best is not None and distance(best) < box_side(box) else None


RUNGS_PX = (320, 640, 1280)
"""Long sides of the copies."""
NETWORK = 0
"""Stands for the network in the list of rungs."""

FIRST_WAIT_S = {320: 0.25, 640: 0.5, 1280: 1.0}
LONGEST_WAIT_S = {320: 0.25, 640: 2.0, 1280: 8.0}
"""While no face is there a rung that finds none waits twice as long, up to this."""
CLEAR_SCORE = 0.0
"""A weaker find does not end the climb: it may be a chance likeness, and would hide real faces."""
NETWORK_AFTER_S = 0.25
"""The network looks when a shot has been without a face for this long..."""
NETWORK_FIRST_WAIT_S = 4.0
NETWORK_WAIT_AFTER_FACE_S = 2.0
NETWORK_LONGEST_WAIT_S = 64.0
"""...and then ever more seldom, cuts or not: it costs as much as 40 tracked frames."""
WATCH_EVERY_S = {320: 1.0, 640: 1.5, 1280: 3.0}
"""While faces are followed, how often the rung that found them looks for more."""
CLOSER_FIRST_WAIT_S = 2.0
CLOSER_LONGEST_WAIT_S = 16.0
"""And how often the rung above it does."""


@dataclass(slots=True)
class _Rung:
    px: int
    next_s: float = -np.inf
    wait_s: float = 0.0


class FaceSearch:
    """Finds faces on whole frames, at the rung where they are found for the least work."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._rungs: list[_Rung] = []
        self._shape: tuple[int, int] = (0, 0)
        self._home = self._looked = 0
        self._closer = _Rung(0, np.inf, CLOSER_FIRST_WAIT_S)
        self._network = _Rung(NETWORK, -np.inf, NETWORK_FIRST_WAIT_S)
        self._empty_since_s: float | None = None

    def new_shot(self) -> None:
        """Start at the bottom again: nothing is known of the picture."""
        for rung in self._rungs:
            rung.next_s, rung.wait_s = -np.inf, FIRST_WAIT_S[rung.px]
        self._home = 0
        self._closer.next_s, self._closer.wait_s = np.inf, CLOSER_FIRST_WAIT_S
        self._empty_since_s = None

    def look(
        self, time_s: float, gray: NDArray[np.uint8], *, followed: bool, urgent: bool
    ) -> list[Detection]:
        """Faces on ``gray`` [H, W], or nothing if no rung is due.

        ``followed``: some face is being followed already. ``urgent``: one of them is out
        of sight.
        """
        if gray.shape != self._shape:
            self._set_shape(gray.shape)
        if followed:
            self._empty_since_s = None
            return self._watch(time_s, gray, urgent)
        return self._climb(time_s, gray)

    def found_new(self, time_s: float) -> None:
        """The last look brought a face not known before: stay there, more may be near."""
        self._home = self._looked
        self._closer.next_s = time_s + CLOSER_FIRST_WAIT_S
        self._closer.wait_s = CLOSER_FIRST_WAIT_S

    def _set_shape(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        scales: dict[float, int] = {}
        for px in RUNGS_PX:
            scales.setdefault(copy_scale(shape, px), px)
        self._rungs = [_Rung(px) for px in scales.values()]
        self.new_shot()

    def _climb(self, time_s: float, gray: NDArray[np.uint8]) -> list[Detection]:
        if self._empty_since_s is None:
            self._empty_since_s = time_s
            self._closer.next_s = np.inf
        weak: list[Detection] = []
        for index, rung in enumerate(self._rungs):
            if time_s < rung.next_s:
                continue
            found = self._detector.whole(gray, rung.px)
            if any(detection.score >= CLEAR_SCORE for detection in found):
                self._settle(time_s, index)
                return found
            if found and not weak:
                weak, self._looked = found, index
            rung.next_s = time_s + rung.wait_s
            rung.wait_s = min(2 * rung.wait_s, LONGEST_WAIT_S[rung.px])
        network = self._network
        if time_s < max(network.next_s, self._empty_since_s + NETWORK_AFTER_S):
            return weak
        found = self._detector.network_whole(gray)
        network.wait_s = (
            NETWORK_WAIT_AFTER_FACE_S if found else min(2 * network.wait_s, NETWORK_LONGEST_WAIT_S)
        )
        network.next_s = time_s + network.wait_s
        if found:
            self._settle(time_s, len(self._rungs) - 1)
        return found or weak

    def _watch(self, time_s: float, gray: NDArray[np.uint8], urgent: bool) -> list[Detection]:
        closer, home = self._closer, self._rungs[self._home]
        above = self._home + 1
        if above < len(self._rungs) and time_s >= closer.next_s:
            closer.wait_s = min(2 * closer.wait_s, CLOSER_LONGEST_WAIT_S)
            closer.next_s = time_s + closer.wait_s
            home.next_s = time_s + WATCH_EVERY_S[home.px]
            self._looked = above
            return self._detector.whole(gray, self._rungs[above].px)
        since_look_s = time_s - (home.next_s - WATCH_EVERY_S[home.px])
        if time_s >= home.next_s or (urgent and since_look_s >= FIRST_WAIT_S[320]):
            home.next_s = time_s + WATCH_EVERY_S[home.px]
            self._looked = self._home
            return self._detector.whole(gray, home.px)
        return []

    def _settle(self, time_s: float, index: int) -> None:
        """Stay at rung ``index``; the others start afresh when every face is gone."""
        for rung in self._rungs:
            rung.next_s, rung.wait_s = -np.inf, FIRST_WAIT_S[rung.px]
        self._looked = index
        self._rungs[index].next_s = time_s + WATCH_EVERY_S[self._rungs[index].px]
        self.found_new(time_s)
