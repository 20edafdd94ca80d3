"""The source model: pretrained, then frozen; its embeddings teach the target."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from avsent.errors import DatasetError
from avsent.model.networks.config import TargetConfig
from avsent.model.networks.encoders import VectorEncoder
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos
from avsent.training.embeddings import embeddings_of
from avsent.training.losses import SourceEmbeddings
from avsent.training.trainer import FitSetup, OnEpoch, fit
from avsent.training.validation import check_parts

FOLD_SEED_STRIDE = 1_000_000_007
"""Gives the models of folds other initial weights than the source."""


@dataclass(frozen=True, slots=True, eq=False)
class PairedTeacher:
    """A source that saw the same utterances; its embeddings [V, U, D] never change."""

    source: SourceEmbeddings

    @property
    def size(self) -> int:
        """D of its embeddings."""
        return int(self.source.embeddings.shape[-1])

    def for_epoch(self, epoch: int) -> SourceEmbeddings:
        """The same in every epoch."""
        return self.source


@dataclass(frozen=True, slots=True, eq=False)
class UnpairedTeacher:
    """A source that saw other utterances: each of ours is paired anew, in every epoch, with one
    of them of the same label; without any of that label it has no source embedding.

    ``embeddings`` [N, D] and ``labels`` [N] of the source's utterances; ``wanted`` [V, U]: labels
    of ours. Numbers are paired by the nearest integer.
    """

    embeddings: Tensor
    labels: Tensor
    wanted: Tensor
    seed: int

    @property
    def size(self) -> int:
        """D of its embeddings."""
        return int(self.embeddings.shape[-1])

    def for_epoch(self, epoch: int) -> SourceEmbeddings:
        """Embeddings [V, U, D] drawn for this epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = torch.zeros(self.wanted.shape, dtype=torch.long)
        present = torch.zeros(self.wanted.shape, dtype=torch.bool)
        wanted, labels = self.wanted.round(), self.labels.round()
        for label in np.unique(labels[~labels.isnan()].numpy()):
            ours = wanted == label
            theirs = np.flatnonzero((labels == label).numpy())
            rows[ours] = torch.from_numpy(rng.choice(theirs, int(ours.sum())))
            present |= ours
        return SourceEmbeddings(self.embeddings[rows], present)


@dataclass(frozen=True, slots=True)
class SourceSetup:
    """Training of a source: ``setup`` with its own videos, its ``config`` and, for cross-fitting,
    the group (speaker or video) of each training video."""

    config: TargetConfig
    setup: FitSetup
    groups: tuple[str, ...] = ()


def make_model(config: TargetConfig, train: Videos, seed: int) -> TargetModel:
    """A new model; its vector encoders are fitted to the scale of the training data."""
    torch.manual_seed(seed)
    model = TargetModel(config)
    for modality in config.modalities:
        encoder = model.encoder(modality)
        if isinstance(encoder, VectorEncoder):
            found = train.vectors[modality][train.present[modality]]
            if len(found):
                encoder.fit(found)
    return model


def train_source(source: SourceSetup) -> TargetModel:
    """The source model, trained on its own labels and frozen.

    Raises:
        DatasetError: no utterance to learn from (in a fold, say) has a label.
    """
    setup = source.setup
    check_parts(setup.train, setup.valid, source.config.modalities)
    model = make_model(source.config, setup.train, setup.seed)
    fit(model, setup)
    return model.requires_grad_(False).eval()


def paired_teacher(
    model: TargetModel,
    source: SourceSetup,
    folds: int,
    on_fold: Callable[[int], OnEpoch] = lambda fold: lambda measured: None,
) -> PairedTeacher:
    """Embeddings of the training utterances by ``model``; with ``folds`` > 1 out-of-fold, by
    models that did not train on their video.

    A source is more certain about its training data than about any other, and a target that
    copies this certainty generalises badly. The model of each fold has its own initial weights,
    so its embeddings are rotated onto those of ``model``, by the orthogonal map that fits best
    on the common training data (Schönemann 1966). ``on_fold`` gives the hook for a fold's epochs.

    Raises:
        DatasetError: there are no two groups to divide, or a fold has nothing to learn from.
    """
    setup = source.setup
    if folds >= 2 and len(set(source.groups)) < 2:
        raise DatasetError(
            "the training part is of one speaker or video, which cannot be divided; leave "
            "--cross-fit away"
        )
    (modality,) = source.config.modalities
    embeddings = embeddings_of(model, setup.train, setup.device)[modality]
    present = setup.train.present[modality]
    if folds < 2:
        return PairedTeacher(SourceEmbeddings(embeddings, present))
    out_of_fold = embeddings.clone()
    for fold, held_out in enumerate(grouped_folds(source.groups, folds)):
        kept = sorted(set(range(len(setup.train.samples))) - set(held_out))
        state = setup.state
        part = dataclasses.replace(
            setup,
            train=videos_at(setup.train, kept),
            seed=setup.seed + FOLD_SEED_STRIDE * (fold + 1),
            state=state and state.with_name(f"{state.stem}-fold{fold}{state.suffix}"),
            on_epoch=on_fold(fold),
        )
        other = train_source(SourceSetup(source.config, part))
        found = embeddings_of(other, setup.train, setup.device)[modality]
        common = torch.zeros_like(present)
        common[kept] = present[kept]
        out_of_fold[held_out] = found[held_out] @ rotation(found[common], embeddings[common])
    return PairedTeacher(SourceEmbeddings(out_of_fold * present[..., None], present))


def unpaired_teacher(
    model: TargetModel, theirs: Videos, ours: Videos, device: torch.device, seed: int
) -> UnpairedTeacher:
    """``model``'s embeddings of its own training utterances, to be drawn from by label."""
    (modality,) = model.config.modalities
    used = theirs.present[modality] & theirs.known()
    embeddings = embeddings_of(model, theirs, device)[modality][used]
    return UnpairedTeacher(embeddings, theirs.labels[used], ours.labels, seed)


def rotation(given: Tensor, wanted: Tensor) -> Tensor:
    """The orthogonal [D, D] that maps rows of ``given`` [N, D] onto ``wanted`` with the least
    squared error (Schönemann 1966)."""
    left, _, right = torch.linalg.svd(given.double().T @ wanted.double())
    turned: Tensor = (left @ right).float()
    return turned


def grouped_folds(groups: Sequence[str], folds: int) -> list[list[int]]:
    """Rows of each fold; all rows of a group are in one, folds are of about equal size."""
    rows_of: dict[str, list[int]] = {}
    for row, group in enumerate(groups):
        rows_of.setdefault(group, []).append(row)
    parts: list[list[int]] = [[] for _ in range(min(folds, len(rows_of)))]
    for group in sorted(rows_of, key=lambda name: (-len(rows_of[name]), name)):
        min(parts, key=len).extend(rows_of[group])
    return [sorted(part) for part in parts]


def videos_at(videos: Videos, rows: list[int]) -> Videos:
    """Only the videos ``rows``."""
    return dataclasses.replace(
        videos,
        samples=tuple(videos.samples[row] for row in rows),
        lengths=videos.lengths[rows],
        labels=videos.labels[rows],
        vectors={name: values[rows] for name, values in videos.vectors.items()},
        present={name: there[rows] for name, there in videos.present.items()},
    )
