"""The face at rest: the median of a track, in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from avsent.features.face import JAW_POINTS, normalise_landmarks
from avsent.features.neutral import MOST_FRAMES, NeutralFace

SMILE = 0.3
"""In eye distances."""


def frames_of(count: int, seed: int = 0) -> NDArray[np.float64]:
    """Landmarks [N, 68, 2] in pixels of one face; noise of 2, eyes 100 apart."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(-50, 50, (68, 2))
    base[36:42], base[42:48] = (-50, 0), (50, 0)
    noise = rng.normal(0, 2, (count, 68, 2))
    noise[:, 36:48] = 0  # else the noise of the eyes is in all points
    return base + noise + 200


def after(frames: NDArray[np.float64]) -> NeutralFace:
    neutral = NeutralFace()
    for frame in frames:
        neutral.add(frame)
    return neutral


@pytest.mark.parametrize("count", [1, 2, 7, 100, MOST_FRAMES])
def test_of_a_short_track_it_is_the_median_of_all_frames(count: int) -> None:
    frames = frames_of(count)
    found = after(frames).median()
    assert found is not None
    assert (found.shape, found.dtype) == ((51, 2), np.float32)
    expected = np.median(normalise_landmarks(frames)[0], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_it_runs_with_the_track() -> None:
    frames, neutral = frames_of(40), NeutralFace()
    for count, frame in enumerate(frames, start=1):
        neutral.add(frame)
        expected = np.median(normalise_landmarks(frames[:count])[0], axis=0)
        np.testing.assert_allclose(neutral.median(), expected, atol=1e-6)


def test_place_size_and_tilt_of_a_frame_do_not_matter() -> None:
    frames, rng = frames_of(30), np.random.default_rng(1)
    moved = []
    for frame in frames:
        turn = rng.uniform(-0.5, 0.5)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        moved.append(rng.uniform(0.3, 3) * frame @ rotation.T + rng.uniform(-100, 100, 2))
    expected = after(frames).median()
    assert expected is not None
    np.testing.assert_allclose(after(np.stack(moved)).median(), expected, atol=1e-5)


@pytest.mark.parametrize("smiles", [slice(0, 0), slice(0, 40_000), slice(60_000, 100_000)])
def test_a_long_track_takes_no_more_memory_and_is_seen_from_end_to_end(smiles: slice) -> None:
    few = frames_of(1000)
    smiling = few.copy()
    smiling[:, JAW_POINTS + 31 :, 1] -= 100 * SMILE
    mood = np.zeros(100_000, dtype=bool)
    mood[smiles] = True
    rng = np.random.default_rng(3)
    tracemalloc.start()
    neutral = NeutralFace()
    for smile, row in zip(mood, rng.integers(1000, size=len(mood)), strict=True):
        neutral.add(smiling[row] if smile else few[row])
    held_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_bytes < 3 * MOST_FRAMES * 51 * 2 * 4  # of 41 MB
    at_rest = np.median(normalise_landmarks(few)[0], axis=0)
    found = neutral.median()
    assert found is not None
    # Where two fifths smile the median of all is that of a sixth of those at rest: 1 σ, or 0.02.
    assert np.abs(found - at_rest).max() < (0.01 if smiles.stop == 0 else 0.05) < SMILE / 5


@pytest.mark.parametrize("count", [0, 1, 300])
def test_frames_without_two_eyes_say_nothing(count: int) -> None:
    blind = np.full((count, 68, 2), 7.0)
    assert after(blind).median() is None
    frames = frames_of(20)
    mixed = np.concatenate([frames[:5], blind[:100], frames[5:]])
    expected = after(frames).median()
    assert expected is not None
    np.testing.assert_array_equal(after(mixed).median(), expected)
