"""The model card: what a checkpoint was trained on, by whom it may be used, what it scored."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsent.labels import POLARITY_LABELS
from avsent.networks.target import TargetModel, parameter_count
from avsent.training.corpora import TEST_ACTORS, TRAIN_ACTORS, VALIDATION_ACTORS
from avsent.training.metrics import Scores

CARD_FILE = "CARD.md"


@dataclass(frozen=True, slots=True)
class Figures:
    """Scores of one seed's model on people it has never met.

    ``both``, ``face``, ``audio``: every held-out clip as a video of one utterance; ``videos``:
    made-up videos of 1 to 8 of these clips; ``stills``: FER2013 test faces.
    """

    majority: Scores
    both: Scores
    face: Scores
    audio: Scores
    videos: Scores
    stills: Scores
    stills_majority: Scores
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Report:
    """All seeds' figures, and those of the one that ships."""

    shipped_seed: int
    seeds: tuple[int, ...]
    figures: tuple[Figures, ...]
    validation: tuple[float, ...]
    shipped: Figures
    temperature: float
    model: TargetModel


_ROWS: tuple[tuple[str, Callable[[Figures], Scores]], ...] = (
    ("RAVDESS, majority class", lambda f: f.majority),
    ("RAVDESS, voice and face", lambda f: f.both),
    ("RAVDESS, face alone", lambda f: f.face),
    ("RAVDESS, voice alone", lambda f: f.audio),
    ("RAVDESS, videos of 1 to 8 utterances", lambda f: f.videos),
    ("FER2013 test faces, majority class", lambda f: f.stills_majority),
    ("FER2013 test faces", lambda f: f.stills),
)


def write_card(folder: Path, report: Report) -> None:
    """Write ``CARD.md`` into ``folder``, whole or not at all."""
    new = folder / f".{CARD_FILE}.new"
    new.write_text(card_text(report), encoding="utf-8")
    os.replace(new, folder / CARD_FILE)


def card_text(report: Report) -> str:
    """The card as Markdown."""
    shipped = report.shipped
    table = "\n".join(
        f"| {name} | {row(shipped).accuracy:.3f} | {row(shipped).balanced_accuracy:.3f} "
        f"| {_spread([row(f).balanced_accuracy for f in report.figures])} |"
        for name, row in _ROWS
    )
    validation = ", ".join(
        f"{value:.3f} (seed {seed})"
        for seed, value in zip(report.seeds, report.validation, strict=True)
    )
    errors = _spread([figures.calibration_error for figures in report.figures])
    return f"""# default: sentiment of an utterance from voice and face

HMTL target model, {parameter_count_text(report.model)} parameters, labels {_labels()}.
Rebuilt by `make train-default` (`avsent/training/default_model.py`).

## Data and licence
- **RAVDESS** (Livingstone and Russo 2018), CC BY-NC-SA 4.0: sound and dlib landmarks of 1,440
  acted speech clips, 24 actors. happy is positive; neutral and calm are neutral; sad, angry,
  fearful and disgust are negative; surprise has no polarity and taught the emotion head of the
  encoders only.
- **FER2013** (Goodfellow et al. 2013), for research: dlib landmarks of the faces that its
  detector finds; images that occur in more than one split were dropped from training.
- No text was used. The weights are shared under CC BY-NC-SA 4.0, **not for commercial use**.

## Who was held out
Actors {_range(TRAIN_ACTORS)} train, {_range(VALIDATION_ACTORS)} validate and
{_range(TEST_ACTORS)} test;
FER2013's own splits. Epochs, temperature and the seed that ships were chosen on validation only.

## Measured on people it has never met
Seed {report.shipped_seed} ships. Balanced accuracy is the mean recall over the three classes;
the last column is mean ± sd of the balanced accuracy over seeds {_list(report.seeds)}.

| test | accuracy | balanced | balanced, all seeds |
|---|---|---|---|
{table}

Validation (mean balanced accuracy of both, each alone, and stills): {validation}.
Expected calibration error on the held-out clips: {shipped.calibration_error:.3f} ({errors} over
the seeds), temperature {report.temperature:.2f} fitted on the validation actors.

### Confusion, held-out actors, voice and face
{_confusion(shipped.both)}

### Confusion, held-out actors, face alone
{_confusion(shipped.face)}

### Confusion, held-out actors, voice alone
{_confusion(shipped.audio)}

## What it is not
Trained on acted emotion by 16 North American English speakers and on stills. On spontaneous
speech, other languages, turned or covered faces and poor microphones expect less than the table
says; the usual error is a quiet negative read as neutral. It tells how an utterance comes across,
not what a person feels, and must not be used to judge people.
"""


def parameter_count_text(model: TargetModel) -> str:
    """Number of weights, encoders included, with thousands separated."""
    model.requires_grad_(True)
    return f"{parameter_count(model):,}"


def _confusion(result: Scores) -> str:
    """Counts as a Markdown table, truth in the rows."""
    head = "| truth \\ decision | " + " | ".join(POLARITY_LABELS) + " |"
    rows = [
        f"| {label} | " + " | ".join(str(count) for count in counts) + " |"
        for label, counts in zip(POLARITY_LABELS, result.confusion, strict=True)
    ]
    return "\n".join([head, "|---" * (len(POLARITY_LABELS) + 1) + "|", *rows])


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def _labels() -> str:
    return ", ".join(POLARITY_LABELS)


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in numbers)


def _range(actors: tuple[int, ...]) -> str:
    return f"{min(actors)}–{max(actors)}"
