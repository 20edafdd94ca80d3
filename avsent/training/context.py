"""Second stage: the networks over a video's utterances, on representations of frozen encoders.

Training videos are made of clips of one actor, or of FER2013 stills: 1 to 8 utterances, some of
one polarity throughout, some mixed. A network that saw only mixed videos would learn to read an
utterance against its neighbours, and call a sad face in a sad video neutral.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avsent.data.ravdess import RavdessClip
from avsent.networks.target import TargetModel, Utterances
from avsent.training.augment import augmented_landmarks, augmented_log_mel
from avsent.training.corpora import NO_LABEL, Stills, polarity_of
from avsent.training.encoders import (
    CLASSES,
    encode_clip_audio,
    encode_clip_face,
    encode_stills,
)
from avsent.training.metrics import Scores, scores
from avsent.training.padding import pad_faces, pad_log_mels

MAX_UTTERANCES = 8
STILLS_VIDEOS = 0.3
"""Share of training videos that are made of stills: faces without sound."""
UNIFORM_VIDEOS = 0.5
"""Share of training videos of one polarity throughout."""
MISSING_IN_VIDEO = 0.15
"""Chance that a modality is missing in a whole training video."""
MISSING_IN_UTTERANCE = 0.10
"""Chance that a modality is missing in one utterance."""


@dataclass(frozen=True, slots=True)
class ContextTraining:
    """Settings of the second stage (ours)."""

    steps: int = 1200
    videos: int = 48
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.05
    check_every: int = 50


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Representations of N items in K versions: ``audio`` and ``face`` [N, K, R], what is there
    [N], polarity [N] and speaker [N] (0 for stills)."""

    audio: Tensor
    face: Tensor
    has_audio: NDArray[np.bool_]
    has_face: NDArray[np.bool_]
    polarity: NDArray[np.int64]
    speaker: NDArray[np.int64]


