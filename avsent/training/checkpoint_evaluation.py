"""Evaluation of a checkpoint on a corpus: ``avsent evaluate``."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from avsent.errors import CheckpointError, DatasetError
from avsent.labels import LabelSet
from avsent.model.checkpoint import CheckpointConfig, load_checkpoint
from avsent.model.folders import checkpoint_folder
from avsent.training.data.corpus import SPLITS, Corpus, Sample
from avsent.training.dataset import make_videos
from avsent.training.evaluation import Evaluation, Predictions, evaluate
from avsent.training.metrics import majority_class
from avsent.training.run import PARTS_FILE
from avsent.training.run_folder import read_run_file
from avsent.training.splits import encode_labels
from avsent.training.validation import evaluable, predictions_of


@dataclass(frozen=True, slots=True)
class CheckpointEvaluation:
    """``part``: the evaluated part; ``baseline_from``: the part whose commonest class (or mean) is
    the baseline; ``left_out``: utterances without a label or without a modality of the model."""

    evaluation: Evaluation
    predictions: Predictions
    part: str
    baseline_from: str
    left_out: int


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """``part``: "train", "valid", "test", "all" or "auto", which is test if the corpus has a test
    part, else all. ``draws`` and ``seed``: of the bootstrap over videos."""

    label: str = "label"
    part: str = "auto"
    draws: int = 1000
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def evaluate_checkpoint(
    checkpoint: str | Path, corpus: Corpus, options: EvaluateOptions
) -> CheckpointEvaluation:
    """Predict every labelled utterance of a part of ``corpus``, in the context of its video.

    Raises:
        CheckpointError: it is damaged, or needs other features than the corpus has.
        DatasetError: the part is empty, or a label is none of the model's.
    """
    loaded = load_checkpoint(checkpoint)
    model = loaded.config.model
    _check_features(checkpoint, loaded.config, corpus)
    labels = LabelSet(model.labels, model.real)
    encoded = encode_labels(corpus, options.label, labels)
    corpus = _with_parts(checkpoint, corpus)
    part, samples = _part(corpus, str(options.part))  # the command line's is an enum
    sizes = {name: size for name in ("audio", "face", "text") if (size := model.vectors.of(name))}
    videos = make_videos(samples, encoded, sizes, features=loaded.config.features)
    if not evaluable(loaded.model, videos).any():
        raise DatasetError(
            f"{corpus.name}: no utterance of the part {part!r} has a label and "
            f"{' or '.join(model.modalities)}; choose another --split or --label"
        )
    calibration = loaded.config.calibration
    predictions = predictions_of(loaded.model, videos, options.device, calibration)
    train = [sample for sample in corpus.samples if sample.split == "train"]
    truth = np.array([v for s in train or samples if (v := encoded[s.key]) is not None])
    majority = None if labels.real else majority_class(truth.astype(np.int64), len(labels.names))
    evaluation = evaluate(
        predictions,
        majority_class=majority,
        train_mean=float(truth.mean()) if labels.real else None,
        draws=options.draws,
        seed=options.seed,
    )
    return CheckpointEvaluation(
        evaluation=evaluation,
        predictions=predictions,
        part=part,
        baseline_from="train" if train else part,
        left_out=len(samples) - len(predictions.keys),
    )


def _with_parts(checkpoint: str | Path, corpus: Corpus) -> Corpus:
    """``corpus`` with the parts that were drawn when this checkpoint was trained on it; unchanged
    if it names parts, or is not the checkpoint's training data."""
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


def _check_features(checkpoint: str | Path, config: CheckpointConfig, corpus: Corpus) -> None:
    """Raise CheckpointError if the corpus has other features than the model's training data."""
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


def _part(corpus: Corpus, wanted: str) -> tuple[str, list[Sample]]:
    if wanted == "auto":
        wanted = "test" if any(sample.split == "test" for sample in corpus.samples) else "all"
    samples = [sample for sample in corpus.samples if wanted in ("all", sample.split)]
    if not samples:
        raise DatasetError(f"{corpus.name}: has no part {wanted!r}; choose another --split, or all")
    return wanted, samples
