"""Several seeds' figures as mean and spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

MODELS = ("target", "no-transfer", "source")
"""Entries of a seed's ``evaluation.json`` that hold figures."""


def summarised(evaluations: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample deviation over seeds of every figure, by model and part; the best seed.

    The best one is chosen on validation alone. The deviation is None for a single seed.
    """
    seeds = sorted(evaluations)
    values = {seed: float(evaluations[seed]["validation_value"]) for seed in seeds}
    summary: dict[str, Any] = {
        "seeds": seeds,
        "best_seed": max(seeds, key=lambda seed: (values[seed], -seed)),
        "best_epochs": [int(evaluations[seed]["best_epoch"]) for seed in seeds],
        "parts": evaluations[seeds[0]]["parts"],
    }
    for model in MODELS:
        if not all(model in evaluations[seed] for seed in seeds):
            continue
        summary[model] = {
            part: _over_seeds([evaluations[seed][model][part] for seed in seeds])
            for part in ("valid", "test")
            if all(part in evaluations[seed][model] for seed in seeds)
        }
    best = evaluations[summary["best_seed"]]
    summary["chosen"] = best["target"]
    return summary


def _over_seeds(found: list[Mapping[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in found[0]["metrics"]:
        values = [one["metrics"][name] for one in found]
        if any(value is None for value in values):
            figures[name] = None
            continue
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        baseline = [one["baseline"].get(name) for one in found]
        known = [value for value in baseline if value is not None]
        figures[name] = {
            "mean": float(np.mean(values)),
            "sd": spread,
            "values": values,
            "majority": float(np.mean(known)) if known else None,
        }
    return figures
