"""Runs without choice of an epoch: every epoch of a run is judged, none is preferred.

Validation videos of MOSI carry labels that their video and text vectors were fitted to. So the
number of epochs comes from elsewhere (see ``mosi_choice``), and what is kept here is the course
of a run: figures and test probabilities by epoch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from experiments import Cache, progress
from mosi_runs import EPOCHS, METRICS, SIZES, TARGETS, Mosi, Regularisation
from numpy.typing import NDArray

from avsent.model.networks.config import ContextConfig, FusionConfig
from avsent.training.data.corpus import Sample
from avsent.training.dataset import Videos
from avsent.training.metrics import AUC, classification_metrics
from avsent.training.seed import Teaching, make_teaching
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings, for_source
from avsent.training.source import make_model
from avsent.training.splits import Material, Task, make_material, make_task
from avsent.training.trainer import Course, Teacher, fit
from avsent.training.validation import judged, outputs_of

SCALE = 10_000
"""Probabilities are kept as whole numbers of this fraction."""


@dataclass(frozen=True, slots=True)
class Lead:
    """One configuration. ``real``: learns the strength of the sentiment, not its sign alone;
    ``adapt``: audio standardised within the video (speaker-adaptive, never mixed with plain)."""

    target: str = "A"
    held: Regularisation = dataclasses.field(default_factory=Regularisation)
    sizes: ContextConfig = SIZES
    fusion: str = "hmtl"
    learning_rate: float = 1e-3
    batch_videos: int = 16
    decoder: float = 0.0
    adversarial: float = 0.0
    text: str = "tfidf"
    cross_fit: int = 5
    real: bool = False
    adapt: bool = False

    @property
    def taught(self) -> bool:
        """Whether a source teaches."""
        return self.decoder > 0 or self.adversarial > 0

    def settings(self) -> TrainSettings:
        """As the trainer wants them."""
        held = self.held
        transfer = TransferSettings(source=None, decoder=0.0, adversarial=0.0)
        if self.taught:
            transfer = TransferSettings(
                source="text",
                decoder=self.decoder,
                adversarial=self.adversarial,
                cross_fit=self.cross_fit,
            )
        made = TrainSettings(target=TARGETS[self.target], label="label", labels="2")
        if self.real:
            made = dataclasses.replace(made, label="sentiment", labels="real")
        return dataclasses.replace(
            made,
            context=dataclasses.replace(self.sizes, dropout=held.dropout),
            fusion=FusionConfig(name=self.fusion),
            transfer=transfer,
            optimiser=OptimiserSettings(
                epochs=EPOCHS,
                batch_videos=self.batch_videos,
                learning_rate=self.learning_rate,
                weight_decay=held.weight_decay,
                input_dropout=held.input_dropout,
                modality_dropout=held.modality_dropout,
            ),
            text=dataclasses.replace(made.text, encoder=self.text),
        )


class Courses:
    """Runs of leads; ``cache`` is a file of its own, as it keeps every epoch's probabilities."""

    def __init__(self, mosi: Mosi, cache: Cache) -> None:
        self.mosi = mosi
        self.cache = cache
        self.task = lru_cache(self._task)
        self._teachings: dict[str, Teaching] = {}

    def of(self, lead: Lead, seed: int) -> dict[str, Any]:
        """By epoch: "valid" AUC, "test" figures by name, "probabilities" [E][N] of the test part;
        validation videos as in the plain protocol."""
        key = self.mosi.key("course", lead.settings(), seed) | {"adapt": lead.adapt}
        return self.cache.get_or_run(key, lambda: self._run(lead, seed))

    def test_part(self) -> Videos:
        """The test videos: the same for every seed."""
        return self.material(Lead(), 0).test

    def _run(self, lead: Lead, seed: int) -> dict[str, Any]:
        settings = lead.settings()
        material = self.material(lead, seed)
        teaching = self.teaching(lead, material, seed)
        teacher = None if teaching is None else teaching.teacher
        found = course(material, settings, seed, teacher, EPOCHS)
        result = {
            "valid": [auc_of(material.valid, p) for p in found["valid"]],
            "heard": [auc_of(material.valid, p) for p in found["heard"]],
            "test": _by_name([figures_of(material.test, p) for p in found["test"]]),
            "probabilities": [np.round(p * SCALE).astype(int).tolist() for p in found["test"]],
        }
        best = int(np.argmax(result["valid"]))
        progress(
            f"seed {seed}  {lead.target}  course  β {lead.decoder} γ {lead.adversarial}  "
            f"best valid AUC {result['valid'][best]:.3f} at {best + 1}"
        )
        return result

    def _task(self, real: bool, adapt: bool) -> Task:
        corpus = self.mosi.task.corpus
        if adapt:
            corpus = dataclasses.replace(corpus, samples=within_video(corpus.samples))
        return make_task(corpus, *(("sentiment", "real") if real else ("label", "2")))

    def material(self, lead: Lead, seed: int) -> Material:
        settings = lead.settings()
        # The division looks at labels: with strengths for labels it would be another one.
        split = make_material(self.task(False, lead.adapt), settings, seed, words=True)
        if not lead.real:
            return split
        task = self.task(True, lead.adapt)
        parts = {
            name: dataclasses.replace(part, labels=_relabelled(part, task))
            for name, part in (("train", split.train), ("valid", split.valid), ("test", split.test))
        }
        return dataclasses.replace(split, task=task, **parts)

    def teaching(self, lead: Lead, material: Material, seed: int) -> Teaching | None:
        """The source of ``seed``, or None: which target learns, and how much, is nothing to it."""
        if not lead.taught:
            return None
        settings = for_source(lead.settings())
        name = repr((lead.text, lead.cross_fit, lead.real, seed))
        if name not in self._teachings:
            progress(f"seed {seed}  source, cross-fitted")
            self._teachings[name] = make_teaching(material, settings, seed, self.mosi.where)
        return self._teachings[name]


