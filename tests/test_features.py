"""Features: the spectrogram against slow sums, the face against the geometry it must not see."""

from __future__ import annotations

import dataclasses
import math

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.faces.points import eye_centres
from avsent.features.audio import (
    HOP_SAMPLES,
    MIN_FRAMES,
    SAMPLE_RATE_HZ,
    SILENCE_DBFS,
    AudioConfig,
    audible_power,
    mel_power,
    normalised_log,
)
from avsent.features.face import JAW_POINTS, POINTS, face_features, normalise_landmarks
from avsent.features.voice import audio_features
from avsent.training.augment import LEFT_EYE, RIGHT_EYE, upright

HOP_S = HOP_SAMPLES / SAMPLE_RATE_HZ


def voice(seconds: float = 1.0, seed: int = 0) -> np.ndarray:
    """A buzz of many harmonics that swells and fades, with some breath."""
    times_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 140 * k * times_s) / k for k in range(1, 20))
    breath = np.random.default_rng(seed).normal(0, 0.05, times_s.size)
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * times_s)
    return (0.2 * swell * (buzz + breath)).astype(np.float32)


# --- sound ---------------------------------------------------------------------------------------


def test_mel_power_equals_the_sums_written_out() -> None:
    config, samples = AudioConfig(), voice(0.3)
    n, half = config.fft_samples, config.fft_samples // 2
    window = np.zeros(n)
    hann = [0.5 - 0.5 * math.cos(2 * math.pi * k / 400) for k in range(400)]
    window[(n - 400) // 2 : (n + 400) // 2] = hann
    bank = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64, fmin=60.0, fmax=7600.0)
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(half + 1), np.arange(n)) / n)
    padded = np.concatenate([np.zeros(half), samples.astype(np.float64), np.zeros(half)])
    columns = []
    for centre in range(0, samples.size + 1, 160):
        spectrum = fourier @ (window * padded[centre : centre + n])
        columns.append(bank @ np.abs(spectrum) ** 2)
    expected = np.stack(columns, axis=1)
    found = mel_power(samples, config)
    assert found.dtype == np.float32
    assert found.shape == expected.shape == (64, 31)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * expected.max())


def test_normalised_log_by_hand() -> None:
    # 0, -10, -20 dB, and -30 dB floored at -20 dB: mean -12.5, variance 68.75.
    found = normalised_log(np.array([[1.0, 0.1], [0.01, 0.001]]), floor_db=20.0)
    expected = (np.array([[0.0, -10.0], [-20.0, -20.0]]) + 12.5) / math.sqrt(68.75)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32
    assert np.isfinite(normalised_log(np.zeros((64, 20)), 45.0)).all()


