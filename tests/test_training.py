"""Training: augmentation, metrics, made-up videos; that it learns; what the shipped model can."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.checkpoints import load_checkpoint
from avsent.data.ravdess import RavdessClip, read_ravdess
from avsent.features.face import FaceFeatures
from avsent.labels import EMOTIONS
from avsent.networks.config import ContextConfig, TargetConfig
from avsent.networks.target import TargetModel
from avsent.training import augment
from avsent.training.augment import MIRROR_POINTS, augmented_landmarks, augmented_log_mel, upright
from avsent.training.calibrating import fit_temperature, softmax
from avsent.training.context import (
    MAX_UTTERANCES,
    ContextTraining,
    Encoded,
    draw_videos,
    encode_clips,
    evaluate_videos,
    single_logits,
    train_context,
)
from avsent.training.corpora import NO_LABEL, TEST_ACTORS, Stills
from avsent.training.encoders import EncoderTraining, train_audio_encoder, train_face_encoder
from avsent.training.metrics import expected_calibration_error, majority, scores

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


def some_faces(count: int, frames: int = 3) -> torch.Tensor:
    points = torch.randn(count, frames, 51, 2, generator=torch.Generator().manual_seed(count)) / 4
    points[..., augment.LEFT_EYE, 0] -= 0.5
    points[..., augment.RIGHT_EYE, 0] += 0.5
    return upright(points)


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


# --- made-up videos ------------------------------------------------------------------------------


def separable(
    speakers: int, seed: int, *, audio: bool = True, each: int = 4, named: bool = False
) -> Encoded:
    """Random representations that tell the polarity; ``named`` ones hold speaker and row."""
    rng, means = np.random.default_rng(seed), np.random.default_rng(99).normal(0, 1, (2, 3, 64))
    polarity = np.tile(np.repeat(np.arange(3), each), speakers)
    speaker = np.repeat(np.arange(speakers), 3 * each)
    voice, face = (
        (0.4 * means[m][polarity][:, None] + rng.normal(0, 0.7, (len(polarity), 3, 64)))
        for m in range(2)
    )
    for tensor in (voice, face) if named else ():
        tensor[..., 0], tensor[..., 1] = speaker[:, None], np.arange(len(polarity))[:, None]
    return Encoded(
        audio=torch.from_numpy(voice).float() * audio,
        face=torch.from_numpy(face).float(),
        has_audio=np.full(len(polarity), audio),
        has_face=np.ones(len(polarity), dtype=bool),
        polarity=polarity,
        speaker=speaker,
    )


def test_videos_hold_one_speaker_and_true_labels() -> None:
    items = separable(4, 0, named=True)
    videos, labels = draw_videos(items, 400, np.random.default_rng(0), damage=False)
    inside = torch.arange(MAX_UTTERANCES)[None] < videos.lengths[:, None]
    assert sorted(set(videos.lengths.tolist())) == list(range(1, MAX_UTTERANCES + 1))
    assert torch.equal(videos.present["audio"], inside)
    assert torch.equal(videos.present["face"], inside)
    assert torch.equal(labels != NO_LABEL, inside)
    rows = videos.values["face"][..., 1].long()
    assert torch.equal(labels[inside], torch.from_numpy(items.polarity)[rows[inside]])
    assert torch.equal(
        videos.values["audio"][inside], items.audio[rows[inside], 0]
    )  # unchanged clips
    for b in range(400):
        assert len(set(videos.values["face"][b, inside[b], 0].tolist())) == 1
    long = videos.lengths >= 5
    uniform = [len(set(labels[b][inside[b]].tolist())) == 1 for b in torch.where(long)[0]]
    assert 0.4 < np.mean(uniform) < 0.62
    assert np.bincount(labels[inside]).min() > 0.25 * int(inside.sum())


def test_damaged_videos_never_lose_everything() -> None:
    items = dataclasses.replace(separable(3, 1, named=True), has_audio=np.arange(36) % 5 > 0)
    videos, labels = draw_videos(items, 1500, np.random.default_rng(1))
    audio, face = videos.present["audio"], videos.present["face"]
    inside = torch.arange(MAX_UTTERANCES)[None] < videos.lengths[:, None]
    assert not (audio | face)[~inside].any()
    assert torch.equal(labels == NO_LABEL, ~(audio | face))
    assert (audio | face).any(1).all()
    rows = videos.values["face"][..., 1].long()
    assert not audio[inside & ~torch.from_numpy(items.has_audio)[rows]].any()
    no_face = (~face).masked_fill(~inside, True).all(1)
    assert 0.08 < float(no_face[videos.lengths >= 3].float().mean()) < 0.2
    versions = (
        (videos.values["face"][:, :, None] == items.face[rows]).all(-1).float().argmax(-1)[inside]
    )
    assert torch.bincount(versions, minlength=3).min() > 0.25 * len(versions)


# --- it learns -----------------------------------------------------------------------------------


def test_the_context_networks_learn() -> None:
    torch.manual_seed(0)
    small = ContextConfig(first_gru=16, dense=24, second_gru=16, classifier=24, dropout=0.1)
    model = TargetModel(TargetConfig(context=small))
    train, stills = separable(6, 2, each=10), separable(1, 3, audio=False, each=30)
    held_out, held_out_stills = separable(3, 4), separable(1, 5, audio=False)
    before = evaluate_videos(model.eval(), held_out, seed=3).balanced_accuracy
    lines: list[str] = []
    plan = ContextTraining(steps=80, videos=24, learning_rate=5e-3, check_every=40)
    encoder = {k: v.clone() for k, v in model.audio_encoder.state_dict().items()}
    value = train_context(model, train, stills, held_out, held_out_stills, 0, plan, lines.append)
    assert before < 0.6
    assert value > 0.9
    assert (len(lines), model.training) == (2, False)
    for without in (None, "audio", "face"):
        assert evaluate_videos(model, held_out, 3, without=without).balanced_accuracy > 0.9
        decided = single_logits(model, held_out, without=without).argmax(axis=1)
        assert scores(held_out.polarity, decided, 3).balanced_accuracy > 0.9
    for name, tensor in model.audio_encoder.state_dict().items():
        assert torch.equal(tensor, encoder[name]), name


def synthetic_clips(count: int, seed: int) -> list[RavdessClip]:
    """Happy ones are high in pitch and smile, neutral ones neither, sad ones are low and droop."""
    rng, clips = np.random.default_rng(seed), []
    for index in range(count):
        polarity = index % 3
        power = rng.gamma(1.0, 0.02, (64, 40)).astype(np.float32)
        power[8 + 20 * polarity : 16 + 20 * polarity] += 1.0
        landmarks = some_faces(1, 14)[0].numpy() + rng.normal(0, 0.02, (14, 51, 2))
        landmarks[:, [31, 37, 43, 47], 1] -= 0.8 * (polarity - 1)
        face = FaceFeatures(np.arange(14) / 10, landmarks.astype(np.float32))
        emotion = ("sad", "neutral", "happy")[polarity]
        clips.append(RavdessClip(f"{index}", 1, emotion, polarity, power, face))
    return clips


def test_the_encoders_learn() -> None:
    torch.manual_seed(0)
    model = TargetModel(TargetConfig())
    train, held_out = synthetic_clips(48, 0), synthetic_clips(15, 1)
    stills = Stills(
        torch.from_numpy(np.stack([c.face.landmarks[0] for c in train if c.face is not None])),
        np.array([c.polarity for c in train]),
        np.array([EMOTIONS.index(c.emotion) for c in train]),
    )
    by_voice = train_audio_encoder(
        model, train, held_out, 0, EncoderTraining(epochs=6, batch=16, learning_rate=5e-3)
    )
    by_face = train_face_encoder(
        model, train, stills, held_out, stills, 0, EncoderTraining(epochs=16, batch=16)
    )
    assert min(by_voice, by_face) > 0.9
    encoded = encode_clips(model, held_out, copies=2, seed=0)
    assert encoded.audio.shape == encoded.face.shape == (15, 3, 64)
    assert not torch.equal(encoded.audio[:, 0], encoded.audio[:, 1])


# --- the shipped model on people it has never met ------------------------------------------------


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
    model = load_checkpoint().model
    encoded = encode_clips(model, clips, copies=0, seed=0)
    for without, least in ((None, 0.6), ("audio", 0.5), ("face", 0.5)):
        decided = single_logits(model, encoded, without=without).argmax(axis=1)
        found = scores(encoded.polarity, decided, 3)
        assert found.balanced_accuracy > least, found
