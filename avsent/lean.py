"""What the encoders need of an utterance, and no more: small enough to be sent between processes.

Of its features it leaves out the power, which only training changes, and of the crops those that
the pixel network does not look at; the others are as small as it sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.extraction import UtteranceFeatures
from avsent.features.pixels import pictures_of
from avsent.utterances import Segment


@dataclass(frozen=True, slots=True, eq=False)
class LeanVoice:
    """``times_s`` [N]; ``log_mel`` [mel, N]; ``prosody`` [24], None where it is not known."""

    times_s: NDArray[np.float64]
    log_mel: NDArray[np.float32]
    prosody: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class LeanFace:
    """``times_s`` [T]; ``landmarks`` [T, 51, 2]; ``pictures`` [S, 48, 48] grey, of every
    ``PICTURE_EVERY``-th of the frames, None where there are no crops."""

    times_s: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    pictures: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True, eq=False)
class LeanFeatures:
    """One utterance, ready to be encoded; fields as in :class:`UtteranceFeatures`."""

    segment: Segment
    track: int | None
    audio: LeanVoice | None
    face: LeanFace | None
    warnings: tuple[str, ...]
    provisional: bool


def lean(features: UtteranceFeatures) -> LeanFeatures:
    """``features`` without what encoding does not need: 42 kB for a second, not 147."""
    audio, face = features.audio, features.face
    return LeanFeatures(
        segment=features.segment,
        track=features.track,
        audio=None if audio is None else LeanVoice(audio.times_s, audio.log_mel, audio.prosody),
        face=None
        if face is None
        else LeanFace(
            face.times_s,
            face.landmarks,
            None if face.crops is None else pictures_of(face.crops),
        ),
        warnings=features.warnings,
        provisional=features.provisional,
    )
