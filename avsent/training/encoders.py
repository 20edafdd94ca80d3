"""First stage: the utterance encoders, each taught polarity and emotion from its own modality."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avsent.data.ravdess import RavdessClip
from avsent.features.audio import FLOOR_DB, normalised_log
from avsent.labels import EMOTIONS
from avsent.networks.target import TargetModel
from avsent.training.augment import augmented_landmarks, augmented_log_mel
from avsent.training.corpora import NO_LABEL, Stills, emotion_of, polarity_of
from avsent.training.metrics import scores
from avsent.training.padding import pad_log_mels

CLASSES = 3
FACE_FRAMES = 12
"""Frames drawn from each clip for one training step."""


@dataclass(frozen=True, slots=True)
class EncoderTraining:
    """Settings of one encoder's training (ours; the papers give none)."""

    epochs: int
    batch: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    emotion_weight: float = 0.5


AUDIO_TRAINING = EncoderTraining(epochs=60, batch=32)
FACE_TRAINING = EncoderTraining(epochs=40, batch=48)


class _Heads(nn.Module):
    """Two linear classifiers on a representation, there only while an encoder is taught."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.polarity = nn.Linear(size, CLASSES)
        self.emotion = nn.Linear(size, len(EMOTIONS))

    def loss(
        self, representation: Tensor, polarity: Tensor, emotion: Tensor, settings: EncoderTraining
    ) -> Tensor:
        """Cross-entropy of polarity (surprise left out) plus the weighted one of emotion."""
        by_emotion = functional.cross_entropy(
            self.emotion(representation), emotion, label_smoothing=settings.label_smoothing
        )
        total = settings.emotion_weight * by_emotion
        if bool((polarity != NO_LABEL).any()):
            total = total + functional.cross_entropy(
                self.polarity(representation),
                polarity,
                ignore_index=NO_LABEL,
                label_smoothing=settings.label_smoothing,
            )
        return total


def train_audio_encoder(
    model: TargetModel,
    train: list[RavdessClip],
    validation: list[RavdessClip],
    seed: int,
    settings: EncoderTraining = AUDIO_TRAINING,
    on_epoch: Callable[[str], None] = lambda line: None,
) -> float:
    """Teach ``model.audio_encoder``; keeps the epoch that is best on ``validation``.

    Returns the balanced accuracy of its polarity head on ``validation``.
    """
    train = [clip for clip in train if clip.mel_power is not None]
    rng = np.random.default_rng(seed)
    heads = _Heads(model.config.audio.representation)
    emotion, polarity = emotion_of(train), polarity_of(train)
    steps = max(1, len(train) // settings.batch)

    def batches() -> Iterator[Tensor]:
        for rows in _balanced(emotion, steps, settings.batch, rng):
            log_mels = [augmented_log_mel(_power(train[i]), rng) for i in rows]
            representation, _ = model.encode_audio(*pad_log_mels(log_mels))
            labels = torch.from_numpy(polarity[rows]), torch.from_numpy(emotion[rows])
            yield heads.loss(representation, *labels, settings)

    def check() -> float:
        clips = [c for c in validation if c.polarity is not None and c.mel_power is not None]
        with torch.inference_mode():
            logits = torch.cat([heads.polarity(encode_clip_audio(model, clip)) for clip in clips])
        return scores(polarity_of(clips), logits.argmax(1).numpy(), CLASSES).balanced_accuracy

    return _fit(model.encoder("audio"), heads, batches, check, steps, settings, on_epoch)


def train_face_encoder(
    model: TargetModel,
    train: list[RavdessClip],
    stills: Stills,
    validation: list[RavdessClip],
    validation_stills: Stills,
    seed: int,
    settings: EncoderTraining = FACE_TRAINING,
    on_epoch: Callable[[str], None] = lambda line: None,
) -> float:
    """Teach ``model.face_encoder`` on clips and stills together; batches balanced over corpus
    and class. Chosen by the mean balanced accuracy over both corpora's validation parts."""
    train = [clip for clip in train if clip.face is not None]
    rng = np.random.default_rng(seed + 1000)
    generator = torch.Generator().manual_seed(seed + 2000)
    heads = _Heads(model.config.face.representation)
    emotion, polarity = emotion_of(train), polarity_of(train)
    steps = max(1, len(train) // settings.batch)
    stills_batch = 4 * settings.batch

    def batches() -> Iterator[Tensor]:
        of_stills = _balanced(stills.emotion, steps, stills_batch, rng)
        for rows, still_rows in zip(
            _balanced(emotion, steps, settings.batch, rng), of_stills, strict=True
        ):
            frames = np.stack([_draw_frames(train[i], rng) for i in rows])
            clips = augmented_landmarks(torch.from_numpy(frames), generator)
            faces = augmented_landmarks(stills.landmarks[still_rows][:, None], generator)
            # One pass over both, so that batch statistics are those of both corpora.
            mask = torch.zeros(len(clips) + len(faces), FACE_FRAMES, dtype=torch.bool)
            mask[: len(clips)], mask[len(clips) :, 0] = True, True
            padded = torch.zeros(len(mask), FACE_FRAMES, *clips.shape[2:])
            padded[: len(clips)], padded[len(clips) :, :1] = clips, faces
            representation, _ = model.encode_face(padded, mask)
            first = heads.loss(
                representation[: len(clips)],
                torch.from_numpy(polarity[rows]),
                torch.from_numpy(emotion[rows]),
                settings,
            )
            second = heads.loss(
                representation[len(clips) :],
                torch.from_numpy(stills.polarity[still_rows]),
                torch.from_numpy(stills.emotion[still_rows]),
                settings,
            )
            yield (first + second) / 2

    labelled = [c for c in validation if c.polarity is not None and c.face is not None]
    known = validation_stills.polarity != NO_LABEL

    def check() -> float:
        with torch.inference_mode():
            of_clips = torch.cat([heads.polarity(encode_clip_face(model, c)) for c in labelled])
            landmarks = validation_stills.landmarks[known][:, None]
            of_stills = heads.polarity(encode_stills(model, landmarks))
        on_clips = scores(polarity_of(labelled), of_clips.argmax(1).numpy(), CLASSES)
        truth = validation_stills.polarity[known]
        on_stills = scores(truth, of_stills.argmax(1).numpy(), CLASSES)
        return (on_clips.balanced_accuracy + on_stills.balanced_accuracy) / 2

    return _fit(model.encoder("face"), heads, batches, check, steps, settings, on_epoch)


def encode_clip_audio(model: TargetModel, clip: RavdessClip) -> Tensor:
    """Audio representation [1, R] of an unchanged clip, as at prediction."""
    log_mel = torch.from_numpy(normalised_log(_power(clip), FLOOR_DB))[None]
    return model.encode_audio(log_mel, torch.tensor([log_mel.shape[2]]))[0]


def encode_clip_face(model: TargetModel, clip: RavdessClip) -> Tensor:
    """Face representation [1, R] of an unchanged clip, as at prediction."""
    assert clip.face is not None
    landmarks = torch.from_numpy(clip.face.landmarks)[None]
    return model.encode_face(landmarks, torch.ones(landmarks.shape[:2], dtype=torch.bool))[0]


def encode_stills(model: TargetModel, landmarks: Tensor) -> Tensor:
    """Face representations [N, R] of single pictures ``landmarks`` [N, 1, 51, 2]."""
    return model.encode_face(landmarks, torch.ones(landmarks.shape[:2], dtype=torch.bool))[0]


def _power(clip: RavdessClip) -> NDArray[np.float32]:
    assert clip.mel_power is not None
    return clip.mel_power


def _draw_frames(clip: RavdessClip, rng: np.random.Generator) -> NDArray[np.float32]:
    assert clip.face is not None
    frames = clip.face.landmarks
    chosen = np.sort(rng.choice(len(frames), FACE_FRAMES, replace=len(frames) < FACE_FRAMES))
    return frames[chosen]


def _balanced(
    labels: NDArray[np.int64], steps: int, batch: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Row indices [batch] per step, every class equally likely."""
    rows_of = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for _ in range(steps):
        classes = rng.integers(len(rows_of), size=batch)
        yield np.array([rng.choice(rows_of[label]) for label in classes])


def _fit(
    encoder: nn.Module,
    heads: _Heads,
    batches: Callable[[], Iterator[Tensor]],
    check: Callable[[], float],
    steps: int,
    settings: EncoderTraining,
    on_epoch: Callable[[str], None],
) -> float:
    """One-cycle AdamW over ``epochs``; leaves the state that was best on validation."""
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(parameters, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps * settings.epochs
    )
    best, best_state = -1.0, copy.deepcopy(encoder.state_dict())
    for epoch in range(settings.epochs):
        encoder.train()
        total = 0.0
        for loss in batches():
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimiser.step()
            schedule.step()
            total += loss.item()
        encoder.eval()
        value = check()
        on_epoch(f"epoch {epoch + 1}: loss {total / steps:.3f}, validation {value:.3f}")
        # The first half of the cycle is still far from settled: its lucky peaks do not count.
        if epoch >= settings.epochs // 2 and value > best:
            best, best_state = value, copy.deepcopy(encoder.state_dict())
    encoder.load_state_dict(best_state)
    encoder.eval()
    return best
