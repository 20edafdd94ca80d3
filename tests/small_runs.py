"""Small synthetic corpora, and settings for short training runs on them.

An utterance's class shows in everything that stands for it, so that all of it can be learnt.
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.extraction.extractor import FeatureConfig
from avsent.model.networks.config import (
    ContextConfig,
    FusionConfig,
    TargetConfig,
    TransferConfig,
    VectorSizes,
)
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.transfer import Transfer
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.feature_files import write_features
from avsent.training.losses import Teacher, Updates
from avsent.training.run import Hooks, Request, run
from avsent.training.run_folder import RunFolder
from avsent.training.settings import (
    OptimiserSettings,
    SplitSettings,
    TextSettings,
    TrainSettings,
    TransferSettings,
)
from avsent.training.splits import SeedData, make_seed_data, make_task

AUDIO, FACE, WORDS = 6, 5, 4
SIZES = {"audio": AUDIO, "face": FACE, "text": WORDS}
SENTENCES = ("bad dull film", "plain film there", "good bright film")
POLARITIES = ("negative", "neutral", "positive")
SMALL = ContextConfig(first_gru=5, dense=6, second_gru=4, dropout=0.2, classifier=6)


def small_corpus(
    *,
    classes: tuple[str, ...] = ("negative", "positive"),
    speakers: int = 8,
    utterances: int = 3,
    given: bool = True,
    raw: bool = False,
    gaps: bool = False,
    seed: int = 0,
) -> Corpus:
    """One video of ``utterances`` for each speaker; a class in turn, and a number for it.

    ``given``: the corpus names its parts (a half, a quarter, a quarter); ``raw``: spectrograms
    and landmarks instead of vectors; ``gaps``: now and then a voice, a face, a text or a label is
    missing.
    """
    rng = np.random.default_rng(seed)
    directions = {name: rng.normal(size=(len(classes), size)) for name, size in SIZES.items()}
    samples = []
    for speaker in range(speakers):
        for number in range(utterances - (speaker % 2)):
            count = len(samples)
            index = count % len(classes)
            numbers = {
                name: (2 * directions[name][index] + rng.normal(size=size)).astype(np.float32)
                for name, size in SIZES.items()
            }
            hidden = count % 7 if gaps else 0
            sentiment = 3.0 * (2 * index / (len(classes) - 1) - 1) + rng.uniform(-0.4, 0.4)
            labels = {"label": classes[index], "sentiment": f"{np.clip(sentiment, -3, 3):.2f}"}
            samples.append(
                Sample(
                    key=f"v{speaker}_{number}",
                    video=f"v{speaker}",
                    speaker=f"s{speaker}",
                    split=_part(speaker, speakers) if given else "",
                    labels=dict.fromkeys(labels, "") if hidden == 4 else labels,
                    text="" if hidden == 3 else f"{SENTENCES[index % 3]} {count % 5}",
                    audio=None if hidden == 1 else _sound(index, rng) if raw else numbers["audio"],
                    face=None if hidden == 2 else _look(index, rng) if raw else numbers["face"],
                    words=None if raw or hidden == 3 else numbers["text"],
                )
            )
    features = FeatureConfig() if raw else None
    return Corpus("tiny", tuple(samples), {} if raw else SIZES, features, "made up")


def feature_file(path: Path, **options: Any) -> Path:
    """:func:`small_corpus` as a feature file."""
    write_features(path, small_corpus(**options))
    return path


def small_settings(
    *,
    target: tuple[str, ...] = ("audio", "face"),
    label: str = "label",
    labels: str = "auto",
    fusion: str = "hmtl",
    encoder: str = "auto",
    transfer: dict[str, Any] | None = None,
    **optimiser: Any,
) -> TrainSettings:
    """Settings for networks of a few neurons; ``transfer`` and ``optimiser`` as their classes. β is
    not scaled, as :func:`small_corpus` has labels for all."""
    return TrainSettings(
        target=target,
        label=label,
        labels=labels,
        context=SMALL,
        fusion=FusionConfig(name=fusion),
        transfer=TransferSettings(**{"scaled": False, **(transfer or {})}),
        optimiser=OptimiserSettings(**{"epochs": 3, "batch_videos": 3, **optimiser}),
        split=SplitSettings(),
        text=TextSettings(encoder=encoder, size=WORDS),
    )


def seed_data_of(corpus: Corpus, settings: TrainSettings, *, words: bool = True) -> SeedData:
    """The parts of seed 0."""
    return make_seed_data(
        make_task(corpus, settings.label, settings.labels), settings, 0, words=words
    )


def changed(corpus: Corpus, change: dict[str, dict[str, Any]]) -> Corpus:
    """The corpus with other fields of the samples of some videos."""
    return dataclasses.replace(
        corpus,
        samples=tuple(
            dataclasses.replace(one, **change.get(one.video, {})) for one in corpus.samples
        ),
    )


def _part(speaker: int, speakers: int) -> str:
    if 2 * speaker < speakers:
        return "train"
    return "valid" if 4 * speaker < 3 * speakers else "test"


def _sound(index: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mel power [64, N], loud in a band of its class."""
    power = rng.gamma(1.0, 1.0, (64, int(rng.integers(20, 30))))
    power[10 * index : 10 * index + 8] *= 50
    return power.astype(np.float32)


