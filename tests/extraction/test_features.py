"""Features: the spectrogram against slow sums, the face against the geometry it must not see."""

from __future__ import annotations

import dataclasses
import math
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import cv2
import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from avsent.extraction.faces.geometry import eye_centres
from avsent.extraction.features import numba_cache
from avsent.extraction.features.face import (
    JAW_POINTS,
    MOST_FRAMES,
    POINTS,
    NeutralFace,
    face_features,
    normalise_landmarks,
)
from avsent.extraction.features.quality import (
    CLEAR_SNR_DB,
    LEAST_EYE_DISTANCE_PX,
    LEAST_SHARPNESS,
    LEAST_SNR_DB,
    MOST_CLIPPED,
    MOST_UNSTEADY,
    clipped_share,
    estimated_snr_db,
    eye_distance_px,
    face_fault,
    sharpness,
    unsteadiness,
    voice_quality,
)
from avsent.extraction.features.voice import (
    FLOOR_DB,
    HOP_SAMPLES,
    MIN_FRAMES,
    SILENCE_DBFS,
    AudioConfig,
    audible_power,
    audio_features,
    mel_power,
    normalised_log,
)
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.training.augmentation import LEFT_EYE, RIGHT_EYE, upright

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


@pytest.mark.parametrize("count", [512, 2560, 16_001, 170_000])
def test_mel_power_equals_librosas(count: int) -> None:
    config = AudioConfig()
    samples = np.random.default_rng(count).normal(0, 0.1, count).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=samples,
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        win_length=config.window_samples,
        hop_length=config.hop_samples,
        n_mels=config.mel_bands,
        fmin=config.lowest_hz,
        fmax=config.highest_hz,
        pad_mode="constant",
    )
    found = mel_power(samples, config)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


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
    log_mel = normalised_log(found.power, FLOOR_DB)
    assert log_mel.shape == (64, len(found.times_s))
    assert float(log_mel.mean()) == pytest.approx(0, abs=1e-4)
    assert float(log_mel.std()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("gain", [0.01, 0.05, 0.5])
def test_gain_does_not_matter(gain: float) -> None:
    loud, quiet = audio_features(voice(), 0.0), audio_features(voice() * np.float32(gain), 0.0)
    assert loud is not None
    assert quiet is not None
    log_mels = [normalised_log(found.power, FLOOR_DB) for found in (quiet, loud)]
    np.testing.assert_allclose(*log_mels, atol=1e-3)
    np.testing.assert_array_equal(quiet.times_s, loud.times_s)


def test_silence_and_too_short_a_sound_are_missing() -> None:
    assert audio_features(np.zeros(0, dtype=np.float32), 0.0) is None
    assert audio_features(np.zeros(SAMPLE_RATE_HZ, dtype=np.float32), 0.0) is None
    shortest = MIN_FRAMES * HOP_SAMPLES
    assert audio_features(voice()[: shortest - 1], 0.0) is None
    found = audio_features(voice()[:shortest], 0.0)
    assert found is not None
    assert found.power.shape[1] >= MIN_FRAMES


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
    loudest = found.times_s[int(normalised_log(found.power, FLOOR_DB)[40:].mean(axis=0).argmax())]
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


def test_normalised_landmarks_by_hand() -> None:
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
    assert found.pictures is not None
    assert found.pictures.shape == (2, 48, 48)
    assert found.pictures[:, 0, 0].tolist() == [0, 3]  # of every second frame that is left


def test_no_frame_left_is_no_face() -> None:
    assert face_features(np.zeros(0), np.zeros((0, 68, 2))) is None
    assert face_features(np.zeros(2), np.ones((2, 68, 2))) is None
    found = face_features(np.zeros(1), face())
    assert found is not None
    assert found.pictures is None


def test_training_sees_the_same_geometry() -> None:
    points = face(frames=6)
    torch_points = upright(torch.from_numpy(points[:, JAW_POINTS:]))
    np.testing.assert_allclose(torch_points, normalise_landmarks(points)[0], atol=1e-6)
    left, right = eye_centres(points)
    np.testing.assert_allclose(points[:, JAW_POINTS:][:, LEFT_EYE].mean(1), left)
    np.testing.assert_allclose(points[:, JAW_POINTS:][:, RIGHT_EYE].mean(1), right)


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
def test_the_neutral_of_a_short_track_is_the_median_of_all_frames(count: int) -> None:
    frames = frames_of(count)
    found = after(frames).median()
    assert found is not None
    assert (found.shape, found.dtype) == ((51, 2), np.float32)
    expected = np.median(normalise_landmarks(frames)[0], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_neutral_face_is_the_running_median() -> None:
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
def test_frames_without_two_eyes_are_ignored(count: int) -> None:
    blind = np.full((count, 68, 2), 7.0)
    assert after(blind).median() is None
    frames = frames_of(20)
    mixed = np.concatenate([frames[:5], blind[:100], frames[5:]])
    expected = after(frames).median()
    assert expected is not None
    np.testing.assert_array_equal(after(mixed).median(), expected)


CHILD = """
import os, sys
from pathlib import Path
from avsent.extraction.features import numba_cache
numba_cache.may_be_written = lambda folder: False
numba_cache.ensure_numba_cache()
folder = Path(os.environ["NUMBA_CACHE_DIR"])
assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
print(folder)
"""


def test_a_writable_folder_is_found(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    nowhere = [tmp_path / "missing", file, file / "below"]
    assert not any(map(numba_cache.may_be_written, nowhere))
    assert numba_cache.may_be_written(tmp_path)
    assert list(tmp_path.iterdir()) == [file]  # nothing is left behind


def test_a_private_folder_for_the_length_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


def test_nothing_changes_where_numba_finds_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(numba_cache.VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    numba_cache.ensure_numba_cache()
    assert numba_cache.VARIABLE not in numba_cache.os.environ


def test_compiled_code_in_a_read_only_folder_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the answer to "may it be written" is ours here: root may write anywhere."""
    brought = tmp_path / "brought"
    (brought / "librosa").mkdir(parents=True)
    (brought / "librosa" / "pitch.nbi").write_bytes(b"compiled")
    (brought / "librosa").chmod(0o555)
    monkeypatch.setenv(numba_cache.VARIABLE, str(brought))
    monkeypatch.delitem(sys.modules, "numba", raising=False)

    numba_cache.ensure_numba_cache()
    assert numba_cache.os.environ[numba_cache.VARIABLE] == str(brought)  # it can be written

    monkeypatch.setattr(numba_cache, "may_be_written", lambda folder: False)
    numba_cache.ensure_numba_cache()
    own = Path(numba_cache.os.environ[numba_cache.VARIABLE])
    assert own != brought
    assert own.stat().st_mode & 0o077 == 0
    assert (own / "librosa" / "pitch.nbi").read_bytes() == b"compiled"
    assert (own / "librosa").stat().st_mode & 0o200  # numba adds what is missing
    shutil.rmtree(own)


def test_a_folder_that_is_missing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(numba_cache.VARIABLE, str(tmp_path / "a" / "b"))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    numba_cache.ensure_numba_cache()
    assert numba_cache.os.environ[numba_cache.VARIABLE] == str(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    assert not numba_cache.may_be_written(tmp_path / "file" / "below")


RATE_HZ = 16_000
SECONDS = 3.0


def bursts(seed: int = 0, seconds: float = SECONDS) -> np.ndarray:
    """Syllables: 0.2 s of a tone and 0.1 s of nothing, in turns; float32 [n]."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    pitch_hz = np.random.default_rng(seed).uniform(120, 240)
    tone = np.sin(2 * np.pi * pitch_hz * time_s) + 0.5 * np.sin(4 * np.pi * pitch_hz * time_s)
    return np.where(time_s % 0.3 < 0.2, 0.2 * tone, 0).astype(np.float32)


def in_noise(speech: np.ndarray, snr_db: float) -> np.ndarray:
    """With white noise, measured against the loud parts of ``speech``."""
    power = np.mean(np.square(speech[speech != 0], dtype=np.float64))
    noise = np.random.default_rng(1).normal(size=len(speech))
    return (speech + np.sqrt(power * 10 ** (-snr_db / 10)) * noise).astype(np.float32)


def sine(amplitude: float = 1.0) -> np.ndarray:
    time_s = np.arange(int(SECONDS * RATE_HZ)) / RATE_HZ
    return (amplitude * np.sin(2 * np.pi * 220 * time_s)).astype(np.float32)


def faces(count: int = 3, side: int = 96, seed: int = 0) -> np.ndarray:
    """Crops with as much detail at every scale as in pictures of the world: uint8 [T, S, S]."""
    rng = np.random.default_rng(seed)
    along = np.fft.fftfreq(side)
    scale = np.maximum(np.hypot(along[:, None], along[None]), 1 / side)
    spectra = np.fft.fft2(rng.normal(size=(count, side, side))) / scale
    made = np.real(np.fft.ifft2(spectra))
    made = (made - made.mean()) / made.std()
    return np.clip(128 + 40 * made, 0, 255).astype(np.uint8)


def blurred(crops: np.ndarray, px: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(crop, (0, 0), px) for crop in crops])


def landmarks(eyes_px: float, count: int = 3) -> np.ndarray:
    """All points of each eye in its middle: float32 [T, 68, 2]."""
    points = np.zeros((count, 68, 2), dtype=np.float32)
    points[:, 36:42, 0], points[:, 42:48, 0] = 100.0, 100.0 + eyes_px
    return points


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0, 20.0])
def test_the_ratio_of_a_voice_to_the_noise_in_its_pauses_is_found(snr_db: float) -> None:
    assert estimated_snr_db(in_noise(bursts(), snr_db)) == pytest.approx(snr_db, abs=2.0)


def test_a_voice_is_lost_in_noise_and_not_in_a_quiet_room() -> None:
    assert voice_quality(bursts()).fault is None
    assert voice_quality(in_noise(bursts(), LEAST_SNR_DB + 4)).fault is None
    lost = in_noise(bursts(), LEAST_SNR_DB - 4)
    fault = voice_quality(lost).fault
    assert fault is not None
    assert "drowned" in fault
    assert f"about {estimated_snr_db(lost):.0f} dB" in fault


@pytest.mark.parametrize(
    ("snr_db", "doubtful"), [(CLEAR_SNR_DB - 4, True), (CLEAR_SNR_DB + 4, False)]
)
def test_a_voice_hardly_louder_than_noise_is_used_with_a_warning(
    snr_db: float, doubtful: bool
) -> None:
    heard = in_noise(bursts(), snr_db)
    assert voice_quality(heard).fault is None
    doubt = voice_quality(heard).doubt
    assert (doubt is not None) == doubtful
    if doubt is not None:
        assert f"about {estimated_snr_db(heard):.0f} dB" in doubt
    assert voice_quality(bursts()).doubt is None


def test_a_steady_tone_has_no_signal_to_noise_ratio() -> None:
    assert estimated_snr_db(sine()) < LEAST_SNR_DB


def test_white_noise_alone_is_no_voice() -> None:
    assert (
        voice_quality(np.random.default_rng(2).normal(size=48_000).astype(np.float32)).fault
        is not None
    )


def test_the_clipped_share_of_a_sine_is_that_of_geometry() -> None:
    # Of a sine cut off at 1 / gain, acos(1 / gain) of a quarter period lies above it.
    for gain in (1.5, 4.0, 10.0):
        cut = np.clip(sine(gain), -1, 1)
        above = 1 - np.arcsin(0.985 / gain) / (np.pi / 2)
        assert clipped_share(cut) == pytest.approx(above, abs=0.01)


def test_the_fault_of_a_clipped_voice() -> None:
    torn = np.clip(sine(100.0), -0.3, 0.3)
    assert clipped_share(torn) > MOST_CLIPPED
    fault = voice_quality(torn).fault
    assert fault is not None
    assert "clipped" in fault
    assert clipped_share(bursts()) < MOST_CLIPPED / 4


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0), np.zeros(10), np.zeros(48_000), np.full(48_000, 0.5), np.ones(1)],
    ids=["empty", "few", "silence", "constant", "one"],
)
def test_sound_without_anything_in_it_gives_numbers_and_a_fault(samples: np.ndarray) -> None:
    found = samples.astype(np.float32)
    assert 0 <= clipped_share(found) <= 1
    assert estimated_snr_db(found) == -np.inf
    assert voice_quality(found).fault is not None


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(1e-3, 1e3), snr_db=st.floats(0, 30), seed=st.integers(0, 99))
def test_how_loud_a_recording_is_does_not_matter(gain: float, snr_db: float, seed: int) -> None:
    quiet = in_noise(bursts(seed, 1.0), snr_db)
    loud = (gain * quiet).astype(np.float32)
    # Below a millionth of full scale the floor of the estimate begins.
    assert estimated_snr_db(loud) == pytest.approx(estimated_snr_db(quiet), abs=0.1)
    assert clipped_share(loud) == pytest.approx(clipped_share(quiet), abs=2e-3)


