"""Faces: detection, tracking, landmarks, alignment, and who is speaking."""

from __future__ import annotations

from avsent.faces.alignment import align_crop
from avsent.faces.choice import FaceChoice
from avsent.faces.cuts import CutDetector
from avsent.faces.landmarks import LandmarkPredictor
from avsent.faces.points import eye_distance
from avsent.faces.smoothing import LandmarkSmoother, smooth_landmarks
from avsent.faces.speaking import choose_faces, mouth_opening, sound_envelope
from avsent.faces.tracker import FaceTracker, TrackSummary
from avsent.faces.types import CROP_PX, FaceObservation

__all__ = [
    "CROP_PX",
    "CutDetector",
    "FaceChoice",
    "FaceObservation",
    "FaceTracker",
    "LandmarkPredictor",
    "LandmarkSmoother",
    "TrackSummary",
    "align_crop",
    "choose_faces",
    "eye_distance",
    "mouth_opening",
    "smooth_landmarks",
    "sound_envelope",
]
