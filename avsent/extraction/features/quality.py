"""Plain checks of the signals: is there a voice in the sound, a face in the pictures?

The networks give a confident answer for noise, too; a modality that fails a check counts as
missing. The limits were set on acted clips with known damage (figures: docs/limits.md). Each lies
where a modality alone is no better than guessing, or beyond every recording of a talking person.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import Gray, Points, eye_distance
from avsent.extraction.features.face import normalise_landmarks
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Samples

LEAST_SNR_DB = -3.0
"""See :func:`estimated_snr_db`. Recordings of talkers have 13 and more. On acted clips the accuracy
of the voice alone, 84% (mean over three polarities; guessing: 33%), is 53% with
white noise as loud (estimate 4 dB), 49% with noise 5 dB louder (0), 38% at 10 dB (−4) and 31% at 20
dB; 58% with music as loud and 49% among talkers as loud (both about 8). In all of these the voice
and the face together are right as often as the face alone, or more often (84 to 89%, 82%)."""
CLEAR_SNR_DB = 9.0
"""Below this a voice is used, with a warning."""
MOST_CLIPPED = 0.95
"""Share of clipped samples above which there is no voice. Clipping does little harm: with 90% of
the samples clipped the voice alone has an accuracy of 56%."""
MUCH_CLIPPED = 0.2
"""From here on the level does not rise and fall as it did: the signal-to-noise ratio is unknown."""
CLIP_LEVEL = 0.985  # share of the loudest sample from which on a sample counts as clipped
LEAST_EYE_DISTANCE_PX = 4.0
"""On stills reduced to 4 pixels between the eyes the shipped model has an accuracy of 61% (mean
over three polarities; 79% at full size); at 3 pixels its log loss is that of the class frequencies.
Landmarks are found on an enlarged copy, so dlib's rounding to whole pixels does not matter."""
LEAST_SHARPNESS = 3.5
"""See :func:`sharpness`. 44 faces in real videos have 16 and more; their crops blurred by a
Gaussian of 3 of 48 pixels have 2.4 to 3.5, and the pixel network's accuracy drops from 61% to 31%
(mean over seven classes). Stills blurred before detection have 3.8 at 3 pixels and 3.3 at 3.5; in
between the shipped model's log loss becomes worse than that of the class frequencies."""

MOST_UNSTEADY = 0.25
"""Eye distances: landmarks that jump further from frame to frame follow no face."""

FRAME_S, HOP_S = 0.025, 0.010
QUIET, LOUD = 10, 90
"""Percentiles of the level over an utterance: between syllables, and within them."""
FEWEST_FRAMES = 4
SIDE_PX = 48
FINE_PX, COARSE_PX = 1.0, 3.0
LEAST_DETAIL = 1e-4  # keeps the ratio finite for a picture of a single grey


class VoiceQuality(NamedTuple):
    """``fault``: why a voice cannot be used; ``doubt``: why one that is used may be misjudged."""

    fault: str | None = None
    doubt: str | None = None


def voice_quality(samples: Samples, recorded: Samples | None = None) -> VoiceQuality:
    """Fault or doubt of the voice in an utterance's ``samples``, if any. ``recorded``:
    before the high-pass filter, which tilts what clipping made flat."""
    clipped = clipped_share(samples if recorded is None else recorded)
    if clipped > MOST_CLIPPED:
        return VoiceQuality(f"its sound is clipped ({clipped:.0%} of it)")
    if clipped > MUCH_CLIPPED:
        return VoiceQuality()
    snr_db = estimated_snr_db(samples)
    if snr_db == -np.inf:
        return VoiceQuality("its sound is one and the same throughout")
    ratio = f"(signal-to-noise ratio about {snr_db:.0f} dB)"
    if snr_db < LEAST_SNR_DB:
        return VoiceQuality(f"its voice is drowned in other sound {ratio}")
    if snr_db < CLEAR_SNR_DB:
        doubt = f"its voice has much other sound beside it {ratio} and may be misjudged"
        return VoiceQuality(doubt=doubt)
    return VoiceQuality()


def face_fault(landmarks: Points, crops: Gray) -> str | None:
    """Why a face cannot be used, by its ``landmarks`` [T, 68, 2] in pixels and its aligned
    ``crops`` [T, S, S]; None where it can."""
    eyes_px = eye_distance_px(landmarks)
    if eyes_px < LEAST_EYE_DISTANCE_PX:
        return f"its face is too small ({eyes_px:.0f} pixels between the eyes)"
    if unsteadiness(normalise_landmarks(landmarks)[0]) > MOST_UNSTEADY:
        return "its face is not held steadily in sight"
    if sharpness(crops) < LEAST_SHARPNESS:
        return "its face is blurred"
    return None


def estimated_snr_db(samples: Samples) -> float:
    """Signal-to-noise ratio in dB, from how far the loud parts of ``samples`` [N] rise above the
    quiet ones: a voice pauses between syllables, noise and music do not. −inf for a sound that is
    too short, or constant."""
    frame, hop = round(FRAME_S * SAMPLE_RATE_HZ), round(HOP_S * SAMPLE_RATE_HZ)
    if len(samples) < 2 * frame:
        return -np.inf
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    power = np.mean(np.square(frames, dtype=np.float64), axis=1)
    quiet, loud = np.percentile(power, [QUIET, LOUD])
    if loud <= quiet:
        return -np.inf
    return float(10 * np.log10((loud - quiet) / max(quiet, 1e-12)))


def clipped_share(samples: Samples) -> float:
    """Share of ``samples`` [N] at the loudest level, 0 … 1; an offset is no level."""
    if not samples.size:
        return 0.0
    level = np.abs(samples - (samples.min() + samples.max()) / 2)
    return float(np.mean(level >= CLIP_LEVEL * level.max())) if level.max() > 0 else 0.0


def eye_distance_px(landmarks: Points) -> float:
    """Median distance between the eyes over ``landmarks`` [T, 68, 2], in pixels."""
    return float(np.median(eye_distance(landmarks.astype(np.float64))))


def unsteadiness(landmarks: Points) -> float:
    """How far normalised ``landmarks`` [T, 51, 2] jump: the median of their second differences, in
    eye distances; 0 for fewer than four frames."""
    if len(landmarks) < FEWEST_FRAMES:
        return 0.0
    return float(np.median(np.abs(np.diff(landmarks, n=2, axis=0))))


def sharpness(crops: Gray) -> float:
    """Median over ``crops`` [T, S, S], at ``SIDE_PX`` pixels, of the energy of fine detail over
    that of coarse detail: the variances of the Laplacian after Gaussians of ``FINE_PX`` and of
    ``COARSE_PX``. 0 for a picture without detail.

    The ratio depends little on light, contrast or face. The Laplacian of the picture itself does
    not work: rounding to grey levels in a dark picture, or a trace of noise, hides any blur.
    """
    found = []
    for crop in crops:
        grey = crop.astype(np.float64)  # or the mean of four pixels would be rounded, too
        small = cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        fine, coarse = (_detail(small, deviation_px) for deviation_px in (FINE_PX, COARSE_PX))
        found.append(fine / max(coarse, LEAST_DETAIL))
    return float(np.median(found)) if found else 0.0


def _detail(picture: NDArray[Any], deviation_px: float) -> float:
    blurred = cv2.GaussianBlur(picture, (0, 0), deviation_px)
    return float(cv2.Laplacian(blurred, cv2.CV_64F).var())
