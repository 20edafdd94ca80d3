"""One run on the MOSI features: from settings and a seed to figures, kept in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import Cache, progress

from avsent.model.networks.config import ContextConfig, FusionConfig
from avsent.training.data.open import open_corpus
from avsent.training.evaluation import Predictions
from avsent.training.metrics import ACCURACY, AUC, BALANCED_ACCURACY, classification_metrics
from avsent.training.seed import Teaching, Where, make_teaching, train_seed
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings, for_source
from avsent.training.splits import Material, Task, make_material, make_task

METRICS = (ACCURACY, BALANCED_ACCURACY, AUC)
DECODER, ADVERSARIAL = 5.0, 0.3
TRANSFERS = {
    "none": (0.0, 0.0),
    "decoder": (DECODER, 0.0),
    "discriminator": (0.0, ADVERSARIAL),
    "full": (DECODER, ADVERSARIAL),
}
TARGETS = {"A": ("audio",), "V": ("face",), "A+V": ("audio", "face")}
SIZES = ContextConfig(first_gru=48, dense=50, second_gru=24, classifier=50)
EPOCHS = 30


@dataclass(frozen=True, slots=True)
class Regularisation:
    """What holds a network back."""

    dropout: float = 0.4
    weight_decay: float = 0.0
    input_dropout: float = 0.0
    modality_dropout: float = 0.0


PLAIN = Regularisation()
STRONG = Regularisation(dropout=0.7, weight_decay=1e-3, input_dropout=0.3)


@dataclass(frozen=True, slots=True)
class Setup:
    """What is varied: everything else stays as FINDINGS has it."""

    target: str = "A+V"
    transfer: str = "none"
    fusion: FusionConfig = field(default_factory=FusionConfig)
    regularisation: Regularisation = PLAIN
    text: str = "auto"
    cross_fit: int = 0

    def settings(self) -> TrainSettings:
        """As the trainer wants them."""
        decoder, adversarial = TRANSFERS[self.transfer]
        held = self.regularisation
        made = TrainSettings(target=TARGETS[self.target], label="label", labels="2")
        return dataclasses.replace(
            made,
            context=dataclasses.replace(SIZES, dropout=held.dropout),
            fusion=self.fusion,
            transfer=TransferSettings(
                source=None if self.transfer == "none" else "text",
                decoder=decoder,
                adversarial=adversarial,
                cross_fit=self.cross_fit,
            ),
            optimiser=OptimiserSettings(
                epochs=EPOCHS,
                weight_decay=held.weight_decay,
                input_dropout=held.input_dropout,
                modality_dropout=held.modality_dropout,
            ),
            text=dataclasses.replace(made.text, encoder=self.text),
        )


class Mosi:
    """The corpus, the cache, and what runs of one seed share."""

    def __init__(self, data: Path, cache: Cache) -> None:
        self.cache = cache
        self.task: Task = make_task(open_corpus(data), "label", "2")
        self.sha256 = hashlib.sha256(data.read_bytes()).hexdigest()
        self.where = Where(torch.device("cpu"))
        self._materials: dict[str, Material] = {}
        self._teachings: dict[str, Teaching] = {}

    def key(self, kind: str, settings: TrainSettings, seed: int) -> dict[str, Any]:
        """Everything that decides a result."""
        key = {
            "kind": kind,
            "data": self.sha256[:16],
            "seed": seed,
            "settings": dataclasses.asdict(settings) | {"target": list(settings.target)},
        }
        if settings.transfer.source and for_source(settings) != settings:
            key["source"] = dataclasses.asdict(PLAIN)
        return key

    def run(self, setup: Setup, seed: int) -> dict[str, Any]:
        """The target's figures: those of its best epoch on validation."""
        settings = setup.settings()
        return self.cache.get_or_run(
            self.key("target", settings, seed), lambda: self._train(settings, seed)
        )

    def source(self, setup: Setup, seed: int) -> dict[str, Any]:
        """The text source's own figures."""
        settings = dataclasses.replace(setup, transfer="full", cross_fit=0).settings()
        return self.cache.get_or_run(
            self.key("source", settings, seed), lambda: self._source(settings, seed)
        )

    def material(self, settings: TrainSettings, seed: int) -> Material:
        """The parts of ``seed``, with vectors of the texts."""
        # make_material asks for the target only to see that it is there: all of MOSI has all.
        name = f"{settings.text.encoder} {seed}"
        if name not in self._materials:
            self._materials = {name: make_material(self.task, settings, seed, words=True)}
        return self._materials[name]

    def teaching(self, settings: TrainSettings, seed: int) -> Teaching:
        """The source of ``seed``: the same for every target and fusion."""
        told = for_source(settings)
        name = repr((settings.text, settings.transfer.cross_fit, seed))
        if name not in self._teachings:
            made = make_teaching(self.material(told, seed), told, seed, self.where)
            self._teachings = {name: made}
        return self._teachings[name]

    def _train(self, settings: TrainSettings, seed: int) -> dict[str, Any]:
        teaching = self.teaching(settings, seed) if settings.transfer.source else None
        trained = train_seed(self.material(settings, seed), settings, seed, self.where, teaching)
        assert trained.test is not None
        result = {
            "valid": figures(trained.valid),
            "test": figures(trained.test),
            "best_epoch": trained.progress.best_epoch,
        }
        say(settings, seed, result)
        return result

    def _source(self, settings: TrainSettings, seed: int) -> dict[str, Any]:
        predictions = self.teaching(settings, seed).predictions
        result = {name: figures(predictions[name]) for name in ("valid", "test")}
        progress(f"seed {seed}  text source  test AUC {result['test'][AUC]:.3f}")
        return result

    def constant(self, part: str) -> dict[str, float]:
        """Test figures of always naming the commonest class of ``part``: "train", or "test" for
        what can only be known afterwards."""
        samples = self.task.corpus.samples
        truth = {
            name: np.array(
                [self.task.encoded[s.key] for s in samples if s.split == name], dtype=np.int64
            )
            for name in ("train", "test")
        }
        certain = np.zeros((len(truth["test"]), 2))
        certain[:, int(np.bincount(truth[part]).argmax())] = 1
        return _chosen(classification_metrics(truth["test"], certain))


def figures(predictions: Predictions) -> dict[str, float]:
    """Accuracy, balanced accuracy and AUC."""
    assert predictions.probabilities is not None
    return _chosen(classification_metrics(predictions.class_truth(), predictions.probabilities))


def _chosen(measured: dict[str, float | None]) -> dict[str, float]:
    return {name: float(measured[name] or 0.0) for name in METRICS}


def say(settings: TrainSettings, seed: int, result: dict[str, Any]) -> None:
    """One line about a run that has ended."""
    weights = settings.transfer
    taught = f"β {weights.decoder} γ {weights.adversarial}" if weights.active else "no transfer"
    progress(
        f"seed {seed}  {'+'.join(settings.target)}  {settings.fusion.name}  "
        f"dropout {settings.context.dropout}  {taught}  epoch {result['best_epoch']}  "
        f"valid AUC {result['valid'][AUC]:.3f}  test AUC {result['test'][AUC]:.3f}"
    )
