"""When to look for faces, and how closely: a ladder of detectors from cheap to costly.

A copy of 320 pixels takes 4 ms and shows faces that fill a quarter of the frame; each rung above
shows faces half as large and costs four times as much; the last rung is the network. All times
are presentation times, so that a video gives the same faces on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.faces.detector import Detection, FaceDetector, copy_scale

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
