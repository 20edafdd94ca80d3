"""What is seen of an utterance: the face sequence of one track, or why there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from avsent.faces.types import FaceObservation
from avsent.features.face import MIN_FACE_SHARE, FaceFeatures, face_features
from avsent.features.quality import face_fault


def face_of(
    observations: Sequence[FaceObservation], frames: int, *, check: bool
) -> tuple[FaceFeatures | None, list[str]]:
    """Face sequence of one track's ``observations``, out of ``frames`` analysed pictures, None
    where it cannot be used, and warnings that say why. ``check``: whether its signal must be
    sound (:func:`~avsent.features.quality.face_fault`)."""
    if not observations:
        return None, ["no face is seen in it"] if frames else []
    share = len(observations) / frames
    if share < MIN_FACE_SHARE:
        return None, [f"its face is seen in only {share:.0%} of the pictures"]
    landmarks = np.stack([o.landmarks for o in observations])
    crops = np.stack([o.crop for o in observations])
    fault = face_fault(landmarks, crops) if check else None
    if fault:
        return None, [f"{fault}: the face is not used"]
    return face_features(np.array([o.time_s for o in observations]), landmarks, crops), []
