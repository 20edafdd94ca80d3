"""Active speaker: the face whose mouth moves with the sound."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import FaceObservation, eye_distance
from avsent.options import FaceChoice

Array = NDArray[np.floating[Any]]

LIP_PAIRS = ((61, 67), (62, 66), (63, 65))  # opposite landmarks of the inner lips

ENVELOPE_HZ = 50.0
ENVELOPE_RANGE_DB = 45.0  # sound this far below the loudest window is silence

MAX_LAG_S = 0.2  # how far the lips may lead or trail the sound: articulation, and badly muxed files
LAG_STEP_S = 0.05
MIN_SAMPLES = 8  # fewest observations for a correlation
FULL_MOVEMENT = 0.06  # standard deviation of the mouth opening, in eye distances, of plain speech
MOVEMENT_SHARE = 0.5
"""Score of full mouth movement that does not correlate with the sound; that of full correlation
is 1 more."""
CLOSE_SCORES = 0.1  # scores this close to the best are a tie, which the larger face wins
MIN_PRESENCE = 0.3  # share of the utterance's frames in which a face must be seen to be chosen

STEP, STEP_S, STEP_SHARE, LEAST_SPEAKING_S = 0.015, 0.1, 0.3, 2.0
"""A mouth speaks if its opening changes by ``STEP`` eye distances in this share of steps of about
``STEP_S``: talkers with their pauses have 0.32 and more, still faces 0.21 and less."""


def mouth_speaks(seen: Sequence[FaceObservation]) -> bool:
    """Whether the mouth of one track moves as in speech, for a stretch without audible voice."""
    if not seen or seen[-1].time_s - seen[0].time_s < LEAST_SPEAKING_S:
        return False
    every = max(1, round(STEP_S / float(np.median(np.diff([o.time_s for o in seen])))))
    opening = mouth_opening(np.stack([observation.landmarks for observation in seen[::every]]))
    return float(np.mean(np.abs(np.diff(opening)) > STEP)) >= STEP_SHARE


def speak_in_turn(observations: Sequence[FaceObservation]) -> bool:
    """Whether one face speaks in the first part of a stretch and another one in the rest, each
    while the mouth of the other is still."""
    if len({observation.track for observation in observations}) < 2:
        return False
    start_s, end_s = observations[0].time_s, observations[-1].time_s
    for cut_s in np.linspace(start_s, end_s, 9)[1:-1]:
        turns = set()
        for track in {observation.track for observation in observations}:
            seen = [o for o in observations if o.track == track]
            parts = [o for o in seen if o.time_s < cut_s], [o for o in seen if o.time_s >= cut_s]
            if all(p and p[-1].time_s - p[0].time_s >= LEAST_SPEAKING_S for p in parts):
                turns.add((mouth_speaks(parts[0]), mouth_speaks(parts[1])))
        if {(True, False), (False, True)} <= turns:
            return True
    return False


def mouth_opening(landmarks: Array) -> Array:
    """Gap of the inner lips in eye distances [T] of ``landmarks`` [T, 68, 2]."""
    gaps = [np.linalg.norm(landmarks[:, a] - landmarks[:, b], axis=-1) for a, b in LIP_PAIRS]
    unit = np.maximum(eye_distance(landmarks), 1e-3)
    return np.asarray(np.mean(gaps, axis=0).astype(np.float64) / unit)


def sound_envelope(samples: Array, start_s: float, rate_hz: int) -> tuple[Array, Array]:
    """Loudness of ``samples`` [N] (mono, -1..1, first one at ``start_s``) 50 times a second.

    Returns ``times_s`` [M] (middles of the windows) and ``envelope`` [M]: decibels scaled from 0
    (``ENVELOPE_RANGE_DB`` below the loudest window) to 1 (the loudest). Silence gives zeros.
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
    envelope_times_s: Array,
    envelope: Array | None,
    choice: FaceChoice,
) -> list[int]:
    """The tracks used for an utterance, of the ``observations`` within it.

    ``envelope`` [M] is the loudness at ``envelope_times_s`` [M], or None without sound. With
    ``all``, every face seen in ``MIN_PRESENCE`` of the frames, the largest first; else one track.
    Empty only if there are no observations.
    """
    tracks: dict[int, list[FaceObservation]] = {}
    for observation in observations:
        tracks.setdefault(observation.track, []).append(observation)
    if not tracks:
        return []
    frames = len({observation.time_s for observation in observations})
    presence = {track: len(seen) / frames for track, seen in tracks.items()}
    size = {
        track: float(np.median([eye_distance(observation.landmarks) for observation in seen]))
        for track, seen in tracks.items()
    }
    # Of equal sizes: the face seen longer, then the one that came first
    order = sorted(tracks, key=lambda track: (-size[track], -presence[track], track))
    # With fast cuts no face may be seen for long: then the one seen longest is present.
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
    seen: Sequence[FaceObservation], envelope_times_s: Array, envelope: Array
) -> float:
    """Agreement of a mouth with the sound, 0..1.5.

    The correlation of opening and loudness is weighted by the mouth's movement, up to that of
    plain speech: the jitter of a still mouth may correlate by chance. Movement alone counts a
    little, since the lips follow loudness only loosely.
    """
    times_s = np.array([observation.time_s for observation in seen])
    opening = mouth_opening(np.stack([observation.landmarks for observation in seen]))
    movement = min(1.0, float(opening.std()) / FULL_MOVEMENT)
    correlation = _best_correlation(times_s, opening, envelope_times_s, envelope)
    return movement * (MOVEMENT_SHARE + correlation)


def _best_correlation(
    times_s: Array, opening: Array, envelope_times_s: Array, envelope: Array
) -> float:
    """Correlation of ``opening`` [T] with the sound at the best lag, 0 if there is none."""
    if len(times_s) < MIN_SAMPLES or len(envelope) < 2:
        return 0.0
    # Smoothed to the rate of the faces, so that single loud windows have little influence.
    step_s = float(np.median(np.diff(times_s)))
    width = max(1, round(step_s * ENVELOPE_HZ))
    smooth = np.convolve(envelope, np.full(width, 1 / width), mode="same")
    steps = round(MAX_LAG_S / LAG_STEP_S)
    best = 0.0
    for lag_s in LAG_STEP_S * np.arange(-steps, steps + 1):
        heard = np.interp(times_s + lag_s, envelope_times_s, smooth)
        spread = float(opening.std() * heard.std())
        if spread >= 1e-9:
            covariance = ((opening - opening.mean()) * (heard - heard.mean())).mean()
            best = max(best, float(covariance) / spread)
    return best
