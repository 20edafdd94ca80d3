"""The source model: pretrained, frozen, and what its embeddings say of the training utterances."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avsent.errors import DatasetError
from avsent.model.networks.config import TargetConfig
from avsent.model.networks.encoders import VectorEncoder
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.losses import Taught
from avsent.training.trainer import Course, OnEpoch, fit
from avsent.training.validation import check_parts

FOLD_SEEDS_APART = 1_000_000_007
"""The models of folds begin with other weights than the source itself."""


@dataclass(frozen=True, slots=True, eq=False)
class PairedTeacher:
    """The source saw the same utterances: its embedding of each, [V, U, D], never changes."""

    taught: Taught

    @property
    def size(self) -> int:
        """See :class:`~avsent.training.trainer.Teacher`."""
        return int(self.taught.embeddings.shape[-1])

    def for_epoch(self, epoch: int) -> Taught:
        """See :class:`~avsent.training.trainer.Teacher`."""
        return self.taught


@dataclass(frozen=True, slots=True, eq=False)
class UnpairedTeacher:
    """The source saw other utterances: each of ours is paired anew, in every epoch, with one of
    them of the same label. An utterance whose label none of them has is not taught.

    ``embeddings`` [N, D] and ``labels`` [N] of the source's utterances; ``wanted`` [V, U]: labels
    of ours. Numbers are paired by their nearest whole one.
    """

    embeddings: Tensor
    labels: Tensor
    wanted: Tensor
    seed: int

    @property
    def size(self) -> int:
        """See :class:`~avsent.training.trainer.Teacher`."""
        return int(self.embeddings.shape[-1])

    def for_epoch(self, epoch: int) -> Taught:
        """See :class:`~avsent.training.trainer.Teacher`."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = torch.zeros(self.wanted.shape, dtype=torch.long)
        there = torch.zeros(self.wanted.shape, dtype=torch.bool)
        wanted, labels = self.wanted.round(), self.labels.round()
        for label in np.unique(labels[~labels.isnan()].numpy()):
            ours = wanted == label
            theirs = np.flatnonzero((labels == label).numpy())
            drawn = rng.choice(theirs, int(ours.sum()))
            rows[ours] = torch.from_numpy(drawn)
            there |= ours
        return Taught(self.embeddings[rows], there)


@dataclass(frozen=True, slots=True)
class SourceCourse:
    """What the source learns from: ``course`` with the source's own videos, its ``config`` and,
    for its folds, the group (speaker or video) of each training video."""

    config: TargetConfig
    course: Course
    groups: tuple[str, ...] = ()


def make_model(config: TargetConfig, train: Videos, seed: int) -> TargetModel:
    """A fresh model whose vector encoders know the scale of the training data."""
    torch.manual_seed(seed)
    model = TargetModel(config)
    for modality in config.modalities:
        encoder = model.encoder(modality)
        if isinstance(encoder, VectorEncoder):
            found = train.vectors[modality][train.present[modality]]
            if len(found):
                encoder.fit(found)
    return model


def train_source(source: SourceCourse) -> TargetModel:
    """The source model, trained on its own labels and frozen.

    Raises:
        DatasetError: nothing to learn from has a label (in a fold, say).
    """
    check_parts(source.course.train, source.course.valid, source.config.modalities)
    model = make_model(source.config, source.course.train, source.course.seed)
    fit(model, source.course)
    return model.requires_grad_(False).eval()


@torch.no_grad()  # not inference_mode: its tensors could not take part in training
def embeddings_of(
    model: TargetModel, videos: Videos, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The only modality's embeddings [V, U, D] of all ``videos`` and where they are [V, U]."""
    (modality,) = model.config.modalities
    model.to(device).eval()
    size = 2 * model.config.context.second_gru
    result = torch.zeros(*videos.labels.shape, size)
    for rows in batches(videos, 16, 4096, None):
        embedded = model.embed(encoded(model, videos, rows, device))
        value = embedded.values[modality]
        result[rows, : value.shape[1]] = value.float().cpu()
    return result, videos.present[modality]


def paired_teacher(
    model: TargetModel,
    source: SourceCourse,
    folds: int,
    on_fold: Callable[[int], OnEpoch] = lambda fold: lambda measured: None,
) -> PairedTeacher:
    """Embeddings of the training utterances by ``model``; with ``folds`` > 1 by models that never
    saw their video.

    A source is surer of what it was trained on than of anything else, and a target that copies
    this learns what it will not meet again. Each fold's model begins anew, so its space is
    turned onto that of ``model`` by the orthogonal map that fits best where both were trained
    (Schönemann 1966).

    ``on_fold`` gives the hook for a fold's epochs.

    Raises:
        DatasetError: there are no two groups to divide, or a fold has nothing to learn from.
    """
    course = source.course
    if folds >= 2 and len(set(source.groups)) < 2:
        raise DatasetError(
            "the training part is of one speaker or video, which cannot be divided; leave "
            "--cross-fit away"
        )
    whole, there = embeddings_of(model, course.train, course.device)
    if folds < 2:
        return PairedTeacher(Taught(whole, there))
    fitted = whole.clone()
    for fold, held in enumerate(folded(source.groups, folds)):
        kept = sorted(set(range(len(course.train.samples))) - set(held))
        part = dataclasses.replace(
            course,
            train=videos_at(course.train, kept),
            seed=course.seed + FOLD_SEEDS_APART * (fold + 1),
            state=_beside(course.state, fold),
            on_epoch=on_fold(fold),
        )
        other = train_source(SourceCourse(source.config, part))
        seen, _ = embeddings_of(other, course.train, course.device)
        inside = torch.zeros_like(there)
        inside[kept] = there[kept]
        fitted[held] = seen[held] @ rotation(seen[inside], whole[inside])
    return PairedTeacher(Taught(fitted * there[..., None], there))


def unpaired_teacher(
    model: TargetModel, theirs: Videos, ours: Videos, device: torch.device, seed: int
) -> UnpairedTeacher:
    """``model``'s embeddings of its own training texts, to be drawn from by label."""
    embeddings, there = embeddings_of(model, theirs, device)
    used = there & theirs.known()
    return UnpairedTeacher(embeddings[used], theirs.labels[used], ours.labels, seed)


def rotation(given: Tensor, wanted: Tensor) -> Tensor:
    """The orthogonal [D, D] that turns rows of ``given`` [N, D] onto ``wanted`` with least
    squared error (Schönemann 1966)."""
    left, _, right = torch.linalg.svd(given.double().T @ wanted.double())
    turned: Tensor = (left @ right).float()
    return turned


def folded(groups: Sequence[str], folds: int) -> list[list[int]]:
    """Rows of each fold; all rows of a group are in one, folds are of about equal size."""
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    parts: list[list[int]] = [[] for _ in range(min(folds, len(rows_of)))]
    for group in sorted(rows_of, key=lambda name: (-len(rows_of[name]), name)):
        min(parts, key=len).extend(rows_of[group])
    return [sorted(part) for part in parts]


def videos_at(videos: Videos, rows: Sequence[int]) -> Videos:
    """Only the videos ``rows``."""
    chosen = list(rows)
    return dataclasses.replace(
        videos,
        samples=tuple(videos.samples[row] for row in chosen),
        lengths=videos.lengths[chosen],
        labels=videos.labels[chosen],
        vectors={name: values[chosen] for name, values in videos.vectors.items()},
        present={name: there[chosen] for name, there in videos.present.items()},
    )


def _beside(state: Path | None, fold: int) -> Path | None:
    return None if state is None else state.with_name(f"{state.stem}-fold{fold}{state.suffix}")
