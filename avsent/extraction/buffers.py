"""Buffers of the recent sound and faces that an utterance may still need."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import FaceObservation


class RecentSound:
    """The latest chunks of continuous mono sound."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._chunks: deque[tuple[float, float, NDArray[np.float32]]] = deque()
        self.end_s = 0.0

    def add(self, start_s: float, samples: NDArray[np.float32]) -> None:
        """Append a chunk [N] that follows the one before without a hole."""
        if samples.size:
            self.end_s = start_s + samples.size / self._rate_hz
            self._chunks.append((start_s, self.end_s, samples))

    def between(self, start_s: float, end_s: float) -> tuple[NDArray[np.float32], float]:
        """Samples [N] from ``start_s`` to ``end_s``, as far as kept, and the time of the first."""
        if not self._chunks:
            return np.zeros(0, dtype=np.float32), start_s
        origin_s = self._chunks[0][0]
        first = max(0, round((start_s - origin_s) * self._rate_hz))
        last = max(first, round((end_s - origin_s) * self._rate_hz))
        sound = np.concatenate([samples for *_, samples in self._chunks])[first:last]
        return sound, origin_s + first / self._rate_hz

    def forget(self, before_s: float) -> None:
        """Drop the chunks that end before ``before_s``."""
        while self._chunks and self._chunks[0][1] <= before_s:
            self._chunks.popleft()


class RecentFaces:
    """The faces in the latest analysed frames."""

    def __init__(self) -> None:
        self._frames: deque[tuple[float, tuple[FaceObservation, ...]]] = deque()

    def add(self, time_s: float, observations: Sequence[FaceObservation]) -> None:
        """Append an analysed frame; it may show no face."""
        self._frames.append((time_s, tuple(observations)))

    def between(self, start_s: float, end_s: float) -> tuple[int, list[FaceObservation]]:
        """Number of analysed frames from ``start_s`` to ``end_s``, and the faces in them."""
        inside = [faces for time_s, faces in self._frames if start_s <= time_s <= end_s]
        return len(inside), [face for faces in inside for face in faces]

    def forget(self, before_s: float) -> None:
        """Drop the frames before ``before_s``."""
        while self._frames and self._frames[0][0] < before_s:
            self._frames.popleft()
