"""The runs that are reported: who teaches whom, on which folds and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments import mean_sd, progress
from ravdess_runs import FOLDS, Laboratory, Trial
from ravdess_tuning import retargeted

Figures = dict[tuple[int, int], dict[str, Any]]
"""A result for each (seed, fold)."""

FACE_SEEDS = tuple(range(10))
TEXT_SEEDS = tuple(range(3))
FEW_ACTORS = (3, 6)
TARGETS = (("audio",), ("face",), ("audio", "face"))
TARGET_NAMES = {("audio",): "audio", ("face",): "face", ("audio", "face"): "both"}


def all_folds(laboratory: Laboratory, trial: Trial, seeds: tuple[int, ...]) -> Figures:
    """``trial`` on every fold with every seed."""
    found: Figures = {}
    for seed in seeds:
        for fold in range(len(FOLDS)):
            placed = dataclasses.replace(trial, fold=fold, seed=seed)
            found[seed, fold] = laboratory.measure(placed, test=True)
        progress(f"seed {seed}: {by_seed(found)[seed]:.4f}  {describe(trial)}")
    return found


def fair_test(laboratory: Laboratory, chosen: Mapping[str, Trial]) -> dict[str, Figures]:
    """Face teaches voice, by kind of transfer; seed by seed, so that a look at half of it is a
    fair one."""
    found: dict[str, Figures] = {name: {} for name in chosen}
    for seed in FACE_SEEDS:
        for name, trial in chosen.items():
            found[name] |= all_folds(laboratory, trial, (seed,))
    return found


def few_labels(
    laboratory: Laboratory, chosen: Mapping[str, Trial], seeds: tuple[int, ...]
) -> dict[tuple[int, str], Figures]:
    """The same where the target has the labels of few training actors and the source of all."""
    return {
        (actors, name): all_folds(laboratory, dataclasses.replace(trial, actors=actors), seeds)
        for actors in FEW_ACTORS
        for name, trial in chosen.items()
    }


def main_table(
    laboratory: Laboratory, chosen: Mapping[str, Trial], corpus: str
) -> dict[tuple[str, str], Figures]:
    """Voice, face and both, without and with texts."""
    found = {}
    for target in TARGETS:
        name = TARGET_NAMES[target]
        for kind, trial in chosen.items():
            placed = dataclasses.replace(retargeted(trial, target), corpus=corpus)
            found[name, kind] = all_folds(laboratory, placed, TEXT_SEEDS)
    return found


def by_seed(figures: Figures, metric: str = "accuracy") -> dict[int, float]:
    """Of each seed, over the clips of all folds."""
    weighed: dict[int, list[tuple[float, float]]] = {}
    for (seed, _), result in figures.items():
        part = result["test"]
        weighed.setdefault(seed, []).append((part[metric], part["count"]))
    return {
        seed: sum(value * count for value, count in parts) / sum(count for _, count in parts)
        for seed, parts in weighed.items()
    }


def by_fold(figures: Figures, metric: str = "accuracy") -> dict[int, float]:
    """Mean over the seeds of each fold."""
    values: dict[int, list[float]] = {}
    for (_, fold), result in figures.items():
        values.setdefault(fold, []).append(result["test"][metric])
    return {fold: mean_sd(found)[0] for fold, found in values.items()}


def describe(trial: Trial) -> str:
    """A trial in a few words."""
    given = trial.settings.transfer
    target = TARGET_NAMES[trial.settings.target]
    if not given.active:
        return f"{trial.corpus}, {target}, no transfer, labels of {trial.actors or 'all'} actors"
    return (
        f"{trial.corpus}, {given.source} → {target}, β {given.decoder:g}, γ {given.adversarial:g},"
        f" labels of {trial.actors or 'all'} actors"
    )