def test_mean_zero_and_deviation_one() -> None:
    found = audio_features(voice(), 0.0)
    assert found is not None
    assert found.log_mel.shape == (64, len(found.times_s))
    assert float(found.log_mel.mean()) == pytest.approx(0, abs=1e-4)
    assert float(found.log_mel.std()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("gain", [0.01, 0.05, 0.5])
def test_gain_does_not_matter(gain: float) -> None:
    loud, quiet = audio_features(voice(), 0.0), audio_features(voice() * np.float32(gain), 0.0)
    assert loud is not None
    assert quiet is not None
    np.testing.assert_allclose(quiet.log_mel, loud.log_mel, atol=1e-3)
    np.testing.assert_array_equal(quiet.times_s, loud.times_s)


def test_silence_and_too_short_a_sound_are_missing() -> None:
    assert audio_features(np.zeros(0, dtype=np.float32), 0.0) is None
    assert audio_features(np.zeros(SAMPLE_RATE_HZ, dtype=np.float32), 0.0) is None
    shortest = MIN_FRAMES * HOP_SAMPLES
    assert audio_features(voice()[: shortest - 1], 0.0) is None
    found = audio_features(voice()[:shortest], 0.0)
    assert found is not None
    assert found.log_mel.shape[1] >= MIN_FRAMES


def test_a_click_shorter_than_the_least_is_missing() -> None:
    samples = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    samples[8000:8800] = 0.5 * np.sin(np.arange(800))
    assert audio_features(samples, 0.0) is None


@pytest.mark.parametrize(("level_db", "heard"), [(1.0, True), (-1.0, False)])
def test_where_silence_begins(level_db: float, heard: bool) -> None:
    amplitude = math.sqrt(2) * 10 ** ((SILENCE_DBFS + level_db) / 20)
    tone = amplitude * np.sin(2 * np.pi * 400 * np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    assert (audio_features(tone.astype(np.float32), 0.0) is not None) == heard


@settings(max_examples=15, deadline=None)
@given(st.floats(0.1, 1.5), st.floats(0.3, 0.9), st.floats(0, 500))
def test_a_tone_shows_at_its_time(begin_s: float, lasting_s: float, start_s: float) -> None:
    """Quiet ends are cut off; what is left lies where it sounded, within half a window."""
    samples = np.random.default_rng(0).normal(0, 1e-5, 3 * SAMPLE_RATE_HZ)
    span = slice(round(begin_s * SAMPLE_RATE_HZ), round((begin_s + lasting_s) * SAMPLE_RATE_HZ))
    samples[span] += 0.5 * np.sin(2 * np.pi * 1000 * np.arange(samples[span].size) / SAMPLE_RATE_HZ)
    found = audio_features(samples.astype(np.float32), start_s)
    assert found is not None
    reach_s = 0.0125 + HOP_S
    assert found.times_s[0] - start_s == pytest.approx(begin_s, abs=reach_s)
    assert found.times_s[-1] - start_s == pytest.approx(begin_s + lasting_s, abs=reach_s)
    np.testing.assert_allclose(np.diff(found.times_s), HOP_S)


def test_a_burst_inside_a_hum_shows_at_its_time() -> None:
    times_s = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    samples = 0.1 * np.sin(2 * np.pi * 200 * times_s)
    samples[20_000:20_032] += 0.9  # a click at 1.25 s, 2 ms long
    found = audio_features(samples.astype(np.float32), 7.0)
    assert found is not None
    loudest = found.times_s[int(found.log_mel[40:].mean(axis=0).argmax())]
    assert loudest == pytest.approx(7.0 + 20_016 / SAMPLE_RATE_HZ, abs=HOP_S)


def test_audible_power_is_a_part_of_the_whole() -> None:
    config = AudioConfig()
    samples = np.concatenate([np.zeros(4000), voice(0.5), np.zeros(5000)]).astype(np.float32)
    found = audible_power(samples, config)
    assert found is not None
    power, first = found
    whole = mel_power(samples, config)
    assert 20 <= first <= 26
    np.testing.assert_array_equal(power, whole[:, first : first + power.shape[1]])
    untrimmed = audible_power(samples, dataclasses.replace(config, trim_db=200.0))
    assert untrimmed is not None
    assert untrimmed[0].shape == whole.shape


# --- face ----------------------------------------------------------------------------------------


def face(seed: int = 0, frames: int = 1) -> np.ndarray:
    points = np.random.default_rng(seed).normal(0, 30, (frames, 68, 2))
    points[:, 36:42] += (-60, 0)
    points[:, 42:48] += (60, 0)
    return points + np.array([300, 200])


@settings(max_examples=50, deadline=None)
@given(
    st.floats(-math.pi, math.pi),
    st.floats(0.05, 20),
    st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)),
)
def test_place_size_and_tilt_do_not_matter(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    points = face()
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    moved, usable = normalise_landmarks(scale * points @ turn + shift)
    assert usable.all()
    np.testing.assert_allclose(moved, normalise_landmarks(points)[0], atol=1e-4)


def test_eyes_lie_half_an_eye_distance_to_each_side() -> None:
    normalised, _ = normalise_landmarks(face(frames=5))
    assert normalised.shape == (5, POINTS, 2)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(normalised[:, LEFT_EYE].mean(1), [[-0.5, 0]] * 5, atol=1e-6)
    np.testing.assert_allclose(normalised[:, RIGHT_EYE].mean(1), [[0.5, 0]] * 5, atol=1e-6)


def test_normalised_by_hand() -> None:
    points = np.zeros((1, 68, 2))
    points[0, 36:42], points[0, 42:48] = (100, 100), (100, 140)  # an eye above the other
    points[0, 30], points[0, 0] = (80, 120), (999, 999)
    normalised, _ = normalise_landmarks(points)
    # The line of the eyes runs down the picture: what lies left of it is below them in the face.
    np.testing.assert_allclose(normalised[0, 30 - JAW_POINTS], (0, 0.5), atol=1e-6)


def test_frames_without_two_eyes_are_dropped_and_times_kept() -> None:
    points, times_s = face(frames=4), np.array([0.5, 0.6, 0.7, 0.8])
    points[1, 36:48] = (50, 60)
    crops = np.arange(4, dtype=np.uint8)[:, None, None].repeat(96, 1).repeat(96, 2)
    found = face_features(times_s, points, crops)
    assert found is not None
    assert found.times_s.tolist() == [0.5, 0.7, 0.8]
    np.testing.assert_allclose(found.landmarks, normalise_landmarks(points[[0, 2, 3]])[0])
    assert found.crops is not None
    assert found.crops[:, 0, 0].tolist() == [0, 2, 3]


def test_no_frame_left_is_no_face() -> None:
    assert face_features(np.zeros(0), np.zeros((0, 68, 2))) is None
    assert face_features(np.zeros(2), np.ones((2, 68, 2))) is None
    found = face_features(np.zeros(1), face())
    assert found is not None
    assert found.crops is None


def test_training_sees_the_same_geometry() -> None:
    points = face(frames=6)
    torch_points = upright(torch.from_numpy(points[:, JAW_POINTS:]))
    np.testing.assert_allclose(torch_points, normalise_landmarks(points)[0], atol=1e-6)
    left, right = eye_centres(points)
    np.testing.assert_allclose(points[:, JAW_POINTS:][:, LEFT_EYE].mean(1), left)
    np.testing.assert_allclose(points[:, JAW_POINTS:][:, RIGHT_EYE].mean(1), right)
