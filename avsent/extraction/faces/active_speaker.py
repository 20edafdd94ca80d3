"""Which face speaks: the one whose mouth moves with the sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.types import FaceObservation, eye_distance
from avsent.options import FaceChoice

LIP_PAIRS = ((61, 67), (62, 66), (63, 65))
"""Landmarks of the inner lips that face each other."""

ENVELOPE_HZ = 50.0
ENVELOPE_RANGE_DB = 45.0
"""Sound further below the loudest moment than this counts as silence."""

MAX_LAG_S = 0.2
"""The lips may lead or trail the sound by as much: articulation, and badly muxed files."""
LAG_STEP_S = 0.05
MIN_SAMPLES = 8
"""Below this many observations a correlation means nothing."""
FULL_MOVEMENT = 0.06
"""Standard deviation of the mouth opening, in eye distances, of plain speech."""
MOVEMENT_SHARE = 0.5
"""What full mouth movement without any agreement with the sound is worth, against a correlation
of 1."""
CLOSE_SCORES = 0.1
"""Scores no further below the best than this are a tie, which the larger face wins."""
MIN_PRESENCE = 0.3
"""Share of the utterance's frames in which a face must be seen, to speak or to count in all."""


def mouth_opening(landmarks: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Gap of the inner lips in eye distances [T] of ``landmarks`` [T, 68, 2]."""
    gaps = [
        np.linalg.norm(landmarks[:, upper] - landmarks[:, lower], axis=-1)
        for upper, lower in LIP_PAIRS
    ]
    unit = np.maximum(eye_distance(landmarks), 1e-3)
    opening: NDArray[np.float64] = np.mean(gaps, axis=0).astype(np.float64) / unit
    return opening


def sound_envelope(
    samples: NDArray[np.floating[Any]], start_s: float, rate_hz: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Loudness of ``samples`` [N] (mono, -1..1, first one at ``start_s``) 50 times a second.

    Returns ``times_s`` [M] (middles of the windows) and ``envelope`` [M] in 0..1: decibels above
    the floor that lies ``ENVELOPE_RANGE_DB`` below the loudest window. Silence gives zeros.
    """
    hop = round(rate_hz / ENVELOPE_HZ)
    count = len(samples) // hop
    if count == 0:
        return np.zeros(0), np.zeros(0)
    power = np.square(np.asarray(samples[: count * hop], dtype=np.float64))
    level = power.reshape(count, hop).mean(axis=1)
    times_s = start_s + (np.arange(count) + 0.5) * hop / rate_hz
    peak = float(level.max())
    if peak < 1e-10:
        return times_s, np.zeros(count)
    below_db = 10 * np.log10(np.maximum(level / peak, 1e-12))
    return times_s, np.clip(1 + below_db / ENVELOPE_RANGE_DB, 0.0, 1.0)


def choose_faces(
    observations: Sequence[FaceObservation],
    envelope_times_s: NDArray[np.floating[Any]],
    envelope: NDArray[np.floating[Any]] | None,
    choice: FaceChoice,
) -> list[int]:
    """The tracks by which an utterance is judged, of the ``observations`` within it.

    ``envelope`` [M] is the loudness at ``envelope_times_s`` [M], or None without sound. For
    ``all``: every face seen in ``MIN_PRESENCE`` of the frames, the largest first; else one track.
    Empty only if there are no observations.
    """
    tracks: dict[int, list[FaceObservation]] = {}
    for observation in observations:
        tracks.setdefault(observation.track, []).append(observation)
    if not tracks:
        return []
    frames = len({observation.time_s for observation in observations})
    presence = {track: len(seen) / frames for track, seen in tracks.items()}
    size = {track: _median_size(seen) for track, seen in tracks.items()}
    # Equal sizes: the face seen longer, then the one that came first.
    order = sorted(tracks, key=lambda track: (-size[track], -presence[track], track))
    # In a fast exchange of shots no face may be there for long: then the longest is.
    enough = min(MIN_PRESENCE, max(presence.values()))
    present = [track for track in order if presence[track] >= enough]
    if choice is FaceChoice.all:
        return present
    if choice is FaceChoice.largest or envelope is None or len(present) == 1:
        return [present[0]]
    scores = {
        track: presence[track] * speaking_score(tracks[track], envelope_times_s, envelope)
        for track in present
    }
    best = max(scores.values())
    return [next(track for track in present if scores[track] >= best - CLOSE_SCORES)]


def speaking_score(
    seen: Sequence[FaceObservation],
    envelope_times_s: NDArray[np.floating[Any]],
    envelope: NDArray[np.floating[Any]],
) -> float:
    """How well a mouth goes with the sound, 0..1.5.

    The correlation of opening and loudness counts in proportion to the mouth's movement, up to
    that of plain speech: a still mouth's jitter correlates with anything now and then. Movement
    alone counts a little, since the lips follow loudness only loosely.
    """
    times_s = np.array([observation.time_s for observation in seen])
    opening = mouth_opening(np.stack([observation.landmarks for observation in seen]))
    movement = min(1.0, float(opening.std()) / FULL_MOVEMENT)
    return movement * (
        MOVEMENT_SHARE + _best_correlation(times_s, opening, envelope_times_s, envelope)
    )


def _best_correlation(
    times_s: NDArray[np.float64],
    opening: NDArray[np.float64],
    envelope_times_s: NDArray[np.floating[Any]],
    envelope: NDArray[np.floating[Any]],
) -> float:
    """Correlation of ``opening`` [T] with the sound at the best lag, 0 if there is none."""
    if len(times_s) < MIN_SAMPLES or len(envelope) < 2:
        return 0.0
    # Smoothed to the rate of the faces, so that single loud windows do not decide.
    step_s = float(np.median(np.diff(times_s)))
    width = max(1, round(step_s * ENVELOPE_HZ))
    smooth = np.convolve(envelope, np.full(width, 1 / width), mode="same")
    steps = round(MAX_LAG_S / LAG_STEP_S)
    best = 0.0
    for lag_s in LAG_STEP_S * np.arange(-steps, steps + 1):
        heard = np.interp(times_s + lag_s, envelope_times_s, smooth)
        best = max(best, _correlation(opening, heard))
    return best


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    spread = float(a.std() * b.std())
    if spread < 1e-9:
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean()) / spread


def _median_size(seen: Sequence[FaceObservation]) -> float:
    return float(np.median([eye_distance(observation.landmarks) for observation in seen]))
