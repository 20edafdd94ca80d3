"""M3ER's ablation on the MOSI features: noise in vectors, with and without protection."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import Cache, progress
from mosi_runs import STRONG, Mosi, Setup
from noise_judge import CPU, PROTECTIONS, Guards, guards_of, hits, judged_by, replaced

from avsent.labels import MODALITIES
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos
from avsent.training.modality_check import GuardMaterial, drowned
from avsent.training.seed import train_seed
from avsent.training.settings import TrainSettings
from avsent.training.splits import Material, make_material

MODALITY_DROPOUT = 0.3
VERSION = 2
"""To be raised when the same settings begin to give other figures."""
Figures = dict[str, Any]


def run_mosi(data: Path, cache: Cache, seeds: range) -> list[Figures]:
    """Figures of each seed: by damage and protection."""
    mosi = Mosi(data, cache)
    found = []
    for seed in seeds:
        key = {"kind": "noise on MOSI", "version": VERSION, "data": mosi.sha256[:16], "seed": seed}
        found.append(cache.get_or_run(key, lambda seed=seed: _measured(mosi, seed)))  # type: ignore[misc]
        progress(f"MOSI, seed {seed}")
    return found


def _settings(dropout: bool) -> TrainSettings:
    told = Setup(transfer="none", regularisation=STRONG).settings()
    optimiser = dataclasses.replace(
        told.optimiser, modality_dropout=MODALITY_DROPOUT if dropout else 0.0
    )
    return dataclasses.replace(told, optimiser=optimiser, check=False)


def _measured(mosi: Mosi, seed: int) -> Figures:
    material = make_material(mosi.task, _settings(False), seed, words=False)
    systems = {dropout: _trained(material, dropout, seed) for dropout in (False, True)}
    rng = np.random.default_rng([seed, 1])
    tests = dict(_tests(material.test, seed, rng))
    balanced: dict[str, dict[str, float]] = {}
    dropped: dict[str, dict[str, dict[str, float]]] = {}
    for damage, videos in tests.items():
        for name, protection in PROTECTIONS.items():
            model, guards = systems[protection.dropout]
            value, shares = judged_by(model, guards, protection, videos)
            balanced.setdefault(damage, {})[name] = value
            dropped.setdefault(damage, {})[name] = shares
    balanced["noise, in training too"] = _dirty(material, tests["noise"], seed)
    return {"balanced": balanced, "dropped": dropped, "chosen": _chosen(systems)}


def _trained(material: Material, dropout: bool, seed: int) -> tuple[TargetModel, Guards]:
    settings = _settings(dropout)
    model = train_seed(material, settings, seed, _where()).model
    own = GuardMaterial(material.train, material.valid, drowned(material.valid, seed))
    return model, guards_of(model, own, seed)


def _tests(test: Videos, seed: int, rng: np.random.Generator) -> Mapping[str, Videos]:
    """The test part, damaged: its name → videos."""
    noisy = drowned(test, 1000 + seed)
    shape = tuple(test.labels.shape)
    hit, voice = hits(shape, rng), rng.random(shape) < 0.5
    none = dataclasses.replace(
        test, present={m: torch.zeros_like(there) for m, there in test.present.items()}
    )
    either = {"audio": hit & voice, "face": hit & ~voice}
    return {
        "clean": test,
        "noise": replaced(test, dict.fromkeys(MODALITIES, noisy), either),
        "voice missing": replaced(test, {"audio": none}, {"audio": hit}),
        "face missing": replaced(test, {"face": none}, {"face": hit}),
    }


def _dirty(material: Material, test: Videos, seed: int) -> dict[str, float]:
    """Noise in the training and validation parts as well: models that learn from it as it is, and
    that leave out what stands out (avsent train's default)."""
    rng = np.random.default_rng([seed, 2])
    parts = {}
    for name in ("train", "valid"):
        videos = getattr(material, name)
        shape = tuple(videos.labels.shape)
        hit, voice = hits(shape, rng), rng.random(shape) < 0.5
        either = {"audio": hit & voice, "face": hit & ~voice}
        noisy = drowned(videos, 2000 + seed)
        parts[name] = replaced(videos, dict.fromkeys(MODALITIES, noisy), either)
    dirty = dataclasses.replace(material, **parts)
    found = {}
    for name, check in (("unprotected", False), ("check (training and test)", True)):
        settings = dataclasses.replace(_settings(False), check=check)
        trained = train_seed(dirty, settings, seed, _where())
        guarded = Guards(trained.model.guard, trained.model.guard)  # type: ignore[arg-type]
        protection = PROTECTIONS["check, no proxy" if check else "unprotected"]
        found[name] = judged_by(trained.model, guarded, protection, test)[0]
    return found


def _chosen(systems: Mapping[bool, tuple[TargetModel, Guards]]) -> dict[str, Any]:
    """What validation chose, by whether the model knew modality dropout."""
    return {
        "with dropout" if dropout else "without": dataclasses.asdict(guards.full.config)
        for dropout, (_, guards) in systems.items()
    }


def _where() -> Any:
    from avsent.training.seed import Where

    return Where(CPU)
