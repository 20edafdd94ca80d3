"""Training: augmentation, metrics; what the shipped model can."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_experts import some_faces

from avsent.checkpoints import load_checkpoint
from avsent.data.ravdess import RavdessClip, read_ravdess
from avsent.features.audio import FLOOR_DB, normalised_log
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.target import TargetModel, Utterances
from avsent.training import augment
from avsent.training.augment import MIRROR_POINTS, augmented_landmarks, augmented_log_mel
from avsent.training.calibrating import fit_temperature, softmax
from avsent.training.metrics import expected_calibration_error, majority, scores
from avsent.training.shipped.corpora import NO_LABEL, TEST_ACTORS, polarity_of

RAVDESS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ravdess"


pytestmark = pytest.mark.usefixtures("one_thread")


# --- augmentation --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 500), st.integers(0, 10**6))
def test_augmented_sound_is_a_spectrogram(frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    power = rng.gamma(1.0, 1.0, (64, frames)).astype(np.float32)
    before = power.copy()
    found = augmented_log_mel(power, rng)
    np.testing.assert_array_equal(power, before)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    low, high = frames * (1 - augment.SPEED) - 1, frames * (1 + augment.SPEED) + 1
    assert found.shape[0] == 64
    assert max(16, min(low, 256)) <= found.shape[1] <= min(high, augment.MAX_FRAMES)
    assert not np.array_equal(found, augmented_log_mel(power, rng))


def test_mirror_is_an_involution_that_swaps_the_eyes() -> None:
    assert len(MIRROR_POINTS) == 51
    assert [MIRROR_POINTS[k] for k in MIRROR_POINTS] == list(range(51))
    assert {MIRROR_POINTS[k] for k in range(19, 25)} == set(range(25, 31))
    # By name, in the numbers of the 68 points: outer eye corners, mouth corners, brow ends, nose.
    for left, right in ((36, 45), (39, 42), (37, 44), (48, 54), (60, 64), (17, 26), (30, 30)):
        assert MIRROR_POINTS[left - 17] == right - 17


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_augmented_faces_stay_normalised(count: int, frames: int, seed: int) -> None:
    faces = some_faces(count, frames)
    found = augmented_landmarks(faces, torch.Generator().manual_seed(seed))
    assert found.shape == faces.shape
    assert torch.isfinite(found).all()
    assert not torch.equal(found, faces)
    for eye, x in ((augment.LEFT_EYE, -0.5), (augment.RIGHT_EYE, 0.5)):
        centres = found[..., eye, :].mean(-2).reshape(-1, 2)
        torch.testing.assert_close(
            centres, torch.tensor([[x, 0.0]] * len(centres)), atol=1e-4, rtol=0
        )
    torch.testing.assert_close(faces, some_faces(count, frames))


def test_half_of_the_faces_are_mirrored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YAW_RAD", "PITCH_RAD", "AXIS_SCALE", "NOISE_EYE_DISTANCES"):
        monkeypatch.setattr(augment, name, 0.0)
    faces = some_faces(200)
    found = augmented_landmarks(faces, torch.Generator().manual_seed(1))
    mirrored = faces[:, :, list(MIRROR_POINTS)] * torch.tensor([-1.0, 1.0])
    same = (found - faces).abs().amax((1, 2, 3)) < 1e-5
    turned = (found - mirrored).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ turned).all()
    assert 70 <= int(turned.sum()) <= 130


# --- metrics -------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    truth, decided = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 2])
    found = scores(truth, decided, 3)
    assert found.confusion == ((3, 1, 0), (0, 1, 1), (0, 0, 0))
    assert found.count == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)  # class 2 never occurs
    empty = scores(truth[:0], decided[:0], 3)
    assert (empty.accuracy, empty.balanced_accuracy, empty.count) == (0.0, 0.0, 0)


def test_majority_is_learned_from_the_training_part() -> None:
    found = majority(np.array([2, 2, 0]), np.array([0, 0, 1, 2]), 3)
    assert found.confusion == ((0, 0, 2), (0, 0, 1), (0, 0, 1))
    assert found.accuracy == 0.25
    assert found.balanced_accuracy == pytest.approx(1 / 3)


def test_calibration_error_by_hand() -> None:
    # Bin 0.6–0.7: two of 0.65, one right: gap 0.15. Bin 0.9–1: 0.95 and 1.0, both right: 0.025.
    probabilities = np.array([[0.65, 0.35], [0.35, 0.65], [0.95, 0.05], [0.0, 1.0]])
    found = expected_calibration_error(probabilities, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(0.5 * 0.15 + 0.5 * 0.025)
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.5, (6000, 3))
    chosen = softmax(logits / temperature).cumsum(axis=1) > rng.random((6000, 1))
    assert fit_temperature(logits, chosen.argmax(axis=1)) == pytest.approx(temperature, rel=0.1)


def test_softmax_by_hand() -> None:
    found = softmax(np.array([[0.0, math.log(3)], [1e3, 1e3]]))
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]])


# --- the shipped model on people it has never met ------------------------------------------------


@torch.inference_mode()
def representations(model: TargetModel, clip: RavdessClip) -> dict[str, torch.Tensor]:
    """What the model makes of a clip's voice and of its face [1, 1, R]."""
    found = {}
    if clip.mel_power is not None:
        log_mel = torch.from_numpy(normalised_log(clip.mel_power, FLOOR_DB))[None]
        found["audio"] = model.encode_audio(log_mel, torch.tensor([log_mel.shape[2]]))[0][None]
    if clip.face is not None:
        assert clip.face.neutral is not None
        landmarks = torch.from_numpy(clip.face.landmarks)[None]
        mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
        extras = FaceExtras(neutral=torch.from_numpy(clip.face.neutral)[None])
        found["face"] = model.encode_face(landmarks, mask, extras)[0][None]
    return found


