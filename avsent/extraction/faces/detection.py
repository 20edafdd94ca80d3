"""Face detection with dlib's two detectors, and when to run which on which copy of a frame.

The HOG detector finds upright frontal faces of 73 pixels and more and is cheap; the network
finds turned and bowed heads of 80 pixels and more and costs 6 microseconds a pixel. Both run on
scaled copies: of the whole frame, or of the surroundings of one face.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from avsent.extraction.faces import geometry
from avsent.extraction.faces.geometry import Box, Gray, Matrix
from avsent.extraction.faces.landmarks import load_once, model_file

HOG_FLOOR = -0.4
"""Lowest HOG score reported. Faces turned half away score -0.4 to 0.3; on textures without faces
1 frame in 30 reaches -0.3."""
HOG_MIN_PX = 64  # least size of a copy: the detector's window is 80 pixels with some border
NEAR_FACE_PX = 88  # width of a known face in its chip: the detector's own scales are 73, 88, 105
NEAR_CHIP_PX = 152
"""A third cheaper than 184, and the face lies better on the detector's grid of 8 pixels: of 736
known faces it finds 694 instead of 690, with a mean score of 1.85 instead of 1.60."""

NETWORK_FILE = "mmod_human_face_detector.dat"
NETWORK_FLOOR = 0.45  # lowest confidence of the network that counts as a face
NETWORK_NEAR_FLOOR = 0.25  # the same where a face was a moment ago
NETWORK_PIXELS = 480 * 270  # size of the network's copy of the whole frame: 0.75 s on one core
NETWORK_NEAR_FACE_PX = 90
NETWORK_NEAR_CHIP_PX = 160

MAX_ENLARGEMENT = 2.0  # copies are at most this much larger than the frame
TINY_PX, TINY_ENLARGEMENT = 160, 4.0  # of smaller frames, to find even a 48-pixel portrait

SIDES_PX = (320, 640, 1280)  # long sides of the copies of the whole frame, in the order of search
FINER_PX, FINER_LINES, FINER_AFTER_S = 2560, 1080, 2.0
"""One more size, of frames with so many lines and without a face for so long: it finds the tiles of
a video call, and takes 0.2 s."""
HOG_FACE_PX = 73  # the smallest face that HOG finds
FIRST_WAIT_S = {320: 0.25, 640: 0.5, 1280: 1.0, FINER_PX: 4.0}
# Without a face, a size that finds none waits twice as long each time, up to this.
LONGEST_WAIT_S = {320: 0.25, 640: 2.0, 1280: 8.0, FINER_PX: 64.0}
LIKELY_SCORE = 0.0  # a weaker detection may be by chance: larger copies are searched, too
NETWORK_AFTER_S = 0.25  # the network runs when a shot has had no face for this long …
# … and then ever more rarely, across cuts: it costs as much as 40 tracked frames.
NETWORK_FIRST_WAIT_S, NETWORK_WAIT_AFTER_FACE_S, NETWORK_LONGEST_WAIT_S = 4.0, 2.0, 64.0
# While faces are tracked, how often the size that found them searches for more …
WATCH_EVERY_S = {320: 1.0, 640: 1.5, 1280: 3.0, FINER_PX: 6.0}
CLOSER_FIRST_WAIT_S, CLOSER_LONGEST_WAIT_S = 2.0, 16.0  # … and the next larger one


@dataclass(frozen=True, slots=True)
class Detection:
    """A face found: its box in pixels of the frame and the detector's score.

    HOG scores range from ``HOG_FLOOR`` to about 3.5, the network's from 0.25 to 1.1. The network
    is hardly ever wrong (``certain``); a HOG score below about 1 needs confirmation: see
    ``CERTAIN_SCORE`` and ``CONFIRMED_SCORE`` in :mod:`avsent.extraction.faces.tracking`.
    """

    box: Box
    score: float
    certain: bool = False


def copy_scale(shape: tuple[int, int], long_side_px: int) -> float:
    """Scale of a copy of a frame [H, W] with ``long_side_px``, within the allowed enlargement."""
    longest = max(shape)
    limit = TINY_ENLARGEMENT if longest < TINY_PX else MAX_ENLARGEMENT
    return min(limit, long_side_px / longest)


_Found = Iterable[tuple[Any, float]]  # dlib's rectangles and their scores


class FaceDetector:
    """Both detectors. The network is loaded when it is first needed, if its file is there."""

    def __init__(self) -> None:
        import dlib

        self._dlib: Any = dlib
        self._hog = load_once("hog", dlib.get_frontal_face_detector)
        self._network: Any = None
        self._network_path = model_file(NETWORK_FILE)

    def whole(self, gray: Gray, long_side_px: int) -> list[Detection]:
        """Faces that HOG finds on a copy of ``gray`` [H, W] with ``long_side_px``, best first."""
        return _find_on_copy(self._run_hog, gray, copy_scale(gray.shape, long_side_px))

    def near(self, gray: Gray, box: Box, angle: float = 0.0) -> Detection | None:
        """The face at ``box``, scaled to HOG's best size and turned upright by ``angle``.

        Among several, the one nearest to the middle of ``box``.
        """
        to_chip = geometry.chip_matrix(box, NEAR_FACE_PX, NEAR_CHIP_PX, angle)
        return _nearest(self._run_hog(geometry.warp(gray, to_chip, NEAR_CHIP_PX)), to_chip, box)

    def network_whole(self, gray: Gray) -> list[Detection]:
        """Faces that the network finds in ``gray`` [H, W], best first."""
        pixels = max(1, gray.shape[0] * gray.shape[1])
        scale = min(copy_scale(gray.shape, max(gray.shape) * 2), math.sqrt(NETWORK_PIXELS / pixels))
        found = _find_on_copy(lambda copy: self._run_network(copy, NETWORK_FLOOR), gray, scale)
        return [replace(detection, certain=True) for detection in found]

    def network_near(self, gray: Gray, box: Box) -> Detection | None:
        """Like :meth:`near`, with the network (0.15 s)."""
        to_chip = geometry.chip_matrix(box, NETWORK_NEAR_FACE_PX, NETWORK_NEAR_CHIP_PX)
        chip = geometry.warp(gray, to_chip, NETWORK_NEAR_CHIP_PX)
        found = _nearest(self._run_network(chip, NETWORK_NEAR_FLOOR), to_chip, box)
        return None if found is None else replace(found, certain=True)

    def _run_hog(self, copy: Gray) -> _Found:
        rects, scores, _ = self._hog.run(copy, 0, HOG_FLOOR)
        return zip(rects, map(float, scores), strict=True)

    def _run_network(self, copy: Gray, floor: float) -> _Found:
        if self._network_path is None:
            return []
        if self._network is None:
            path = str(self._network_path)
            self._network = load_once(path, lambda: self._dlib.cnn_face_detection_model_v1(path))
        colour = cv2.cvtColor(copy, cv2.COLOR_GRAY2RGB)
        found = [(one.rect, float(one.confidence)) for one in self._network(colour, 0)]
        return [(rect, score) for rect, score in found if score >= floor]


def _find_on_copy(run: Callable[[Gray], _Found], gray: Gray, scale: float) -> list[Detection]:
    copy = _scaled(gray, scale)
    if min(copy.shape) < HOG_MIN_PX:
        return []
    return [
        Detection(
            (r.left() / scale, r.top() / scale, (r.right() + 1) / scale, (r.bottom() + 1) / scale),
            score,
        )
        for r, score in run(copy)
    ]


def _scaled(gray: Gray, scale: float) -> Gray:
    if abs(scale - 1) < 0.02:
        return np.ascontiguousarray(gray)
    height, width = gray.shape
    if scale < 1 / 3 and min(height, width) >= 4:
        # Area averaging by a fraction reads every pixel in floating point, 4 ms for a full HD
        # frame; averaging blocks of 2x2 pixels first takes a tenth of that.
        gray, scale = gray[: height // 2 * 2, : width // 2 * 2], 2 * scale
        height, width = height // 2, width // 2
        gray = np.asarray(cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, size, interpolation=how), dtype=np.uint8)


def _from_chip(rect: Any, to_chip: Matrix) -> Box:
    """A box found in a chip, as an upright square with the same middle and size in the frame."""
    from_chip = geometry.inverse(to_chip)
    middle = np.array([[(rect.left() + rect.right()) / 2, (rect.top() + rect.bottom()) / 2]])
    x, y = (float(v) for v in geometry.apply(from_chip, middle)[0])
    half = rect.width() * float(np.hypot(from_chip[0, 0], from_chip[1, 0])) / 2
    return x - half, y - half, x + half, y + half


def _nearest(found: _Found, to_chip: Matrix, box: Box) -> Detection | None:
    """Of what was found in a chip, the one nearest to the middle of ``box``."""
    x, y = geometry.box_centre(box)

    def distance(detection: Detection) -> float:
        other = geometry.box_centre(detection.box)
        return math.hypot(other[0] - x, other[1] - y)

    detections = [Detection(_from_chip(rect, to_chip), score) for rect, score in found]
    best = min(detections, key=distance, default=None)
    return best if best is not None and distance(best) < geometry.box_side(box) else None


@dataclass(slots=True)
class _Search:
    """When to search next, with copies of ``px``, and how long to wait after that."""

    px: int
    next_s: float = -np.inf
    wait_s: float = 0.0


class FaceSearch:
    """Searches whole frames for faces, at the smallest size that finds them."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._sizes: list[_Search] = []
        self._shape: tuple[int, int] = (0, 0)
        self._home = self._searched = self._usual = 0
        self.smallest_px = 0  # width of the smallest faces found in such frames; 0 before the first
        self._closer = _Search(0, np.inf, CLOSER_FIRST_WAIT_S)
        self._network = _Search(0, -np.inf, NETWORK_FIRST_WAIT_S)
        self._empty_since_s: float | None = None

    def new_shot(self) -> None:
        """Start again at the smallest size."""
        self._reset_sizes()
        self._home = 0
        self._closer.next_s, self._closer.wait_s = np.inf, CLOSER_FIRST_WAIT_S
        self._empty_since_s = None

    def search(self, time_s: float, gray: Gray, *, followed: bool, urgent: bool) -> list[Detection]:
        """Faces on ``gray`` [H, W]; none if no search is due.

        ``followed``: a face is tracked already. ``urgent``: one of them is out of sight.
        """
        if gray.shape != self._shape:
            self._new_shape(gray.shape)
        if followed:
            self._empty_since_s = None
            return self._watch(time_s, gray, urgent)
        return self._climb(time_s, gray)

    def found_new(self, time_s: float) -> None:
        """The last search found a new face: stay at its size, there may be more."""
        self._home = self._searched
        self._closer.next_s = time_s + CLOSER_FIRST_WAIT_S
        self._closer.wait_s = CLOSER_FIRST_WAIT_S

    def _new_shape(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        scales: dict[float, int] = {}
        for px in SIDES_PX:
            scales.setdefault(copy_scale(shape, px), px)
        self._sizes = [_Search(px) for px in scales.values()]
        self._usual = len(self._sizes)
        if min(shape) >= FINER_LINES:
            self._sizes.append(_Search(FINER_PX))
        self.smallest_px = math.ceil(HOG_FACE_PX / copy_scale(shape, self._sizes[-1].px))
        self.new_shot()

    def _climb(self, time_s: float, gray: Gray) -> list[Detection]:
        if self._empty_since_s is None:
            self._empty_since_s = time_s
            self._closer.next_s = np.inf
        weak: list[Detection] = []
        for index, size in enumerate(self._sizes):
            finer = index >= self._usual
            if time_s < max(size.next_s, self._empty_since_s + FINER_AFTER_S * finer):
                continue
            found = self._detector.whole(gray, size.px)
            if any(detection.score >= LIKELY_SCORE for detection in found):
                self._settle(time_s, index)
                return found
            if found and not weak:
                weak, self._searched = found, index
            size.next_s = time_s + size.wait_s
            size.wait_s = min(2 * size.wait_s, LONGEST_WAIT_S[size.px])
        network = self._network
        if time_s < max(network.next_s, self._empty_since_s + NETWORK_AFTER_S):
            return weak
        found = self._detector.network_whole(gray)
        network.wait_s = (
            NETWORK_WAIT_AFTER_FACE_S if found else min(2 * network.wait_s, NETWORK_LONGEST_WAIT_S)
        )
        network.next_s = time_s + network.wait_s
        if found:
            self._settle(time_s, self._usual - 1)
        return found or weak

    def _watch(self, time_s: float, gray: Gray, urgent: bool) -> list[Detection]:
        closer, home = self._closer, self._sizes[self._home]
        above = self._home + 1
        if above < self._usual and time_s >= closer.next_s:
            closer.wait_s = min(2 * closer.wait_s, CLOSER_LONGEST_WAIT_S)
            closer.next_s = time_s + closer.wait_s
            home.next_s = time_s + WATCH_EVERY_S[home.px]
            self._searched = above
            return self._detector.whole(gray, self._sizes[above].px)
        since_search_s = time_s - (home.next_s - WATCH_EVERY_S[home.px])
        if time_s >= home.next_s or (urgent and since_search_s >= FIRST_WAIT_S[320]):
            home.next_s = time_s + WATCH_EVERY_S[home.px]
            self._searched = self._home
            return self._detector.whole(gray, home.px)
        return []

    def _settle(self, time_s: float, index: int) -> None:
        """Stay at size ``index``; reset the others for when every face is gone."""
        self._reset_sizes()
        self._searched = index
        self._sizes[index].next_s = time_s + WATCH_EVERY_S[self._sizes[index].px]
        self.found_new(time_s)

    def _reset_sizes(self) -> None:
        for size in self._sizes:
            size.next_s, size.wait_s = -np.inf, FIRST_WAIT_S[size.px]
