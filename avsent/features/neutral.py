"""The speaker's own neutral: the median face of a track, as far as it has been seen.

Most of the time a face is at rest or speaks calmly: over a track the median of each landmark is
close to that face without expression. What is measured from there is free of who it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.features.face import normalise_landmarks

MOST_FRAMES = 256
"""Kept of a track; with more, every second one goes and from then on fewer are taken."""


class NeutralFace:
    """Running median of one track's normalised landmarks, in bounded memory."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.float32]] = []
        self._every, self._seen = 1, 0

    def add(self, landmarks: NDArray[Any]) -> None:
        """Another frame's ``landmarks`` [68, 2] in pixels, smoothed."""
        self._seen += 1
        if (self._seen - 1) % self._every:
            return
        normalised, usable = normalise_landmarks(landmarks[None])
        if not usable[0]:
            return
        self._kept.append(normalised[0])
        if len(self._kept) > MOST_FRAMES:
            self._kept = self._kept[::2]
            self._every *= 2

    def settle(self) -> None:
        """Keep the median alone, of a track that has ended: a video of hours has thousands."""
        middle = self.median()
        self._kept = [] if middle is None else [middle]

    def median(self) -> NDArray[np.float32] | None:
        """The face [51, 2] in eye distances; None where no frame was usable."""
        if not self._kept:
            return None
        middle: NDArray[np.float32] = np.median(np.stack(self._kept), axis=0).astype(np.float32)
        return middle
