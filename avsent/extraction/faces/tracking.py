"""One person's face over time: followed from frame to frame and checked by the detectors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.detection import Detection, FaceDetector, FaceSearch
from avsent.extraction.faces.geometry import (
    apply,
    as_complex,
    box_centre,
    box_of_landmarks,
    box_side,
    overlap,
    roll,
    same_place,
)
from avsent.extraction.faces.landmarks import LandmarkPredictor, LandmarkSmoother, align_crop
from avsent.extraction.faces.optical_flow import FaceFlow
from avsent.extraction.faces.shots import CutDetector
from avsent.extraction.faces.types import Box, FaceObservation, eye_axis

CHECK_EVERY_S = 0.28
"""A face being followed is looked at by the detector this often: every third frame at 10 Hz."""
CLEAR_SCORE = 1.0
CLEAR_CHECK_EVERY_S = 0.48
"""One that the HOG detector saw clearly at the last look is looked at this often."""
HIDDEN_S = 1.0
"""A face that no detector has confirmed for longer is gone."""
NETWORK_CHECK_AFTER_S = 0.6
"""A face that the network has found, unconfirmed for this long, is shown to it again..."""
NETWORK_CHECK_EVERY_S = 1.0
"""...at most this often. A face that only the network sees is confirmed for as long."""

MIN_LIKENESS = 0.6
"""Correlation of the aligned crop with that of the last confirmed frame, to be still reported."""
MIN_LIKENESS_BOWED = 0.4
"""The same for faces that only the network sees, whose landmarks are restless."""
MAX_DISAGREEMENT = 0.25
"""Mean distance in eye distances between landmarks as moved by the flow and as predicted."""
MIN_BOX_OVERLAP = 0.45
"""Of the detector's box with that of the landmarks, to confirm these."""
EYES_PER_BOX = (0.12, 0.62)
"""Eye distance over box side: between a head turned away and nonsense."""
MAX_ROLL = 1.2
"""Roll in radians beyond which landmarks are taken for nonsense."""
MIN_FACE_PX = 16.0