@torch.inference_mode()
def encode_clips(model: TargetModel, clips: list[RavdessClip], copies: int, seed: int) -> Encoded:
    """Representations of labelled clips: the unchanged one and ``copies`` augmented ones."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    clips = [clip for clip in clips if clip.polarity is not None]
    audio = torch.zeros(len(clips), copies + 1, model.config.audio.representation)
    face = torch.zeros(len(clips), copies + 1, model.config.face.representation)
    for row, clip in enumerate(clips):
        if clip.mel_power is not None:
            audio[row, 0] = encode_clip_audio(model, clip)
            if copies:
                changed = [augmented_log_mel(clip.mel_power, rng) for _ in range(copies)]
                audio[row, 1:] = model.encode_audio(*pad_log_mels(changed))[0]
        if clip.face is not None:
            face[row, 0] = encode_clip_face(model, clip)
            if copies:
                sequence = torch.from_numpy(clip.face.landmarks)
                many = augmented_landmarks(sequence.expand(copies, *sequence.shape), generator)
                face[row, 1:] = model.encode_face(*pad_faces(list(many.numpy())))[0]
    return Encoded(
        audio=audio,
        face=face,
        has_audio=np.array([clip.mel_power is not None for clip in clips]),
        has_face=np.array([clip.face is not None for clip in clips]),
        polarity=polarity_of(clips),
        speaker=np.array([clip.actor for clip in clips]),
    )


@torch.inference_mode()
def encode_faces_of(model: TargetModel, stills: Stills, copies: int, seed: int) -> Encoded:
    """Representations of labelled stills: the unchanged one and ``copies`` augmented ones."""
    generator = torch.Generator().manual_seed(seed)
    known = stills.polarity != NO_LABEL
    landmarks = stills.landmarks[known][:, None]
    versions = [landmarks, *(augmented_landmarks(landmarks, generator) for _ in range(copies))]
    face = torch.stack([encode_stills(model, version) for version in versions], dim=1)
    count = len(landmarks)
    return Encoded(
        audio=torch.zeros(count, copies + 1, model.config.audio.representation),
        face=face,
        has_audio=np.zeros(count, dtype=bool),
        has_face=np.ones(count, dtype=bool),
        polarity=stills.polarity[known],
        speaker=np.zeros(count, dtype=np.int64),
    )


def draw_videos(
    items: Encoded, count: int, rng: np.random.Generator, *, damage: bool = True
) -> tuple[Utterances, Tensor]:
    """``count`` made-up videos of 1 to 8 utterances of one speaker, and their labels [B, U].

    With ``damage`` modalities go missing and augmented versions are drawn; without it every
    utterance is the unchanged clip. Padding is labelled ``NO_LABEL``.
    """
    rows_of = {
        (speaker, polarity): np.flatnonzero(
            (items.speaker == speaker) & (items.polarity == polarity)
        )
        for speaker in np.unique(items.speaker)
        for polarity in range(CLASSES)
    }
    speakers = np.unique(items.speaker)
    lengths = rng.integers(1, MAX_UTTERANCES + 1, size=count)
    rows = np.zeros((count, MAX_UTTERANCES), dtype=np.int64)
    labels = np.full((count, MAX_UTTERANCES), NO_LABEL, dtype=np.int64)
    inside = np.arange(MAX_UTTERANCES)[None] < lengths[:, None]
    for video in range(count):
        speaker, length = rng.choice(speakers), lengths[video]
        wanted = rng.integers(CLASSES, size=length)
        if rng.random() < UNIFORM_VIDEOS:
            wanted[:] = wanted[0]
        labels[video, :length] = wanted
        rows[video, :length] = [rng.choice(rows_of[speaker, polarity]) for polarity in wanted]
    audio_present = inside & items.has_audio[rows]
    face_present = inside & items.has_face[rows]
    versions = np.zeros((2, count, MAX_UTTERANCES), dtype=np.int64)
    if damage:
        _lose(audio_present, face_present, rng)
        versions = rng.integers(items.audio.shape[1], size=versions.shape)
        labels[~(audio_present | face_present)] = NO_LABEL
    utterances = Utterances(
        values={"audio": items.audio[rows, versions[0]], "face": items.face[rows, versions[1]]},
        present={
            "audio": torch.from_numpy(audio_present),
            "face": torch.from_numpy(face_present),
        },
        lengths=torch.from_numpy(lengths),
    )
    return utterances, torch.from_numpy(labels)


def _lose(audio: NDArray[np.bool_], face: NDArray[np.bool_], rng: np.random.Generator) -> None:
    """Take modalities away, in place; a video never loses both as a whole."""
    which = rng.random(len(audio))
    has_both = audio.any(axis=1) & face.any(axis=1)
    audio[has_both & (which < MISSING_IN_VIDEO)] = False
    face[has_both & (which > 1 - MISSING_IN_VIDEO)] = False
    both = audio & face
    drawn = rng.random(audio.shape)
    audio[both & (drawn < MISSING_IN_UTTERANCE)] = False
    face[both & (drawn > 1 - MISSING_IN_UTTERANCE)] = False


def train_context(
    model: TargetModel,
    train: Encoded,
    stills: Encoded,
    validation: Encoded,
    validation_stills: Encoded,
    seed: int,
    settings: ContextTraining | None = None,
    on_check: Callable[[str], None] = lambda line: None,
) -> float:
    """Teach everything above the encoders; keeps the state that is best on validation.

    Returns the mean balanced accuracy over both modalities, each alone, and stills.
    """
    settings = settings or ContextTraining()
    rng = np.random.default_rng(seed)
    upper = [model.embedding("audio"), model.embedding("face"), model.head]
    parameters = [parameter for part in upper for parameter in part.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    best, best_state = -1.0, copy.deepcopy(model.state_dict())
    of_stills = round(STILLS_VIDEOS * settings.videos)
    model.eval()
    for step in range(1, settings.steps + 1):
        for part in upper:
            part.train()
        drawn = [
            draw_videos(train, settings.videos - of_stills, rng),
            draw_videos(stills, of_stills, rng),
        ]
        loss = torch.stack([_loss(model, *videos, settings) for videos in drawn])
        share = torch.tensor([1 - STILLS_VIDEOS, STILLS_VIDEOS])
        optimiser.zero_grad()
        (loss * share).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimiser.step()
        schedule.step()
        if step % settings.check_every == 0 or step == settings.steps:
            model.eval()
            figures = [
                evaluate_videos(model, validation, seed=7).balanced_accuracy,
                evaluate_videos(model, validation, seed=7, without="audio").balanced_accuracy,
                evaluate_videos(model, validation, seed=7, without="face").balanced_accuracy,
                evaluate_videos(model, validation_stills, seed=7).balanced_accuracy,
            ]
            value = float(np.mean(figures))
            words = " ".join(f"{figure:.3f}" for figure in figures)
            on_check(f"step {step}: loss {loss.mean().item():.3f}, validation {words}")
            if value > best:
                best, best_state = value, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    model.eval()
    return best


def _loss(
    model: TargetModel, videos: Utterances, labels: Tensor, settings: ContextTraining
) -> Tensor:
    logits = model(videos).logits
    return functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        ignore_index=NO_LABEL,
        label_smoothing=settings.label_smoothing,
    )


@torch.inference_mode()
def video_logits(
    model: TargetModel, items: Encoded, seed: int, *, without: str | None = None, videos: int = 200
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits [N, C] and truth [N] over made-up videos of unchanged clips."""
    utterances, labels = draw_videos(items, videos, np.random.default_rng(seed), damage=False)
    if without is not None:
        utterances = utterances.without(without)
    known = labels != NO_LABEL
    logits = model(utterances).logits[known]
    return logits.double().numpy(), labels[known].numpy()


def evaluate_videos(
    model: TargetModel, items: Encoded, seed: int, *, without: str | None = None
) -> Scores:
    """Scores over made-up videos (1 to 8 utterances, uniform and mixed) of unchanged clips."""
    logits, truth = video_logits(model, items, seed, without=without)
    return scores(truth, logits.argmax(axis=1), CLASSES)


@torch.inference_mode()
def single_logits(
    model: TargetModel, items: Encoded, *, without: str | None = None
) -> NDArray[np.float64]:
    """Logits [N, C] of every item as a video of its own, one utterance long."""
    count = len(items.polarity)
    utterances = Utterances(
        values={"audio": items.audio[:, :1], "face": items.face[:, :1]},
        present={
            "audio": torch.from_numpy(items.has_audio)[:, None],
            "face": torch.from_numpy(items.has_face)[:, None],
        },
        lengths=torch.ones(count, dtype=torch.long),
    )
    if without is not None:
        utterances = utterances.without(without)
    logits: NDArray[np.float64] = model(utterances).logits[:, 0].double().numpy()
    return logits
