"""Speech segmentation of sound made by hand, with every push checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from avsent.media import SAMPLE_RATE_HZ
from avsent.speech import FRAME_SAMPLES
from avsent.utterances import Segment, SpeechSegmenter

Sound = NDArray[np.float32]


class LevelDetector:
    """A frame's peak is its probability of being speech: tests can write probabilities."""

    name: ClassVar[str] = "level"

    def __init__(self) -> None:
        self.resets = 0
        self.asked: list[int] = []  # how many frames at once

    def reset(self) -> None:
        self.resets += 1

    def probabilities(self, frames: Sound) -> list[float]:
        self.asked.append(len(frames))
        return [float(peak) for peak in np.abs(frames).max(axis=1)]


def frames(*parts: tuple[int, float]) -> Sound:
    """Sound of so many frames at each level."""
    return np.concatenate([np.full(n * FRAME_SAMPLES, level, np.float32) for n, level in parts])


def segment(
    sound: Sound, start_s: float = 0.0, cuts: Iterable[int] = (), detector: object = None
) -> list[Segment]:
    """Push the sound in pieces; check on the way that nothing reaches back too far."""
    segmenter = SpeechSegmenter(detector or LevelDetector())  # type: ignore[arg-type]
    edges = [0, *sorted(c for c in cuts if c <= sound.size), sound.size]
    found: list[Segment] = []
    for begin, end in itertools.pairwise(edges):
        since_s = segmenter.open_since_s
        new = segmenter.push(start_s + begin / SAMPLE_RATE_HZ, sound[begin:end])
        assert segmenter.open_since_s >= since_s
        assert all(s.start_s >= since_s for s in new)
        found += new
    since_s = segmenter.open_since_s
    last = segmenter.flush()
    assert all(s.start_s >= since_s for s in last)
    assert segmenter.flush() == []
    return found + last


def times(found: Sequence[Segment]) -> list[tuple[float, float]]:
    return [(round(s.start_s, 4), round(s.end_s, 4)) for s in found]
