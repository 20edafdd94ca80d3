"""One seed of a training run: source, target, calibration, predictions."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from avsent.labels import MODALITIES
from avsent.model.checkpoint import Calibration
from avsent.model.networks.config import VectorSizes
from avsent.model.networks.target import TargetModel
from avsent.training.data.text import TextItem
from avsent.training.dataset import Videos
from avsent.training.embeddings import EmbeddingSpace, embedding_spaces, embeddings_of
from avsent.training.evaluation import Predictions
from avsent.training.modality_check import GuardData, fit_guard, with_noise, without_outliers
from avsent.training.settings import TrainSettings
from avsent.training.source import (
    SourceSetup,
    make_model,
    paired_teacher,
    train_source,
    unpaired_teacher,
)
from avsent.training.splits import Material, make_text_material
from avsent.training.trainer import FitSetup, OnEpoch, Progress, Teacher, fit
from avsent.training.validation import calibrate, evaluable, predictions_of


@dataclass(frozen=True, slots=True, eq=False)
class PretrainedSource:
    """A pretrained source ``model``, what it teaches, and its own predictions by part: "valid",
    and "test" if it reads the same utterances as the target."""

    teacher: Teacher
    model: TargetModel
    predictions: dict[str, Predictions]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """One seed's target model, and its calibrated predictions on the held-out parts."""

    seed: int
    model: TargetModel
    calibration: Calibration
    progress: Progress
    valid: Predictions
    test: Predictions | None
    source: PretrainedSource | None
    spaces: dict[str, EmbeddingSpace]


@dataclass(frozen=True, slots=True)
class SeedContext:
    """Surroundings of a seed: device, folder for its states (None: they are not kept), hooks."""

    device: torch.device
    folder: Path | None = None
    say: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[str, dict[str, float]], None] = lambda stage, measured: None

    def hook(self, stage: str) -> OnEpoch:
        """The hook for the epochs of a ``stage``: "source", "source-fold1", "target"."""
        return lambda measured: self.on_epoch(stage, measured)

    def setup(
        self, stage: str, train: Videos, valid: Videos, settings: TrainSettings, seed: int
    ) -> FitSetup:
        """Training on ``train`` that keeps its state in the file of ``stage``."""
        return FitSetup(
            train=train,
            valid=valid,
            optimiser=settings.optimiser,
            transfer=settings.transfer,
            seed=seed,
            device=self.device,
            state=None if self.folder is None else self.folder / f"{stage}.safetensors",
            on_epoch=self.hook(stage),
        )


def pretrain_source(
    material: Material,
    settings: TrainSettings,
    seed: int,
    context: SeedContext,
    texts: list[TextItem] | None = None,
) -> PretrainedSource:
    """Pretrain the source that ``settings`` name; on ``texts``, or on the corpus' own
    utterances."""
    source = settings.transfer.source
    assert source is not None
    context.say(f"source model ({source})")
    # The source always has HMTL's own fusion: the head to be compared is the target's.
    plain = dataclasses.replace(settings.fusion, name="hmtl")
    config = material.config(dataclasses.replace(settings, fusion=plain, votes=()), (source,))
    train, valid = material.train, material.valid
    if texts is not None:
        other = make_text_material(texts, material.task.labels, settings.label, settings, seed)
        config = dataclasses.replace(config, vectors=VectorSizes(text=other.size))
        train, valid = other.train, other.valid
    setup = SourceSetup(
        config, context.setup("source", train, valid, settings, seed), material.groups
    )
    model = train_source(setup)
    if texts is not None:
        teacher: Teacher = unpaired_teacher(model, train, material.train, context.device, seed)
        valid_predictions = predictions_of(model, valid, context.device)
        return PretrainedSource(teacher, model, {"valid": valid_predictions})

    def on_fold(fold: int) -> OnEpoch:
        context.say(f"source model ({source}), fold {fold + 1}")
        return context.hook(f"source-fold{fold + 1}")

    teacher = paired_teacher(model, setup, settings.transfer.cross_fit, on_fold)
    predictions = {
        name: predictions_of(model, videos, context.device)
        for name, videos in (("valid", material.valid), ("test", material.test))
        if evaluable(model, videos).any()
    }
    return PretrainedSource(teacher, model, predictions)


def train_seed(
    material: Material,
    settings: TrainSettings,
    seed: int,
    context: SeedContext,
    source: PretrainedSource | None = None,
    guard_data: GuardData | None = None,
) -> Trained:
    """Train one target model; ``source``: teaches it, None for no transfer; ``guard_data``: what
    its guard is fitted on, by default the material's own parts.

    Raises:
        ValueError: the fusion head does not suit the target.
    """
    if settings.check:
        material = _without_outliers(material, settings.target, context)
    config = material.config(settings, settings.target)
    model = make_model(config, material.train, seed)
    context.say(f"target model ({' + '.join(settings.target)})")
    teacher = source.teacher if source is not None and settings.transfer.active else None
    # A pass over all training data, needed for the figure of the spaces only.
    before = embeddings_of(model, material.train, context.device) if teacher else {}
    setup = context.setup("target", material.train, material.valid, settings, seed)
    progress = fit(model, dataclasses.replace(setup, teacher=teacher))
    if settings.check and config.modalities == MODALITIES:
        guard_data = guard_data or GuardData(
            material.train, material.valid, with_noise(material.valid, seed)
        )
        model.set_modality_check(fit_guard(model, guard_data, context.device, seed))
    calibration = calibrate(model, material.valid, context.device)
    test = None
    if evaluable(model, material.test).any():
        test = predictions_of(model, material.test, context.device, calibration)
    return Trained(
        seed=seed,
        model=model,
        calibration=calibration,
        progress=progress,
        valid=predictions_of(model, material.valid, context.device, calibration),
        test=test,
        source=source,
        spaces=embedding_spaces(model, material.train, before, teacher, context.device),
    )


def _without_outliers(
    material: Material, target: tuple[str, ...], context: SeedContext
) -> Material:
    """Drop outlier vectors from the training part and log how many."""
    train, found = without_outliers(material.train, target)
    for modality, count in found.items():
        if count:
            of = int(material.train.present[modality].sum())
            context.say(f"{count} of {of} training utterances without their {modality}: damaged")
    return dataclasses.replace(material, train=train)
