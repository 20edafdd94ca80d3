"""RAVDESS and FER2013 as material for the shipped models: who is held out, what is what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.data.fer2013 import read_fer2013, read_fer2013_images
from avsent.data.ravdess import RavdessClip, cached_ravdess
from avsent.features.face import normalise_landmarks
from avsent.labels import EMOTIONS, canonical
from avsent.labels import polarity_of as polarity_of_label

TEST_ACTORS = (21, 22, 23, 24)
"""The shipped models never met them."""
FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""Test actors of the five published folds (Luna-Jiménez et al. 2022)."""

NO_LABEL = -1
"""Polarity of surprise: such items teach emotion only."""


@dataclass(frozen=True, slots=True, eq=False)
class Stills:
    """FER2013 faces: ``landmarks`` [N, 51, 2] normalised, ``polarity`` [N], ``emotion`` [N], and
    ``pictures`` [N, 48, 48] uint8 of the same faces."""

    landmarks: Tensor
    polarity: NDArray[np.int64]
    emotion: NDArray[np.int64]
    pictures: NDArray[np.uint8]


def load_clips(data: Path, cache: Path, shrink: float = 1.0) -> list[RavdessClip]:
    """The clips in ``data/ravdess``, see ``read_ravdess``; features are kept in ``cache``.

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    return cached_ravdess(data / "ravdess", cache, shrink=shrink)


def load_stills(data: Path, cache: Path, split: str) -> Stills:
    """The faces that dlib finds in one split of ``data/fer2013``; kept in ``cache``.

    The two test parts share some pictures: those are left out of "valid".

    Raises:
        DatasetError: a file is missing or unreadable.
    """
    faces = read_fer2013(data / "fer2013", split, cache=cache)
    images = read_fer2013_images(data / "fer2013", split)
    landmarks, usable = normalise_landmarks(faces.landmarks)
    names = [faces.classes[label] for label, good in zip(faces.labels, usable, strict=True) if good]
    row_of = {int(number): row for row, number in enumerate(images.numbers)}
    rows = [row_of[int(number)] for number in faces.numbers[usable]]
    pictures = images.images[rows]
    kept = np.ones(len(pictures), dtype=bool)
    if split == "valid":
        tested = {one.tobytes() for one in read_fer2013_images(data / "fer2013", "test").images}
        kept = np.array([one.tobytes() not in tested for one in pictures])
    polarity = [NO_LABEL if p is None else p for p in map(polarity_of_label, names)]
    return Stills(
        landmarks=torch.from_numpy(landmarks[usable][kept]),
        polarity=np.array(polarity)[kept],
        emotion=np.array([EMOTIONS.index(canonical(name)) for name in names])[kept],
        pictures=pictures[kept],
    )


def of_actors(clips: Sequence[RavdessClip], actors: Sequence[int]) -> list[RavdessClip]:
    """The clips of these ``actors``."""
    return [clip for clip in clips if clip.actor in actors]


def polarity_of(clips: Sequence[RavdessClip]) -> NDArray[np.int64]:
    """Polarity index of each clip [N], ``NO_LABEL`` for surprise."""
    return np.array(
        [NO_LABEL if clip.polarity is None else clip.polarity for clip in clips], dtype=np.int64
    )


def emotion_of(clips: Sequence[RavdessClip]) -> NDArray[np.int64]:
    """Index of each clip's emotion in ``EMOTIONS`` [N]."""
    return np.array([EMOTIONS.index(clip.emotion) for clip in clips], dtype=np.int64)