@torch.inference_mode()
def alone(
    model: TargetModel, encoded: dict[str, torch.Tensor], without: str | None
) -> torch.Tensor:
    """Logits [1, 3] of an utterance without company."""
    values, present = {}, {}
    for name in ("audio", "face"):
        there = name in encoded and name != without
        present[name] = torch.tensor([[there]])
        size = model.config.representation_size(name)
        values[name] = encoded[name] if there else torch.zeros(1, 1, size)
    return model(Utterances(values, present, torch.tensor([1]))).logits[0]


def test_the_shipped_model_beats_the_majority_class(tmp_path: Path) -> None:
    if not (RAVDESS / "landmarks.npz").is_file():
        pytest.skip(f"{RAVDESS} is not here: RAVDESS may not be passed on with the code")
    with np.load(RAVDESS / "landmarks.npz") as data:
        held_out = np.flatnonzero(np.isin(data["actor"], TEST_ACTORS))
        chosen = np.sort(np.random.default_rng(0).permutation(held_out)[:60])
        starts = np.concatenate([[0], np.cumsum(data["n_frames"])])
        frames = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in chosen])
        part = {key: data[key][chosen] for key in ("clip_id", "n_frames", "emotion", "actor")}
        np.savez(tmp_path / "landmarks.npz", landmarks=data["landmarks"][frames], **part)
    os.symlink(RAVDESS / "audio", tmp_path / "audio")
    clips = read_ravdess(tmp_path)
    assert (len(clips), {clip.actor for clip in clips}) == (60, set(TEST_ACTORS))
    model, truth = load_checkpoint().model, polarity_of(clips)
    encoded = [representations(model, clip) for clip in clips]
    for without, least in ((None, 0.6), ("audio", 0.5), ("face", 0.5)):
        logits = torch.cat([alone(model, one, without) for one in encoded])
        known = truth != NO_LABEL
        found = scores(truth[known], logits.argmax(dim=1).numpy()[known], 3)
        assert found.balanced_accuracy > least, found
