"""Faces through a video: found, followed, numbered, and let go when they leave."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.faces.cuts import CutDetector
from avsent.faces.detector import Detection, FaceDetector
from avsent.faces.geometry import box_centre, box_side, overlap, same_place
from avsent.faces.landmarks import LandmarkPredictor
from avsent.faces.search import FaceSearch
from avsent.faces.track import Track
from avsent.faces.types import FaceObservation

MAX_FACES = 8
"""Faces followed at once; the largest when there are more."""
CERTAIN_SCORE = 0.7
"""Two looks at a new face (whole frame, and close up) must score this together..."""
CONFIRMATIONS = 3
CONFIRMED_SCORE = 0.3
"""...or it is reported only after this many looks with this score together."""
REPLACES = 1.5
"""Times the size of the smallest face at which a new one takes its place in a crowd."""
SAME_SIZE = 1.6
MIN_FRAME_PX = 24


@dataclass(frozen=True, slots=True)
class TrackSummary:
    """One person's face over time: ``frames`` analysed frames between ``start_s`` and ``end_s``."""

    track: int
    start_s: float
    end_s: float
    frames: int


class FaceTracker:
    """Push frames in order of time, get the faces in each.

    A track is one person within one shot: a cut ends it, and so does an absence of more than a
    second. Results depend on the frames and their presentation times alone.

    Raises:
        InputError: there is no usable landmark model (on construction).
    """

    def __init__(self, landmarks_path: Path | None = None) -> None:
        self._predictor = LandmarkPredictor(landmarks_path)
        self._detector = FaceDetector()
        self._search = FaceSearch(self._detector)
        self._cuts = CutDetector()
        self._shape: tuple[int, ...] | None = None
        self._live: list[Track] = []
        self._summaries: dict[int, TrackSummary] = {}

    @property
    def tracks(self) -> list[TrackSummary]:
        """All faces reported so far, in order of appearance."""
        return list(self._summaries.values())

    @property
    def live(self) -> frozenset[int]:
        """Tracks of which more may be seen; the others have ended."""
        return frozenset(track.number for track in self._live if track.number)

    def push(self, time_s: float, gray: NDArray[np.uint8]) -> list[FaceObservation]:
        """The faces in the frame ``gray`` [H, W] shown at ``time_s``, by track number."""
        if min(gray.shape) < MIN_FRAME_PX:
            return []
        if self._cuts.push(gray) or self._shape != gray.shape:
            self._live.clear()
            self._search.new_shot()
        else:
            for track in self._live:
                track.follow(time_s, gray)
        self._shape = gray.shape
        lost = any(not track.visible for track in self._live)
        self._live = [track for track in self._live if not track.gone(time_s)]
        followed = any(track.number for track in self._live)
        found = self._search.look(time_s, gray, followed=followed, urgent=lost)
        self._place(time_s, gray, found)
        self._drop_doubles()
        return self._report(time_s)

    def _place(self, time_s: float, gray: NDArray[np.uint8], found: list[Detection]) -> None:
        """Give each detection to the track whose face it shows, or begin a new track."""
        for detection in sorted(found, key=lambda d: -box_side(d.box)):
            known = [t for t in self._live if t.visible and same_place(t.box, detection.box)]
            if known:
                best = max(known, key=lambda t: overlap(t.box, detection.box))
                if best.confirmed_s != time_s:
                    best.confirm(time_s, detection)
                continue
            hidden = [t for t in self._live if not t.visible and _may_be(t, detection)]
            if any(t.start(time_s, gray, detection) for t in hidden[:1]):
                continue
            self._begin(time_s, gray, detection)

    def _begin(self, time_s: float, gray: NDArray[np.uint8], found: Detection) -> None:
        if len(self._live) >= MAX_FACES:
            smallest = min(self._live, key=lambda t: box_side(t.box))
            if box_side(found.box) < REPLACES * box_side(smallest.box):
                return
            self._live.remove(smallest)
        track = Track(self._predictor, self._detector)
        if not track.start(time_s, gray, found):
            return
        # The same face in a copy of its own: a chance likeness seldom survives other pixels.
        again = self._detector.near(gray, track.box)
        if again is not None and same_place(again.box, track.box):
            track.confirm(time_s, again)
        self._live.append(track)
        self._search.found_new(time_s)

    def _drop_doubles(self) -> None:
        """Of two tracks on one face the older stays."""
        kept: list[Track] = []
        for track in sorted(self._live, key=lambda t: (t.number == 0, t.number)):
            if not (
                track.visible and any(k.visible and same_place(k.box, track.box) for k in kept)
            ):
                kept.append(track)
        self._live = kept

    def _report(self, time_s: float) -> list[FaceObservation]:
        reported: list[FaceObservation] = []
        for track in self._live:
            if not track.visible or track.end_s != time_s:
                continue
            if track.number == 0:
                if not _counts(track):
                    continue
                track.number = len(self._summaries) + 1
                track.start_s = time_s
            track.frames += 1
            self._summaries[track.number] = TrackSummary(
                track.number, track.start_s, time_s, track.frames
            )
            reported.append(
                FaceObservation(track.number, time_s, track.box, track.smoothed, track.crop)
            )
        return sorted(reported, key=lambda o: o.track)


def _counts(track: Track) -> bool:
    """Whether a face is certain enough to be reported."""
    if track.certain or (track.confirmations >= 2 and track.score >= CERTAIN_SCORE):
        return True
    return track.confirmations >= CONFIRMATIONS and track.score >= CONFIRMED_SCORE


def _may_be(track: Track, found: Detection) -> bool:
    """Whether ``found`` can be the face that ``track`` has lost: about its size, and near it."""
    a, b = box_side(track.box), box_side(found.box)
    if max(a, b) > SAME_SIZE * min(a, b):
        return False
    x, y = box_centre(track.box)
    u, v = box_centre(found.box)
    return bool(np.hypot(u - x, v - y) < a)
