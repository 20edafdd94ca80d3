"""One seed of a training run: source, target, calibration, judgement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from avsent.labels import MODALITIES
from avsent.model.calibration import Calibration
from avsent.model.networks.config import VectorSizes
from avsent.model.networks.target import TargetModel
from avsent.training.data.text import TextItem
from avsent.training.embeddings import Space, spaces_of, target_embeddings
from avsent.training.evaluation import Predictions
from avsent.training.modality_check import GuardMaterial, drowned, fit_guard, screened
from avsent.training.settings import TrainSettings
from avsent.training.source import (
    SourceCourse,
    make_model,
    paired_teacher,
    train_source,
    unpaired_teacher,
)
from avsent.training.splits import Material, make_text_material
from avsent.training.trainer import Course, OnEpoch, Progress, Teacher, fit
from avsent.training.validation import calibrate, judged, predictions_of

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """A pretrained source: what it teaches, and its own predictions on the parts it can be judged
    on ("valid", and "test" where the same utterances are its own)."""

    teacher: Teacher
    model: TargetModel
    predictions: dict[str, Predictions]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """One seed's target model and what it makes, calibrated, of the parts it did not learn from."""

    seed: int
    model: TargetModel
    calibration: Calibration
    progress: Progress
    valid: Predictions
    test: Predictions | None
    teaching: Teaching | None
    spaces: dict[str, Space]


@dataclass(frozen=True, slots=True)
class Where:
    """The computing around a seed: device, folder for its state (None: none is kept), hooks."""

    device: torch.device
    folder: Path | None = None
    say: Say = lambda line: None
    on_epoch: Callable[[str, dict[str, float]], None] = lambda stage, measured: None

    def hook(self, stage: str) -> OnEpoch:
        """The loop's hook for the epochs of a ``stage``: "source", "source-fold1", "target"."""
        return lambda measured: self.on_epoch(stage, measured)

    def fold(self, source: str, fold: int) -> OnEpoch:
        """Say that a fold's model begins; the hook for its epochs."""
        self.say(f"source model ({source}), fold {fold + 1}")
        return self.hook(f"source-fold{fold + 1}")

    def state(self, name: str) -> Path | None:
        """The file that keeps the state of ``name``."""
        return None if self.folder is None else self.folder / f"{name}.safetensors"


def make_teaching(
    material: Material,
    settings: TrainSettings,
    seed: int,
    where: Where,
    texts: list[TextItem] | None = None,
) -> Teaching:
    """Pretrain the source that ``settings`` names; with ``texts`` on these instead of the
    corpus' own utterances."""
    source = settings.transfer.source
    assert source is not None
    where.say(f"source model ({source})")
    # The source always has HMTL's own fusion: the head to be compared is the target's.
    plain = dataclasses.replace(settings.fusion, name="hmtl")
    config = material.config(dataclasses.replace(settings, fusion=plain, votes=()), (source,))
    if texts is not None:
        other = make_text_material(texts, material.task.labels, settings.label, settings, seed)
        config = dataclasses.replace(config, vectors=VectorSizes(text=other.size))
        train, valid = other.train, other.valid
    else:
        train, valid = material.train, material.valid
    course = Course(
        train=train,
        valid=valid,
        optimiser=settings.optimiser,
        transfer=settings.transfer,
        seed=seed,
        device=where.device,
        state=where.state("source"),
        on_epoch=where.hook("source"),
    )
    spoken = SourceCourse(config, course, material.groups)
    model = train_source(spoken)
    if texts is not None:
        teacher: Teacher = unpaired_teacher(model, train, material.train, where.device, seed)
        return Teaching(teacher, model, {"valid": predictions_of(model, valid, where.device)})
    teacher = paired_teacher(
        model,
        spoken,
        settings.transfer.cross_fit,
        lambda fold: where.fold(source, fold),
    )
    parts = {"valid": material.valid, "test": material.test}
    return Teaching(
        teacher,
        model,
        {
            name: predictions_of(model, videos, where.device)
            for name, videos in parts.items()
            if judged(model, videos).any()
        },
    )


def train_seed(
    material: Material,
    settings: TrainSettings,
    seed: int,
    where: Where,
    teaching: Teaching | None = None,
    guarding: GuardMaterial | None = None,
) -> Trained:
    """Train one target model; ``teaching``: by this source, else without transfer; ``guarding``:
    what its guard is fitted on, by default the material's own parts.

    Raises:
        ValueError: the fusion head does not suit the target.
    """
    if settings.check:
        material = _screened(material, settings.target, where)
    config = material.config(settings, settings.target)
    model = make_model(config, material.train, seed)
    where.say(f"target model ({' + '.join(settings.target)})")
    teacher = teaching.teacher if teaching is not None and settings.transfer.active else None
    # A look at all training data, for the picture of the spaces alone.
    before = target_embeddings(model, material.train, where.device) if teacher else {}
    course = Course(
        train=material.train,
        valid=material.valid,
        optimiser=settings.optimiser,
        transfer=settings.transfer,
        seed=seed,
        device=where.device,
        teacher=teacher,
        state=where.state("target"),
        on_epoch=where.hook("target"),
    )
    progress = fit(model, course)
    if settings.check and config.modalities == MODALITIES:
        guarding = guarding or GuardMaterial(
            material.train, material.valid, drowned(material.valid, seed)
        )
        model.set_modality_check(fit_guard(model, guarding, where.device, seed))
    calibration = calibrate(model, material.valid, where.device)
    test = None
    if judged(model, material.test).any():
        test = predictions_of(model, material.test, where.device, calibration)
    return Trained(
        seed=seed,
        model=model,
        calibration=calibration,
        progress=progress,
        valid=predictions_of(model, material.valid, where.device, calibration),
        test=test,
        teaching=teaching,
        spaces=spaces_of(model, material.train, before, teacher, where.device),
    )


def _screened(material: Material, target: tuple[str, ...], where: Where) -> Material:
    """``material`` without what stands out in its training part; says how much that was."""
    train, found = screened(material.train, target)
    for modality, count in found.items():
        if count:
            of = int(material.train.present[modality].sum())
            where.say(f"{count} of {of} training utterances without their {modality}: damaged")
    return dataclasses.replace(material, train=train)