def test_a_blurred_picture_is_told_from_a_sharp_one() -> None:
    sharp = faces()
    values = [sharpness(blurred(sharp, px)) for px in (1, 2, 4, 8, 12)]
    assert values == sorted(values, reverse=True)
    assert sharpness(sharp) > 4 * LEAST_SHARPNESS
    assert sharpness(blurred(sharp, 2)) > LEAST_SHARPNESS  # 1 of 48
    assert sharpness(blurred(sharp, 8)) < LEAST_SHARPNESS  # 4 of 48


@pytest.mark.parametrize("contrast", [0.25, 0.5])
def test_a_dark_picture_is_as_sharp_as_a_bright_one(contrast: float) -> None:
    for crops in (faces(), blurred(faces(), 8)):
        dark = np.round(crops * contrast).astype(np.uint8)
        assert sharpness(dark) == pytest.approx(sharpness(crops), rel=0.25)


def test_noise_does_not_hide_a_blur() -> None:
    noise = np.random.default_rng(3).normal(0, 2, faces().shape)
    grainy = np.clip(blurred(faces(), 8) + noise, 0, 255).astype(np.uint8)
    assert sharpness(grainy) < LEAST_SHARPNESS


@settings(max_examples=10, deadline=None)
@given(
    offset=st.integers(0, 40), contrast=st.floats(0.4, 0.8), blur_px=st.sampled_from([0.5, 3, 8])
)
def test_light_and_contrast_do_not_matter(offset: int, contrast: float, blur_px: float) -> None:
    crops = blurred(faces(1), blur_px)
    lit = np.round(crops * contrast + offset).astype(np.uint8)
    assert sharpness(lit) == pytest.approx(sharpness(crops), rel=0.15)


