"""The five folds from spectrograms and landmarks: encoders and all else trained together.

Minutes a run instead of seconds, so one seed, and settings that were not tuned: those of the
shipped model's encoders.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import torch
from ravdess_face_report import NONE
from ravdess_plan import TARGET_NAMES, Figures, all_folds
from ravdess_runs import Laboratory, Trial

from avsent.networks.config import ContextConfig
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings

RAW_SEEDS = (0,)
FULL = "full HMTL"
RUNS = (
    (("audio",), NONE),
    (("face",), NONE),
    (("audio", "face"), NONE),
    (("audio", "face"), FULL),
)

_SETTINGS = TrainSettings(
    label="emotion",
    context=ContextConfig(),
    transfer=TransferSettings(decoder=0.0, adversarial=0.0),
    optimiser=OptimiserSettings(
        epochs=30,
        patience=30,
        batch_videos=32,
        learning_rate=2e-3,
        weight_decay=1e-2,
        label_smoothing=0.05,
        modality_dropout=0.2,
    ),
)
_TEXT_SOURCE = OptimiserSettings(epochs=15, batch_videos=64, label_smoothing=0.05)


def raw_trial(target: tuple[str, ...], kind: str) -> Trial:
    """Fold and seed are set by whoever runs it. Weights of transfer: avsent's defaults."""
    settings = dataclasses.replace(_SETTINGS, target=target)
    if kind == NONE:
        return Trial(settings, 0, 0, corpus="raw")
    weights = TransferSettings(source="text")
    return Trial(
        dataclasses.replace(settings, transfer=weights),
        0,
        0,
        corpus="raw",
        source=_TEXT_SOURCE,
        texts=True,
    )


def raw_table(laboratory: Laboratory) -> dict[tuple[str, str], Figures]:
    """By target and kind."""
    return {
        (TARGET_NAMES[target], kind): all_folds(laboratory, raw_trial(target, kind), RAW_SEEDS)
        for target, kind in RUNS
    }


def main() -> None:
    """Some of the runs alone, so that several processes can share them: ``ravdess_raw.py 0 2``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("runs", type=int, nargs="+", help="numbers of RUNS")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    laboratory = Laboratory(options.data, options.cache)
    for number in options.runs:
        all_folds(laboratory, raw_trial(*RUNS[number]), RAW_SEEDS)


if __name__ == "__main__":
    main()
