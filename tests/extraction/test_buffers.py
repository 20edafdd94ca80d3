"""Buffers of recent sound and faces: slices are exact, whatever was dropped before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsent.extraction.buffers import RecentFaces, RecentSound
from avsent.extraction.faces.geometry import CROP_PX, FaceObservation

RATE_HZ = 16_000


def signal_of(size: int) -> np.ndarray:
    """Every sample tells its own index."""
    return np.arange(size, dtype=np.float32)


def filled(sizes: list[int], start_s: float = 0.0) -> tuple[RecentSound, np.ndarray]:
    sound, signal, position = RecentSound(RATE_HZ), signal_of(sum(sizes)), 0
    for size in sizes:
        sound.add(start_s + position / RATE_HZ, signal[position : position + size])
        position += size
    return sound, signal


chunk_sizes = st.lists(st.integers(0, 3000), min_size=1, max_size=12)
# Off the grid of samples, but never in the middle between two of them.
times = st.tuples(st.integers(-500, 40_000), st.floats(-0.4, 0.4))


@given(chunk_sizes, times, times, st.floats(0, 5))
def test_between_equals_a_slice_of_the_whole(
    sizes: list[int], first: tuple[int, float], last: tuple[int, float], start_s: float
) -> None:
    sound, signal = filled(sizes, start_s)
    begin, end = (start_s + (whole + part) / RATE_HZ for whole, part in (first, last))
    samples, first_s = sound.between(begin, end)
    expected = signal[max(0, first[0]) : max(0, last[0])]
    np.testing.assert_array_equal(samples, expected)
    assert samples.dtype == np.float32
    if expected.size:
        assert first_s == pytest.approx(start_s + int(expected[0]) / RATE_HZ, abs=1e-9)
    if sum(sizes):
        assert sound.end_s == pytest.approx(start_s + signal.size / RATE_HZ, abs=1e-9)


@given(chunk_sizes, st.integers(0, 36_000), times, times)
def test_dropping_keeps_everything_later(
    sizes: list[int], forgotten: int, first: tuple[int, float], last: tuple[int, float]
) -> None:
    sound, signal = filled(sizes)
    sound.forget(forgotten / RATE_HZ)
    begin, end = ((whole + part) / RATE_HZ for whole, part in (first, last))
    samples, first_s = sound.between(begin, end)
    asked = signal[max(0, first[0]) : max(0, last[0])]
    assert set(asked[asked >= forgotten]) <= set(samples) <= set(asked)
    if samples.size:
        # One stretch without a hole, up to the end of what was asked for.
        np.testing.assert_array_equal(np.diff(samples), 1)
        assert samples[-1] == asked[-1]
        assert first_s == pytest.approx(int(samples[0]) / RATE_HZ, abs=1e-9)


@given(chunk_sizes, st.integers(0, 36_000))
def test_less_than_a_chunk_too_much_is_kept(sizes: list[int], forgotten: int) -> None:
    sound, signal = filled(sizes)
    sound.forget(forgotten / RATE_HZ)
    samples, _ = sound.between(0.0, 10.0)
    assert samples.size <= max(0, signal.size - forgotten) + max(sizes)


def test_chunks_may_follow_after_dropping() -> None:
    sound, _ = filled([100, 100])
    sound.forget(1.0)
    assert sound.between(0.0, 1.0)[0].size == 0
    sound.add(200 / RATE_HZ, np.full(50, 7.0, dtype=np.float32))
    samples, first_s = sound.between(0.0, 1.0)
    np.testing.assert_array_equal(samples, np.full(50, 7.0))
    assert first_s == 200 / RATE_HZ


def test_no_sound_yet() -> None:
    samples, first_s = RecentSound(RATE_HZ).between(1.5, 2.0)
    assert samples.size == 0
    assert first_s == 1.5


# --- faces ---------------------------------------------------------------------------------------


def face(track: int, time_s: float) -> FaceObservation:
    return FaceObservation(
        track=track,
        time_s=time_s,
        box=(0.0, 0.0, 10.0, 10.0),
        landmarks=np.zeros((68, 2), dtype=np.float32),
        crop=np.zeros((CROP_PX, CROP_PX), dtype=np.uint8),
    )


frames_of = st.lists(st.integers(0, 3), max_size=20)
tenths = st.integers(-5, 25)


@given(frames_of, tenths, tenths, tenths)
def test_faces_equal_a_plain_list(counts: list[int], start: int, end: int, forgotten: int) -> None:
    recent = RecentFaces()
    frames = [(k / 10, [face(t, k / 10) for t in range(n)]) for k, n in enumerate(counts)]
    for time_s, faces in frames:
        recent.add(time_s, faces)
    recent.forget(forgotten / 10)
    inside = [
        faces
        for time_s, faces in frames
        if time_s >= forgotten / 10 and start / 10 <= time_s <= end / 10
    ]
    count, found = recent.between(start / 10, end / 10)
    assert count == len(inside)
    assert found == [one for faces in inside for one in faces]