@pytest.mark.parametrize("crops", [np.zeros((0, 96, 96)), np.full((2, 96, 96), 77)])
def test_a_picture_without_detail_is_not_sharp(crops: np.ndarray) -> None:
    assert sharpness(crops.astype(np.uint8)) == 0.0


def test_eyes_are_measured_in_pixels_by_the_median_frame() -> None:
    apart = np.concatenate([landmarks(20.0, 3), landmarks(300.0, 2)])
    assert eye_distance_px(apart) == pytest.approx(20.0)


def test_jumping_landmarks_differ_from_a_moving_face() -> None:
    rng = np.random.default_rng(4)
    still = np.repeat(rng.normal(size=(1, 51, 2)), 20, axis=0).astype(np.float32)
    nodding = (still + 0.2 * np.sin(np.arange(20) / 3)[:, None, None]).astype(np.float32)
    leaping = (still + rng.normal(size=still.shape)).astype(np.float32)
    assert unsteadiness(still) == 0.0
    assert unsteadiness(nodding) < MOST_UNSTEADY < unsteadiness(leaping)
    assert unsteadiness(leaping[:3]) == 0.0


def test_the_fault_of_a_jumping_face() -> None:
    leaping = landmarks(40.0, 20)
    leaping[:, 48:] += np.random.default_rng(5).normal(0, 40, (20, 20, 2)).astype(np.float32)
    leaping[:, :36] += np.random.default_rng(6).normal(0, 40, (20, 36, 2)).astype(np.float32)
    fault = face_fault(leaping, faces(2))
    assert fault is not None
    assert "steadily" in fault


def test_the_faults_of_a_tiny_and_of_a_blurred_face() -> None:
    large = LEAST_EYE_DISTANCE_PX * 2
    assert face_fault(landmarks(large), faces()) is None
    tiny = face_fault(landmarks(LEAST_EYE_DISTANCE_PX - 1), faces())
    assert tiny is not None
    assert "too small" in tiny
    soft = face_fault(landmarks(large), blurred(faces(), 8))
    assert soft is not None
    assert "blurred" in soft


def test_a_few_blurred_frames_do_not_make_a_face_blurred() -> None:
    mixed = np.concatenate([faces(5), blurred(faces(2), 8)])
    assert face_fault(landmarks(40.0, 7), mixed) is None