def _look(index: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Landmarks [T, 51, 2], shifted by class."""
    points = rng.normal(scale=0.5, size=(int(rng.integers(3, 6)), 51, 2)) + 0.5 * index
    return points.astype(np.float32)


CPU = torch.device("cpu")
WEIGHTS = "checkpoint/model.safetensors"
TEXT_SOURCE = {"source": "text"}


def run_small(
    folder: Path,
    corpus: Corpus | None = None,
    settings: TrainSettings | None = None,
    hooks: Hooks | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A run on a small corpus, by default with one seed, without transfer or comparison."""
    options = {"seeds": (0,), "baseline": False, **options}
    request = Request(
        corpus=corpus or small_corpus(),
        settings=settings or small_settings(),
        folder=RunFolder(folder),
        device=CPU,
        **options,
    )
    return run(request, hooks)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


SIZE = 2 * SMALL.second_gru
NAN = math.nan
PRESENT = {
    "audio": torch.tensor([[True, True, True, False], [True, False, False, False]]),
    "face": torch.tensor([[True, False, True, True], [True, True, False, False]]),
}
LABELS = torch.tensor([[0.0, 1.0, NAN, 2.0], [1.0, 0.0, NAN, NAN]], dtype=torch.float64)
HAS_SOURCE = torch.tensor([[True, True, False, True], [True, True, False, False]])
UNCLIPPED = OptimiserSettings(learning_rate=0.01, clip=1e9)
STEP_WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def utterances() -> Utterances:
    values = {"audio": random(2, 4, AUDIO, seed=1), "face": random(2, 4, FACE, seed=2)}
    return Utterances(values, dict(PRESENT), torch.tensor([4, 2]))


def make_teacher(embeddings: Tensor, present: Tensor, classes: int = 3) -> Teacher:
    """With random outputs."""
    return Teacher(embeddings, random(*present.shape, classes, seed=5), present)


def source_embeddings() -> Teacher:
    return make_teacher(random(2, 4, SIZE, seed=3).tanh(), HAS_SOURCE)


def small_updates(
    alpha: float = 1.0,
    beta: float = 0.0,
    gamma: float = 0.0,
    *,
    optimiser: OptimiserSettings = UNCLIPPED,
    kind: str = "hmtl",
    **config: Any,
) -> Updates:
    """A target on vectors without dropout, so that it can be computed again."""
    torch.manual_seed(4)
    settings: dict[str, Any] = {
        "vectors": VectorSizes(audio=AUDIO, face=FACE),
        "context": dataclasses.replace(SMALL, dropout=0.0),
        **config,
    }
    model = TargetModel(TargetConfig(**settings))
    transfer = None
    if kind == "hmtl":
        transfer = Transfer(model.config.modalities, SIZE, SIZE, TransferConfig(6, 5))
    weights = TransferSettings("text", kind, alpha, beta, gamma)
    return Updates(model.train(), transfer, optimiser, weights, STEP_WEIGHTS)


def parameters(updates: Updates) -> dict[str, Tensor]:
    """All trainable parameters, by "part.name"."""
    transfer = () if updates.transfer is None else updates.transfer.named_parameters()
    named = [*updates.model.named_parameters(), *transfer]
    return {name: value.detach().clone() for name, value in named}
