"""A checkpoint judged on a corpus: ``avsent evaluate``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from avsent.errors import CheckpointError, DatasetError
from avsent.labels import LabelSet
from avsent.model.checkpoint import CheckpointConfig, load_checkpoint
from avsent.model.folders import checkpoint_folder
from avsent.model.networks.config import VectorSizes
from avsent.training.data.corpus import SPLITS, Corpus, Sample
from avsent.training.dataset import make_videos
from avsent.training.evaluation import Evaluation, Predictions, evaluate
from avsent.training.metrics import majority_class
from avsent.training.run import PARTS_FILE
from avsent.training.run_folder import read_run_file
from avsent.training.splits import encode_labels
from avsent.training.validation import judged, predictions_of


@dataclass(frozen=True, slots=True)
class Judgement:
    """``part``: the part that was judged; ``baseline_from``: where the commonest class (or mean)
    of the baseline was counted; ``left_out``: utterances without a label or without what the
    model needs."""

    evaluation: Evaluation
    predictions: Predictions
    part: str
    baseline_from: str
    left_out: int


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """``part``: "train", "valid", "test", "all" or "auto", which is test where the corpus has one,
    else all. ``draws``: of the bootstrap over videos."""

    label: str = "label"
    part: str = "auto"
    draws: int = 1000
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def judge(checkpoint: str | Path, corpus: Corpus, options: JudgeOptions) -> Judgement:
    """Predict every labelled utterance of a part of ``corpus``, in the context of its video.

    Raises:
        CheckpointError: it is damaged, or needs other features than the corpus has.
        DatasetError: the part is empty, or a label is none of the model's.
    """
    loaded = load_checkpoint(checkpoint)
    config = loaded.config
    check_features(checkpoint, config, corpus)
    labels = LabelSet(config.model.labels, config.model.real)
    encoded = encode_labels(corpus, options.label, labels)
    corpus = with_parts(checkpoint, corpus)
    part, samples = _part(corpus, str(options.part))  # the command line's is an enum
    videos = make_videos(samples, encoded, _sizes(config.model.vectors), features=config.features)
    if not judged(loaded.model, videos).any():
        raise DatasetError(
            f"{corpus.name}: no utterance of the part {part!r} has a label and "
            f"{' or '.join(config.model.modalities)}; choose another --split or --label"
        )
    predictions = predictions_of(loaded.model, videos, options.device, config.calibration)
    train = [sample for sample in corpus.samples if sample.split == "train"]
    counted = [value for s in train or samples if (value := encoded[s.key]) is not None]
    truth = np.array(counted)
    evaluation = evaluate(
        predictions,
        majority_class=None
        if labels.real
        else majority_class(truth.astype(np.int64), len(labels.names)),
        train_mean=float(truth.mean()) if labels.real else None,
        draws=options.draws,
        seed=options.seed,
    )
    return Judgement(
        evaluation=evaluation,
        predictions=predictions,
        part=part,
        baseline_from="train" if train else part,
        left_out=len(samples) - len(predictions.keys),
    )


def with_parts(checkpoint: str | Path, corpus: Corpus) -> Corpus:
    """``corpus`` with the parts that were drawn when this checkpoint was trained on it; itself
    where it names parts, or is not the data of the checkpoint."""
    path = checkpoint_folder(checkpoint) / PARTS_FILE
    if any(sample.split for sample in corpus.samples) or not path.is_file():
        return corpus
    parts = read_run_file(path)
    if parts.get("sha256") != corpus.digest():
        return corpus
    part_of = {key: part for part in SPLITS for key in parts.get(part, [])}
    return corpus.subset(
        dataclasses.replace(sample, split=part_of.get(sample.key, "")) for sample in corpus.samples
    )


def check_features(checkpoint: str | Path, config: CheckpointConfig, corpus: Corpus) -> None:
    """Raise CheckpointError where the corpus' features are not those the model was trained on."""
    model = config.model
    for modality in model.modalities:
        wanted, found = model.vectors.of(modality), corpus.vectors.get(modality, 0)
        if wanted != found:
            raise CheckpointError(
                f"{checkpoint}: needs {_kind(modality, wanted)}, {corpus.name} has "
                f"{_kind(modality, found)}; use data like those it was trained on"
            )
    raw = any(not model.vectors.of(modality) for modality in model.modalities)
    if raw and corpus.features is not None and corpus.features != config.features:
        raise CheckpointError(
            f"{checkpoint}: was trained on features made in another way than those of "
            f"{corpus.name}; give the videos themselves, or extract them anew"
        )


def _kind(modality: str, size: int) -> str:
    raw = {"audio": "raw sound", "face": "raw faces", "text": "no text"}[modality]
    return f"{modality} vectors of size {size}" if size else raw


def _sizes(vectors: VectorSizes) -> dict[str, int]:
    sizes = {name: vectors.of(name) for name in ("audio", "face", "text")}
    return {name: size for name, size in sizes.items() if size}


def _part(corpus: Corpus, wanted: str) -> tuple[str, list[Sample]]:
    if wanted == "auto":
        wanted = "test" if any(sample.split == "test" for sample in corpus.samples) else "all"
    samples = [sample for sample in corpus.samples if wanted in ("all", sample.split)]
    if not samples:
        raise DatasetError(f"{corpus.name}: has no part {wanted!r}; choose another --split, or all")
    return wanted, samples
