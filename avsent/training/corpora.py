"""RAVDESS and FER2013 as training material for the shipped model: who is held out, what is what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.data.fer2013 import read_fer2013
from avsent.data.ravdess import RavdessClip, cached_ravdess
from avsent.features.face import normalise_landmarks
from avsent.labels import EMOTIONS, canonical
from avsent.labels import polarity_of as polarity_of_label

TEST_ACTORS = (21, 22, 23, 24)
VALIDATION_ACTORS = (17, 18, 19, 20)
TRAIN_ACTORS = tuple(range(1, 17))

NO_LABEL = -1
"""Polarity of surprise: such items teach the emotion head only."""


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """FER2013 faces: ``landmarks`` [N, 51, 2] normalised, ``polarity`` [N], ``emotion`` [N]."""

    landmarks: Tensor
    polarity: NDArray[np.int64]
    emotion: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Corpora:
    """Everything the shipped model is trained and measured on."""

    train: list[RavdessClip]
    validation: list[RavdessClip]
    test: list[RavdessClip]
    stills_train: Stills
    stills_validation: Stills
    stills_test: Stills


def load_corpora(
    data: Path, cache: Path, on_step: Callable[[str], None] = lambda step: None
) -> Corpora:
    """Read the folders ``data/ravdess`` and ``data/fer2013``; features are kept in ``cache``."""
    on_step("RAVDESS: features")
    clips = cached_ravdess(data / "ravdess", cache)

    def of(actors: tuple[int, ...]) -> list[RavdessClip]:
        return [clip for clip in clips if clip.actor in actors]

    stills = {}
    for split in ("train", "valid", "test"):
        on_step(f"FER2013 {split}: landmarks")
        stills[split] = _stills(data / "fer2013", split, cache)
    return Corpora(
        train=of(TRAIN_ACTORS),
        validation=of(VALIDATION_ACTORS),
        test=of(TEST_ACTORS),
        stills_train=stills["train"],
        stills_validation=stills["valid"],
        stills_test=stills["test"],
    )


def polarity_of(clips: list[RavdessClip]) -> NDArray[np.int64]:
    """Polarity index of each clip [N], ``NO_LABEL`` for surprise."""
    return np.array(
        [NO_LABEL if clip.polarity is None else clip.polarity for clip in clips], dtype=np.int64
    )


def emotion_of(clips: list[RavdessClip]) -> NDArray[np.int64]:
    """Index of each clip's emotion in ``EMOTIONS`` [N]."""
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], dtype=np.int64)


def with_polarity(clips: list[RavdessClip]) -> list[RavdessClip]:
    """The clips whose emotion has a polarity."""
    return [clip for clip in clips if clip.polarity is not None]


def _stills(folder: Path, split: str, cache: Path) -> Stills:
    faces = read_fer2013(folder, split, cache=cache)
    landmarks, usable = normalise_landmarks(faces.landmarks)
    names = [faces.classes[label] for label, good in zip(faces.labels, usable, strict=True) if good]
    return Stills(
        landmarks=torch.from_numpy(landmarks[usable]),
        polarity=np.array([NO_LABEL if p is None else p for p in map(polarity_of_label, names)]),
        emotion=np.array([EMOTIONS.index(canonical(name)) for name in names]),
    )
