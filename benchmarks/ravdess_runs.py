"""One run of the RAVDESS benchmark: which corpus, fold, seed and settings; kept by all of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import Cache
from ravdess_vectors import adapted, ravdess_vectors

from avsent.model.networks.config import ContextConfig
from avsent.training.data.corpus import Corpus
from avsent.training.data.text import TextItem, read_text_corpus
from avsent.training.evaluation import Predictions
from avsent.training.seed import Teaching, Where, make_teaching, train_seed
from avsent.training.settings import (
    OptimiserSettings,
    SplitSettings,
    TrainSettings,
    TransferSettings,
)
from avsent.training.source import UnpairedTeacher
from avsent.training.splits import Material, Task, make_material, make_task
from recipes.corpora import FOLDS

VERSION = 1
VALIDATION_ACTORS = 4
TUNING_SEEDS = (100, 101)
"""Never used for a figure that is reported as a result."""
CORPORA = ("plain", "adapted", "adapted face")
"""``adapted``: every vector standardised by its speaker. ``adapted face``: the face alone, for a
source; the voice, which is what predicts, stays plain."""

BASE = TrainSettings(
    target=("audio",),
    label="emotion",
    context=ContextConfig(first_gru=48, dense=50, second_gru=24, classifier=50),
    transfer=TransferSettings(decoder=0.0, adversarial=0.0),
    optimiser=OptimiserSettings(
        epochs=40,
        patience=15,
        batch_videos=64,
        learning_rate=2e-3,
        weight_decay=1e-2,
        label_smoothing=0.05,
        input_dropout=0.2,
    ),
)
"""Where tuning begins."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One run. ``source``: optimiser of the source model, None for the target's own;
    ``actors``: of so many training actors alone the target knows labels (0: of all)."""

    settings: TrainSettings
    fold: int
    seed: int
    corpus: str = "plain"
    source: OptimiserSettings | None = None
    texts: bool = False
    actors: int = 0

    def key(self) -> dict[str, Any]:
        """Everything that decides the result."""
        return {"version": VERSION, **dataclasses.asdict(self)}


class Laboratory:
    """Corpora, texts and results: everything trials share."""

    def __init__(self, data: Path, cache: Path) -> None:
        self._data = data
        self._features = cache
        self.results = Cache(cache / "bench" / "ravdess.jsonl")
        self._corpora: dict[str, Corpus] = {}
        self._tasks: dict[tuple[str, int], Task] = {}
        self._teachings: dict[str, Teaching] = {}
        self._where = Where(torch.device("cpu"))

    @cached_property
    def _plain(self) -> Corpus:
        return ravdess_vectors(self._data / "ravdess", self._features)

    @cached_property
    def _texts(self) -> list[TextItem]:
        return read_text_corpus(self._data / "text")

    def corpus(self, name: str) -> Corpus:
        """One of ``CORPORA``."""
        if name not in self._corpora:
            self._corpora[name] = self._made(name)
        return self._corpora[name]

    def _made(self, name: str) -> Corpus:
        if name == "plain":
            return self._plain
        changed = adapted(self._plain)
        if name == "adapted":
            return changed
        return changed.subset(
            dataclasses.replace(sample, audio=plain.audio)
            for sample, plain in zip(changed.samples, self._plain.samples, strict=True)
        )

    def task(self, name: str, fold: int) -> Task:
        """The eight emotions, with the actors of ``fold`` as test part."""
        if (name, fold) not in self._tasks:
            test = {f"actor{actor:02d}" for actor in FOLDS[fold]}
            corpus = self.corpus(name)
            parts = corpus.subset(
                dataclasses.replace(sample, split="test" if sample.speaker in test else "train")
                for sample in corpus.samples
            )
            self._tasks[name, fold] = make_task(parts, "emotion", "auto")
        return self._tasks[name, fold]

    def material(self, trial: Trial) -> Material:
        """Parts of a trial: the validation actors are drawn by its seed."""
        others = 24 - len(FOLDS[trial.fold])
        split = SplitSettings(validation=VALIDATION_ACTORS / others)
        settings = dataclasses.replace(trial.settings, split=split)
        return make_material(self.task(trial.corpus, trial.fold), settings, trial.seed, words=False)

    def measure(self, trial: Trial, *, test: bool) -> dict[str, Any]:
        """Figures of a trial, kept. Tuning asks for no ``test`` figures: none are computed."""
        key = trial.key() | {"test": test}
        return self.results.get_or_run(key, lambda: self._run(trial, test))

    def _run(self, trial: Trial, test: bool) -> dict[str, Any]:
        material = self.material(trial)
        teaching = self._teaching(trial, material) if trial.settings.transfer.active else None
        if trial.actors:
            material = with_labels_of(material, trial.actors, trial.seed)
        trained = train_seed(material, trial.settings, trial.seed, self._where, teaching)
        history = trained.progress.history
        best = history[trained.progress.best_epoch - 1]
        found: dict[str, Any] = {
            "valid": {name: best[f"valid_{name}"] for name in ("accuracy", "balanced_accuracy")},
            "valid_loss": best["valid_loss"],
            "best_epoch": trained.progress.best_epoch,
            "epoch_s": sum(line["seconds"] for line in history) / len(history),
        }
        if teaching is not None:
            found["source"] = {
                part: scores(given)
                for part, given in teaching.predictions.items()
                if test or part == "valid"
            }
        if test and trained.test is not None:
            found["test"] = scores(trained.test)
        return found

    def _teaching(self, trial: Trial, material: Material) -> Teaching:
        """The source of a trial; kept while trials that differ in nothing else follow."""
        transfer = trial.settings.transfer
        optimiser = trial.source or trial.settings.optimiser
        settings = dataclasses.replace(
            trial.settings,
            optimiser=optimiser,
            transfer=TransferSettings(source=transfer.source, cross_fit=transfer.cross_fit),
        )
        if trial.texts:
            return self._text_teaching(material, settings, trial.seed)
        name = repr((settings, trial.fold, trial.seed, trial.corpus))
        if name not in self._teachings:
            self._teachings[name] = make_teaching(material, settings, trial.seed, self._where)
        return self._teachings[name]

    def _text_teaching(self, material: Material, settings: TrainSettings, seed: int) -> Teaching:
        """As above. What a text source learns has nothing to do with folds and targets: one for
        each seed; only what is drawn for whom is of the fold."""
        name = repr((settings.context, settings.optimiser, settings.text, seed))
        if name not in self._teachings:
            made = make_teaching(material, settings, seed, self._where, self._texts)
            self._teachings[name] = made
        teaching = self._teachings[name]
        if not isinstance(teaching.teacher, UnpairedTeacher):
            raise TypeError("a text corpus teaches unpaired")
        teacher = dataclasses.replace(teaching.teacher, wanted=material.train.labels)
        return dataclasses.replace(teaching, teacher=teacher)


def with_labels_of(material: Material, actors: int, seed: int) -> Material:
    """The same material where the target knows the labels of ``actors`` training actors only."""
    known = sorted(set(material.groups))
    chosen = set(np.random.default_rng(seed).permutation(known)[:actors])
    labels = material.train.labels.clone()
    for row, speaker in enumerate(material.groups):
        if speaker not in chosen:
            labels[row] = torch.nan
    return dataclasses.replace(material, train=dataclasses.replace(material.train, labels=labels))


def scores(predictions: Predictions) -> dict[str, float]:
    """Accuracy, balanced accuracy and number of utterances."""
    from avsent.training.evaluation import evaluate

    measured = evaluate(predictions, draws=1).metrics
    return {
        "accuracy": float(measured["accuracy"] or 0.0),
        "balanced_accuracy": float(measured["balanced_accuracy"] or 0.0),
        "count": len(predictions.keys),
    }


def majority(laboratory: Laboratory, seeds: tuple[int, ...]) -> float:
    """Accuracy of always deciding for the training part's commonest class, the first of them
    where several are: over all folds, mean of ``seeds``."""
    right = everything = 0
    for seed in seeds:
        for fold in range(len(FOLDS)):
            material = laboratory.material(Trial(BASE, fold, seed))
            train = material.train.labels[material.train.known()].long()
            test = material.test.labels[material.test.known()].long()
            commonest = int(torch.bincount(train).argmax())
            right += int((test == commonest).sum())
            everything += len(test)
    return right / everything
