"""Landmark smoothing: still points stay, noise shrinks, gaps start anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.faces.smoothing import MAX_GAP_S, LandmarkSmoother, smooth_landmarks


def some_face(scale: float = 1.0) -> np.ndarray:
    points = np.random.default_rng(1).normal(0, 30, (68, 2))
    points[36:42], points[42:48] = (-30, 0), (30, 0)
    return (points * scale).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 0.6), min_size=1, max_size=20))
def test_a_still_face_stays(steps_s: list[float]) -> None:
    face = some_face()
    times_s = np.cumsum(steps_s)
    smoothed = smooth_landmarks(times_s, np.stack([face] * len(times_s)))
    np.testing.assert_allclose(smoothed, np.stack([face] * len(times_s)), rtol=1e-5, atol=1e-4)


def test_noise_shrinks() -> None:
    face, rng = some_face(), np.random.default_rng(2)
    noise = rng.normal(0, 0.3, (100, 68, 2)).astype(np.float32)
    smoothed = smooth_landmarks(np.arange(100) / 10, face + noise)
    assert (smoothed - face).std() < 0.85 * noise.std()


def test_a_gap_starts_anew() -> None:
    smoother, face = LandmarkSmoother(), some_face()
    smoother(0.0, face)
    after = smoother(MAX_GAP_S + 0.01, face + 50)
    np.testing.assert_array_equal(after, face + 50)
    within = smoother(MAX_GAP_S + 0.06, face + 51)
    assert np.abs(within - (face + 51)).max() > 0


def test_size_does_not_matter() -> None:
    face, rng = some_face(), np.random.default_rng(3)
    frames = face + rng.normal(0, 1, (20, 68, 2)).astype(np.float32)
    times_s = np.arange(20) / 10
    small, large = smooth_landmarks(times_s, frames), smooth_landmarks(times_s, frames * 4)
    np.testing.assert_allclose(small * 4, large, rtol=1e-4, atol=1e-2)


def test_no_frames() -> None:
    assert smooth_landmarks(np.zeros(0), np.zeros((0, 68, 2))).shape == (0, 68, 2)
