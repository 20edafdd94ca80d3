"""Faces tracked through a video: by optical flow from frame to frame, checked by the detectors."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces import geometry
from avsent.extraction.faces.detection import Detection, FaceDetector, FaceSearch
from avsent.extraction.faces.geometry import Box, FaceObservation, Gray, Points
from avsent.extraction.faces.landmarks import LandmarkPredictor, LandmarkSmoother, align_crop
from avsent.extraction.faces.motion import CutDetector, FaceFlow

CHECK_EVERY_S = 0.28  # how often the detector checks a tracked face: every third frame at 10 Hz …
CLEAR_SCORE, CLEAR_CHECK_EVERY_S = 1.0, 0.48  # … and one that scored so much with HOG last time
HIDDEN_S = 1.0  # a face that no detector has confirmed for longer is gone
# A face found by the network and unconfirmed for so long is checked with it again …
NETWORK_CHECK_AFTER_S = 0.6
NETWORK_CHECK_EVERY_S = 1.0  # … at most this often, and may stay unconfirmed for this much longer

MIN_LIKENESS = 0.6  # least correlation of the aligned crop with that of the last confirmed frame
MIN_LIKENESS_BOWED = 0.4  # of a face that only the network finds: its landmarks are less stable
# Mean distance, in eye distances, between landmarks moved by the flow and predicted
MAX_DISAGREEMENT = 0.25
MIN_BOX_OVERLAP = 0.45  # of the detector's box with that of the landmarks, to confirm these
EYES_PER_BOX = (0.12, 0.62)  # plausible eye distance over box side; little if turned away
MAX_ROLL = 1.2  # largest plausible roll in radians
MIN_FACE_PX = 16.0

MAX_FACES = 8  # most faces tracked at once; of more, the largest
# A new face is reported after two looks (whole frame and close up) with this score in sum …
CERTAIN_SCORE = 0.7
CONFIRMATIONS, CONFIRMED_SCORE = 3, 0.3  # … or after so many looks with this one
REPLACES = 1.5  # times the size of the smallest face at which a new one replaces it
# A face with this HOG score, and so much more than as it is, stands upright in a turned frame.
TURNED_SCORE, TURNED_MORE = 1.0, 0.5
TURNED_PX, TURNED_AFTER_S, TURNED_LONGEST_WAIT_S = 640, 1.0, 64.0  # search while there is no face
SAME_SIZE = 1.6  # largest ratio of sizes of a face before and after it was hidden
MIN_FRAME_PX = 24


class FaceTrack:
    """A tracked face. ``number`` is 0 until the face is reported for the first time."""

    def __init__(self, predictor: LandmarkPredictor, detector: FaceDetector) -> None:
        self._predictor, self._detector = predictor, detector
        self._smoother, self._flow = LandmarkSmoother(), FaceFlow()
        self._confirmed_crop: NDArray[np.float32] | None = None
        self._checked_s = self._network_s = -np.inf
        self._check_every_s = CHECK_EVERY_S
        self.number = 0
        self.confirmed_s = -np.inf
        self.confirmations = 0
        self.score = 0.0
        self.certain = False
        self.visible = False
        self.box: Box = (0.0, 0.0, 0.0, 0.0)
        self.landmarks: NDArray[np.float32] = np.zeros((68, 2), dtype=np.float32)
        self.smoothed = self.landmarks
        self.crop: Gray = np.zeros((96, 96), dtype=np.uint8)

    def start(self, time_s: float, gray: Gray, found: Detection) -> bool:
        """Begin, or begin again, at a detection; False if its landmarks are implausible."""
        if not self._place_at(gray, found.box):
            return False
        self.confirm(time_s, found)
        self._show(time_s, gray)
        return True

    def follow(self, time_s: float, gray: Gray) -> None:
        """Track the face in the next frame; :attr:`visible` tells whether it is in sight."""
        trusted = self.visible and self._move(gray)
        due = time_s - self._checked_s >= self._check_every_s
        alike = trusted and self._alike(gray)
        unconfirmed = self.confirmed_s < self._checked_s
        due = due or unconfirmed or not alike or self.number == 0
        if due and self._check(time_s, gray, trusted):
            trusted = alike = True
        if trusted and alike and not self.gone(time_s):
            self._show(time_s, gray)
        else:
            self.visible = False
            self._flow.forget()

    def sure(self) -> bool:
        """Whether the face is in sight and was confirmed well enough to be reported."""
        clear = self.confirmations >= 2 and self.score >= CERTAIN_SCORE
        looked = self.confirmations >= CONFIRMATIONS and self.score >= CONFIRMED_SCORE
        return self.visible and (self.certain or clear or looked)

    def gone(self, time_s: float) -> bool:
        """Whether no detector has confirmed the face for too long."""
        more_s = NETWORK_CHECK_EVERY_S if self._network_s == self.confirmed_s else 0.0
        return time_s - self.confirmed_s > HIDDEN_S + more_s

    def confirm(self, time_s: float, found: Detection) -> None:
        """A detector has found the face where it was expected."""
        self.confirmed_s = self._checked_s = time_s
        self.confirmations += 1
        self.score += found.score
        self.certain = self.certain or found.certain
        clear = found.score >= CLEAR_SCORE and not found.certain
        self._check_every_s = CLEAR_CHECK_EVERY_S if clear else CHECK_EVERY_S
        if found.certain:
            self._network_s = time_s

    def _place_at(self, gray: Gray, found: Box) -> bool:
        """Move the face to a detection; False if its landmarks are implausible."""
        landmarks = self._predictor(gray, found)
        # Again from the landmarks' own box: the detector's boxes come in steps.
        landmarks = self._predictor(gray, geometry.box_of_landmarks(landmarks))
        box = geometry.box_of_landmarks(landmarks)
        if not _plausible(landmarks, box) or geometry.overlap(box, found) < 0.3:
            return False
        self.landmarks, self.box = landmarks, box
        return True

    def _move(self, gray: Gray) -> bool:
        """Move the face by optical flow; whether predicted landmarks agree with it."""
        motion = self._flow.motion(gray, self.landmarks)
        if motion is None:
            return False
        moved = geometry.apply(motion, self.landmarks)
        height, width = gray.shape
        moved_box = geometry.box_of_landmarks(moved)
        x, y = geometry.box_centre(moved_box)
        if not (0 <= x < width and 0 <= y < height):
            return False
        landmarks = self._predictor(gray, moved_box)
        box = geometry.box_of_landmarks(landmarks)
        if not _plausible(landmarks, box):
            return False
        self.landmarks, self.box = landmarks, box
        apart = float(np.abs(geometry.as_complex(landmarks - moved)).sum()) / len(moved)
        return apart <= MAX_DISAGREEMENT * math.hypot(*geometry.eye_axis(moved))

    def _check(self, time_s: float, gray: Gray, trusted: bool) -> bool:
        """Whether a detector confirms the face. Moves it there if its landmarks lie elsewhere."""
        self._checked_s = time_s
        found = self._detector.near(gray, self.box, geometry.roll(self.landmarks))
        ask_network = self.certain and time_s - self.confirmed_s >= NETWORK_CHECK_AFTER_S
        if found is None and ask_network and time_s - self._network_s >= NETWORK_CHECK_EVERY_S:
            self._network_s = time_s
            found = self._detector.network_near(gray, self.box)
        if found is None:
            return False
        near = trusted and geometry.overlap(found.box, self.box) >= MIN_BOX_OVERLAP
        if not near and not self._place_at(gray, found.box):
            return False
        self.confirm(time_s, found)
        return True

    def _show(self, time_s: float, gray: Gray) -> None:
        self.visible = True
        self.smoothed = self._smoother(time_s, self.landmarks)
        self.crop = align_crop(gray, self.smoothed)
        if self.confirmed_s == time_s:
            self._confirmed_crop = _standardised(self.crop)
        self._flow.keep(gray, self.box)

    def _alike(self, gray: Gray) -> bool:
        """Whether the moved face looks as it did when it was last confirmed."""
        if self._confirmed_crop is None:
            return False
        crop = align_crop(gray, self.landmarks)
        least = MIN_LIKENESS_BOWED if self._network_s == self.confirmed_s else MIN_LIKENESS
        likeness = float(_standardised(crop) @ self._confirmed_crop) / crop.size
        return likeness >= least


def _plausible(landmarks: Points, box: Box) -> bool:
    """Whether ``landmarks`` [68, 2] with their ``box`` can be a face: by its size, the distance of
    the eyes and its roll."""
    side = geometry.box_side(box)
    x, y = geometry.eye_axis(landmarks)
    if side < MIN_FACE_PX or abs(math.atan2(y, x)) > MAX_ROLL:
        return False
    low, high = EYES_PER_BOX
    return low <= math.hypot(x, y) / side <= high


def _standardised(crop: Gray) -> NDArray[np.float32]:
    """The grey levels of ``crop`` [N], with mean 0 and standard deviation 1."""
    values = crop.astype(np.float32).reshape(-1)
    values -= values.mean()
    values /= max(math.sqrt(float(values @ values) / len(values)), 1.0)
    return values


@dataclass(slots=True)
class TrackSummary:
    """One person's face: ``frames`` analysed frames between ``start_s`` and ``end_s``."""

    track: int
    start_s: float
    end_s: float
    frames: int = 0


