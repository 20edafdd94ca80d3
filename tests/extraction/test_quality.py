"""Plain checks of voice and face, on signals made by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.extraction.features.quality import (
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
    voice_fault,
)

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
    assert voice_fault(bursts()) is None
    assert voice_fault(in_noise(bursts(), LEAST_SNR_DB + 4)) is None
    lost = in_noise(bursts(), LEAST_SNR_DB - 4)
    fault = voice_fault(lost)
    assert fault is not None
    assert "drowned" in fault
    assert f"about {estimated_snr_db(lost):.0f} dB" in fault


def test_a_steady_tone_has_no_signal_to_noise_ratio() -> None:
    assert estimated_snr_db(sine()) < LEAST_SNR_DB


def test_white_noise_alone_is_no_voice() -> None:
    assert voice_fault(np.random.default_rng(2).normal(size=48_000).astype(np.float32)) is not None


def test_the_clipped_share_of_a_sine_is_that_of_geometry() -> None:
    # Of a sine cut off at 1 / gain, acos(1 / gain) of a quarter period lies above it.
    for gain in (1.5, 4.0, 10.0):
        cut = np.clip(sine(gain), -1, 1)
        above = 1 - np.arcsin(0.985 / gain) / (np.pi / 2)
        assert clipped_share(cut) == pytest.approx(above, abs=0.01)


def test_the_fault_of_a_clipped_voice() -> None:
    torn = np.clip(sine(100.0), -0.3, 0.3)
    assert clipped_share(torn) > MOST_CLIPPED
    fault = voice_fault(torn)
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
    assert voice_fault(found) is not None


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
