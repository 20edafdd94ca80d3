"""How a model does with every protection there is, where modalities are damaged."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.labels import MODALITIES
from avsent.model.networks.modality_check import Guard
from avsent.model.networks.target import TargetModel
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.metrics import scores
from avsent.training.modality_check import HIT, GuardMaterial, fit_guard

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Protection:
    """Whether the model learnt with modality dropout; whether modalities are checked; whether
    proxies stand in (None: where validation found it better); ``plain``: by M3ER's ρ alone."""

    dropout: bool
    check: bool
    proxy: bool | None
    plain: bool = False


PROTECTIONS = {
    "unprotected": Protection(False, False, False),
    "M3ER's ρ alone": Protection(False, True, False, plain=True),
    "check, no proxy": Protection(False, True, False),
    "check and proxy (full)": Protection(False, True, True),
    "modality dropout only": Protection(True, False, False),
    "dropout and check": Protection(True, True, False),
    "dropout, check and proxy": Protection(True, True, True),
}


@dataclass(frozen=True, slots=True, eq=False)
class Guards:
    """Of one trained model: the guard that ships, and one that goes by ρ alone."""

    full: Guard
    plain: Guard


def guards_of(model: TargetModel, material: GuardMaterial, seed: int) -> Guards:
    """Both, with thresholds chosen on the validation part."""
    full = fit_guard(model, material, CPU, seed)
    plain = fit_guard(model, material, CPU, seed, reaches=(np.inf,), alarms=(0, 0.02, 0.1, 0.3))
    assert full is not None
    assert plain is not None
    return Guards(full, plain)


@torch.inference_mode()
def judged_by(
    model: TargetModel, guards: Guards, protection: Protection, videos: Videos
) -> tuple[float, dict[str, float]]:
    """Balanced accuracy on ``videos``; by modality the share of those present that the check takes
    for ineffectual."""
    model.put_on(guards.plain if protection.plain else guards.full)
    decided, truth = [], []
    dropped = dict.fromkeys(MODALITIES, 0)
    there = dict.fromkeys(MODALITIES, 0)
    for rows in batches(videos, 64, 4096, None):
        utterances = encoded(model, videos, rows, CPU)
        guarded = model.guarded(utterances, check=protection.check, proxy=protection.proxy)
        logits = model(guarded.utterances).logits
        labels = videos.labels[rows, : logits.shape[1]]
        known = ~labels.isnan()
        decided.append(logits[known].argmax(dim=-1).numpy())
        truth.append(labels[known].numpy().astype(np.int64))
        if protection.check and guarded.checked is not None:
            for modality in MODALITIES:
                present = utterances.present[modality]
                there[modality] += int(present.sum())
                dropped[modality] += int((present & ~guarded.checked.effective[modality]).sum())
    found = scores(np.concatenate(truth), np.concatenate(decided), len(model.config.labels))
    shares = {m: dropped[m] / max(there[m], 1) for m in MODALITIES}
    return found.balanced_accuracy, shares


def hits(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which utterances are damaged."""
    return np.asarray(rng.random(shape) < HIT)


def replaced(
    videos: Videos, damaged: Mapping[str, Videos], which: Mapping[str, NDArray[np.bool_]]
) -> Videos:
    """``videos`` (of ready-made vectors) with the vectors of ``damaged`` by modality, and what is
    left of them present, where ``which`` [V, U] says so."""
    vectors, present = dict(videos.vectors), dict(videos.present)
    for modality, other in damaged.items():
        chosen = torch.from_numpy(which[modality])
        vectors[modality] = torch.where(
            chosen[..., None], other.vectors[modality], vectors[modality]
        )
        present[modality] = torch.where(chosen, other.present[modality], present[modality])
    return dataclasses.replace(videos, vectors=vectors, present=present)