class FaceTracker:
    """Tracks the faces in frames pushed in order of time.

    A track is one person within one shot: a cut ends it, and so does an absence of more than a
    second. Results depend only on the frames and their presentation times. Raises InputError if
    there is no usable landmark model (on construction).
    """

    def __init__(self, landmarks_path: Path | None = None) -> None:
        self._predictor = LandmarkPredictor(landmarks_path)
        self._detector = FaceDetector()
        self.search = FaceSearch(self._detector)
        self._cuts = CutDetector()
        self._shape: tuple[int, ...] | None = None
        self._live: list[FaceTrack] = []
        self.tracks: list[TrackSummary] = []
        """All faces reported so far, in order of appearance."""
        self.warning = ""  # about faces that do not stand upright
        self._turns = 0  # quarter turns counter-clockwise that put them upright
        self._turn_s = self._turn_wait_s = TURNED_AFTER_S

    @property
    def live(self) -> frozenset[int]:
        """Tracks that have not ended."""
        return frozenset(track.number for track in self._live if track.number)

    def push(self, time_s: float, shown: Gray) -> list[FaceObservation]:
        """The faces in the frame ``shown`` [H, W] at ``time_s``, by track number."""
        if min(shown.shape) < MIN_FRAME_PX:
            return []
        self._follow(time_s, _turned(shown, self._turns))
        if turns := self._clearer_turns(time_s, _turned(shown, self._turns)):
            self._turns = (self._turns + turns) % 4
            self._shape = None  # begin again
            self._follow(time_s, _turned(shown, self._turns))
        found = self._report(time_s)
        if self._turns and found and not self.warning:
            how = "upside down" if self._turns == 2 else "sideways"
            self.warning = f"faces are {how} from {time_s:.2f} s on: judged as if turned upright"
        back = (geometry.turned_back(o.box, self._turns, shown.shape) for o in found)
        return [replace(o, box=box) for o, box in zip(found, back, strict=True)]

    def _follow(self, time_s: float, gray: Gray) -> None:
        """Track the known faces in ``gray`` [H, W] and search for others."""
        if self._cuts.push(gray) or self._shape != gray.shape:
            self._live.clear()
            self.search.new_shot()
            self._turn_s, self._turn_wait_s = time_s + TURNED_AFTER_S, TURNED_AFTER_S
        else:
            for track in self._live:
                track.follow(time_s, gray)
        self._shape = gray.shape
        lost = any(not track.visible for track in self._live)
        self._live = [track for track in self._live if not track.gone(time_s)]
        followed = any(track.number for track in self._live)
        found = self.search.search(time_s, gray, followed=followed, urgent=lost)
        self._place(time_s, gray, found)
        self._drop_duplicates()

    def _clearer_turns(self, time_s: float, gray: Gray) -> int:
        """Quarter turns that put faces in ``gray`` [H, W] upright; checked when faces appear, and
        now and then while there is none. Landmarks of an upside-down face are wrong."""
        if self.live:
            self._turn_s, self._turn_wait_s = time_s + TURNED_AFTER_S, TURNED_AFTER_S
            return 0
        if new := [track.box for track in self._live if track.sure()]:
            look = self._detector.near
            angles = [turns * math.pi / 2 for turns in range(4)]
            scores = [_best(look(gray, box, angle) for box in new) for angle in angles]
        elif time_s >= self._turn_s:
            self._turn_s = time_s + self._turn_wait_s
            self._turn_wait_s = min(2 * self._turn_wait_s, TURNED_LONGEST_WAIT_S)
            copies = [_turned(gray, turns) for turns in (1, 2, 3)]
            found = [_best(self._detector.whole(copy, TURNED_PX)) for copy in copies]
            scores = [-math.inf, *found]
        else:
            return 0
        best = int(np.argmax(scores))
        return best if scores[best] >= max(TURNED_SCORE, scores[0] + TURNED_MORE) else 0

    def _place(self, time_s: float, gray: Gray, found: list[Detection]) -> None:
        """Assign each detection to the track whose face it shows, or begin a new track."""
        for detection in sorted(found, key=lambda d: -geometry.box_side(d.box)):
            known = [
                t for t in self._live if t.visible and geometry.same_place(t.box, detection.box)
            ]
            if known:
                best = max(known, key=lambda t: geometry.overlap(t.box, detection.box))
                if best.confirmed_s != time_s:
                    best.confirm(time_s, detection)
                continue
            hidden = [t for t in self._live if not t.visible and _may_be(t, detection)]
            if any(t.start(time_s, gray, detection) for t in hidden[:1]):
                continue
            self._begin(time_s, gray, detection)

    def _begin(self, time_s: float, gray: Gray, found: Detection) -> None:
        if len(self._live) >= MAX_FACES:
            smallest = min(self._live, key=lambda t: geometry.box_side(t.box))
            if geometry.box_side(found.box) < REPLACES * geometry.box_side(smallest.box):
                return
            self._live.remove(smallest)
        track = FaceTrack(self._predictor, self._detector)
        if not track.start(time_s, gray, found):
            return
        # Look again close up: a chance detection seldom recurs at another scale.
        again = self._detector.near(gray, track.box)
        if again is not None and geometry.same_place(again.box, track.box):
            track.confirm(time_s, again)
        self._live.append(track)
        self.search.found_new(time_s)

    def _drop_duplicates(self) -> None:
        """Keep the older of two tracks on one face."""
        kept: list[FaceTrack] = []
        for track in sorted(self._live, key=lambda t: (t.number == 0, t.number)):
            older = [k for k in kept if k.visible and track.visible]
            if not any(geometry.same_place(k.box, track.box) for k in older):
                kept.append(track)
        self._live = kept

    def _report(self, time_s: float) -> list[FaceObservation]:
        reported: list[FaceObservation] = []
        for track in self._live:
            if not track.visible or not (track.number or track.sure()):
                continue
            if track.number == 0:
                track.number = len(self.tracks) + 1
                self.tracks.append(TrackSummary(track.number, time_s, time_s))
            summary = self.tracks[track.number - 1]
            summary.end_s, summary.frames = time_s, summary.frames + 1
            reported.append(
                FaceObservation(track.number, time_s, track.box, track.smoothed, track.crop)
            )
        return sorted(reported, key=lambda o: o.track)


def _turned(gray: Gray, turns: int) -> Gray:
    """``gray`` [H, W] turned by quarter turns counter-clockwise."""
    return np.ascontiguousarray(np.rot90(gray, turns))


def _best(found: Iterable[Detection | None]) -> float:
    return max((detection.score for detection in found if detection), default=-math.inf)


def _may_be(track: FaceTrack, found: Detection) -> bool:
    """Whether ``found`` can be the face that ``track`` has lost: near it and about its size."""
    a, b = geometry.box_side(track.box), geometry.box_side(found.box)
    if max(a, b) > SAME_SIZE * min(a, b):
        return False
    x, y = geometry.box_centre(track.box)
    u, v = geometry.box_centre(found.box)
    return bool(np.hypot(u - x, v - y) < a)