class FaceTrack:
    """A face being followed. ``number`` is 0 until the face is reported for the first time."""

    def __init__(self, predictor: LandmarkPredictor, detector: FaceDetector) -> None:
        self._predictor, self._detector = predictor, detector
        self._smoother, self._flow = LandmarkSmoother(), FaceFlow()
        self._confirmed_crop: NDArray[np.float32] | None = None
        self._checked_s = self._network_s = -np.inf
        self._check_every_s = CHECK_EVERY_S
        self.number = 0
        self.start_s = self.end_s = 0.0
        self.frames = 0
        self.confirmed_s = -np.inf
        self.confirmations = 0
        self.score = 0.0
        self.certain = False
        self.visible = False
        self.box: Box = (0.0, 0.0, 0.0, 0.0)
        self.landmarks: NDArray[np.float32] = np.zeros((68, 2), dtype=np.float32)
        self.smoothed = self.landmarks
        self.crop: NDArray[np.uint8] = np.zeros((96, 96), dtype=np.uint8)

    def start(self, time_s: float, gray: NDArray[np.uint8], found: Detection) -> bool:
        """Begin, or begin again, at a detection; False if there are no sensible landmarks."""
        if not self._place_at(gray, found.box):
            return False
        self._confirm(time_s, found)
        self._see(time_s, gray)
        self._keep_likeness()
        return True

    def follow(self, time_s: float, gray: NDArray[np.uint8]) -> None:
        """On to the next frame; :attr:`visible` tells whether the face is still in sight."""
        trusted = self._move(gray) if self.visible else False
        due = time_s - self._checked_s >= self._check_every_s
        alike = trusted and self._alike(gray)
        unconfirmed = self.confirmed_s < self._checked_s
        if due or unconfirmed or not alike or self.number == 0:
            self._checked_s = time_s
            found = self._look_near(time_s, gray)
            if found is not None and not self._accept(time_s, gray, found, trusted):
                found = None
            if found is not None:
                trusted = alike = True
        if trusted and alike and not self.gone(time_s):
            confirmed = self.confirmed_s == time_s
            self._see(time_s, gray)
            if confirmed:
                self._keep_likeness()
        else:
            self.visible = False
            self._flow.forget()

    def gone(self, time_s: float) -> bool:
        """Whether no detector has confirmed the face for too long."""
        limit = HIDDEN_S
        if self._network_s == self.confirmed_s:
            limit += NETWORK_CHECK_EVERY_S
        return time_s - self.confirmed_s > limit

    def confirm(self, time_s: float, found: Detection) -> None:
        """A detection on the whole frame showed the face where it was expected."""
        self._confirm(time_s, found)
        self._checked_s = time_s

    def _predict(self, gray: NDArray[np.uint8], box: Box) -> NDArray[np.float32]:
        return self._predictor(gray, box)

    def _place(self, landmarks: NDArray[np.float32], box: Box) -> None:
        self.landmarks, self.box = landmarks, box

    def _place_at(self, gray: NDArray[np.uint8], found: Box) -> bool:
        """Where a detector has seen the face; False if there are no sensible landmarks."""
        landmarks = self._predict(gray, found)
        # Once more from the landmarks' own box, so that the detector's steps leave no trace.
        landmarks = self._predict(gray, box_of_landmarks(landmarks))
        box = box_of_landmarks(landmarks)
        if not plausible(landmarks, box) or overlap(box, found) < 0.3:
            return False
        self._place(landmarks, box)
        return True

    def _move(self, gray: NDArray[np.uint8]) -> bool:
        motion = self._flow.motion(gray, self.landmarks)
        if motion is None:
            return False
        moved = apply(motion, self.landmarks)
        height, width = gray.shape
        there = box_of_landmarks(moved)
        x, y = box_centre(there)
        if not (0 <= x < width and 0 <= y < height):
            return False
        landmarks = self._predict(gray, there)
        box = box_of_landmarks(landmarks)
        if not plausible(landmarks, box):
            return False
        self._place(landmarks, box)
        apart = float(np.abs(as_complex(landmarks - moved)).sum()) / len(moved)
        return apart <= MAX_DISAGREEMENT * math.hypot(*eye_axis(moved))

    def _look_near(self, time_s: float, gray: NDArray[np.uint8]) -> Detection | None:
        found = self._detector.near(gray, self.box, roll(self.landmarks))
        if found is None and self.certain and time_s - self.confirmed_s >= NETWORK_CHECK_AFTER_S:
            if time_s - self._network_s < NETWORK_CHECK_EVERY_S:
                return None
            self._network_s = time_s
            found = self._detector.network_near(gray, self.box)
        return found

    def _accept(
        self, time_s: float, gray: NDArray[np.uint8], found: Detection, trusted: bool
    ) -> bool:
        """Take the detection as the face; begin again there if the landmarks lie elsewhere."""
        near = trusted and overlap(found.box, self.box) >= MIN_BOX_OVERLAP
        if not near and not self._place_at(gray, found.box):
            return False
        self._confirm(time_s, found)
        return True

    def _confirm(self, time_s: float, found: Detection) -> None:
        self.confirmed_s = self._checked_s = time_s
        self.confirmations += 1
        self.score += found.score
        self.certain = self.certain or found.certain
        clear = found.score >= CLEAR_SCORE and not found.certain
        self._check_every_s = CLEAR_CHECK_EVERY_S if clear else CHECK_EVERY_S
        if found.certain:
            self._network_s = time_s

    def _see(self, time_s: float, gray: NDArray[np.uint8]) -> None:
        self.visible = True
        self.smoothed = self._smoother(time_s, self.landmarks)
        self.crop = align_crop(gray, self.smoothed)
        self.end_s = time_s
        self._flow.keep(gray, self.box)

    def _keep_likeness(self) -> None:
        self._confirmed_crop = _standardised(self.crop)

    def _alike(self, gray: NDArray[np.uint8]) -> bool:
        """Whether the face as moved looks as it did when it was last confirmed."""
        if self._confirmed_crop is None:
            return False
        crop = align_crop(gray, self.landmarks)
        least = MIN_LIKENESS_BOWED if self._network_s == self.confirmed_s else MIN_LIKENESS
        likeness = float(_standardised(crop) @ self._confirmed_crop) / crop.size
        return likeness >= least


def plausible(landmarks: NDArray[np.floating[Any]], box: Box) -> bool:
    """Whether ``landmarks`` [68, 2], whose box is ``box``, can be a face: size, distance of the
    eyes, not upside down."""
    side = box_side(box)
    x, y = eye_axis(landmarks)
    if side < MIN_FACE_PX or abs(math.atan2(y, x)) > MAX_ROLL:
        return False
    low, high = EYES_PER_BOX
    return low <= math.hypot(x, y) / side <= high


def _standardised(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The grey levels of ``crop`` [N], with mean 0 and standard deviation 1."""
    values = crop.astype(np.float32).reshape(-1)
    values -= values.mean()
    values /= max(math.sqrt(float(values @ values) / len(values)), 1.0)
    return values


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
        self._live: list[FaceTrack] = []
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
        track = FaceTrack(self._predictor, self._detector)
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
        kept: list[FaceTrack] = []
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


def _counts(track: FaceTrack) -> bool:
    """Whether a face is certain enough to be reported."""
    if track.certain or (track.confirmations >= 2 and track.score >= CERTAIN_SCORE):
        return True
    return track.confirmations >= CONFIRMATIONS and track.score >= CONFIRMED_SCORE


def _may_be(track: FaceTrack, found: Detection) -> bool:
    """Whether ``found`` can be the face that ``track`` has lost: about its size, and near it."""
    a, b = box_side(track.box), box_side(found.box)
    if max(a, b) > SAME_SIZE * min(a, b):
        return False
    x, y = box_centre(track.box)
    u, v = box_centre(found.box)
    return bool(np.hypot(u - x, v - y) < a)
