"""Smoothing of landmark positions over time, the same for video and for training corpora.

A landmark at rest jitters by about a hundredth of an eye distance; an expression moves it by a
tenth. The filter is causal (nothing waits for later frames) and opens up with speed, after the
1-euro filter (Casiez, Roussel, Vogel, CHI 2012), with distances in eye distances so that it acts
the same on small and large faces.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from avsent.faces.points import eye_axis

MIN_CUTOFF_HZ = 2.0
"""Cut-off frequency for a face at rest."""
CUTOFF_PER_SPEED = 4.0
"""Rise of the cut-off in Hz per eye distance per second."""
MAX_GAP_S = 0.5
"""After a longer gap the filter starts anew: the old position says nothing."""


class LandmarkSmoother:
    """One face's landmarks, smoothed frame by frame."""

    def __init__(self) -> None:
        self._time_s: float | None = None
        self._state: NDArray[np.float32] | None = None

    def __call__(self, time_s: float, landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        """Smoothed copy of ``landmarks`` [68, 2] (pixels) seen at ``time_s``."""
        state, last_s = self._state, self._time_s
        self._time_s = time_s
        if state is None or last_s is None or not 0 < time_s - last_s <= MAX_GAP_S:
            self._state = landmarks.astype(np.float32)
            return self._state.copy()
        step_s = time_s - last_s
        moved = landmarks - state
        unit = max(math.hypot(*eye_axis(landmarks)), 1e-3)
        speed = np.hypot(moved[:, :1], moved[:, 1:]) / (unit * step_s)
        cutoff_hz = MIN_CUTOFF_HZ + CUTOFF_PER_SPEED * speed
        share = 1.0 - np.exp(-2.0 * math.pi * cutoff_hz * step_s)
        self._state = (state + share * moved).astype(np.float32)
        return self._state.copy()


def smooth_landmarks(
    times_s: NDArray[np.floating], landmarks: NDArray[np.floating]
) -> NDArray[np.float32]:
    """The whole track [T, 68, 2] at ``times_s`` [T] through one :class:`LandmarkSmoother`."""
    smoother = LandmarkSmoother()
    frames = [
        smoother(float(t), frame.astype(np.float32))
        for t, frame in zip(times_s, landmarks, strict=True)
    ]
    return np.stack(frames) if frames else np.zeros((0, 68, 2), dtype=np.float32)