def course(
    material: Material, settings: TrainSettings, seed: int, teacher: Teacher | None, epochs: int
) -> dict[str, list[NDArray[np.float64]]]:
    """Probabilities of "positive" on validation and test part after each of ``epochs`` epochs;
    "heard": on the validation part with the face withheld, where there is a voice.

    Judging between epochs changes nothing: each epoch draws from a generator of its own.
    """
    model = make_model(material.config(settings, settings.target), material.train, seed)
    parts = {"valid": material.valid, "test": material.test}
    if len(settings.target) == 2:
        parts["heard"] = without_face(material.valid)
    found: dict[str, list[NDArray[np.float64]]] = {"valid": [], "test": [], "heard": []}

    def look(measured: dict[str, float]) -> None:
        for name, videos in parts.items():
            outputs = outputs_of(model, videos, torch.device("cpu"))[judged(model, videos)]
            margin = outputs[:, 0] if model.config.real else outputs[:, 1] - outputs[:, 0]
            found[name].append(1.0 / (1.0 + np.exp(-margin)))

    optimiser = dataclasses.replace(settings.optimiser, epochs=epochs, patience=epochs)
    fit(
        model,
        Course(
            train=material.train,
            valid=material.valid,
            optimiser=optimiser,
            transfer=settings.transfer,
            seed=seed,
            device=torch.device("cpu"),
            teacher=teacher,
            on_epoch=look,
        ),
    )
    return found


def without_face(videos: Videos) -> Videos:
    """The same with no face in any utterance."""
    absent = torch.zeros_like(videos.present["face"])
    return dataclasses.replace(videos, present={**videos.present, "face": absent})


def truth_of(videos: Videos) -> NDArray[np.int64]:
    """Whether each labelled utterance is positive; zero strength counts as positive (the file's
    own binary label)."""
    labels = videos.labels[videos.known()].numpy()
    own = [s.labels["label"] for video in videos.samples for s in video]
    assert len(own) == len(labels)
    return np.array([name == "positive" for name in own], dtype=np.int64)


def figures_of(videos: Videos, positive: NDArray[np.float64]) -> dict[str, float]:
    """Accuracy, balanced accuracy and AUC of probabilities [N] of "positive"."""
    both = np.stack([1.0 - positive, positive], axis=1)
    measured = classification_metrics(truth_of(videos), both)
    return {name: float(measured[name] or 0.0) for name in METRICS}


def auc_of(videos: Videos, positive: NDArray[np.float64]) -> float:
    """Area under the ROC curve."""
    return figures_of(videos, positive)[AUC]


def within_video(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Audio standardised by the mean and deviation of its own video, no labels used."""
    rows: dict[str, list[NDArray[np.float32]]] = {}
    for sample in samples:
        rows.setdefault(sample.video, []).append(np.asarray(sample.audio))
    stats = {
        name: (np.mean(values, axis=0), np.std(values, axis=0) + 1e-6)
        for name, values in rows.items()
    }
    return tuple(
        dataclasses.replace(
            s, audio=((s.audio - stats[s.video][0]) / stats[s.video][1]).astype(np.float32)
        )
        for s in samples
    )


def _relabelled(videos: Videos, task: Task) -> torch.Tensor:
    labels = videos.labels.clone()
    for v, video in enumerate(videos.samples):
        for u, sample in enumerate(video):
            value = task.encoded[sample.key]
            labels[v, u] = torch.nan if value is None else value
    return labels


def _by_name(rows: list[dict[str, float]]) -> dict[str, list[float]]:
    return {name: [row[name] for row in rows] for name in METRICS}
