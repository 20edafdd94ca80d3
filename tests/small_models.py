"""Folders of small models, and damage to them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from conftest import ROOT

from avsent.checkpoints import Calibration, save_checkpoint
from avsent.features.config import FeatureConfig
from avsent.model_index import CARD_FILE, INDEX_FILE
from avsent.networks import config as sizes
from avsent.networks.target import TargetModel

MODELS = ROOT / "models"
LABELS = ("angry", "happy")
CARD = """# small

## Data and licence
- **Corpus A** (somebody 2020), CC BY 4.0: sound.
- talks: 1,234 utterances, SHA-256 0123…, licence: own.
- No **text** was used.

## Measured
- **Nothing**: 5 utterances.
"""


def save(folder: Path, seed: int = 0, card: str | None = CARD) -> TargetModel:
    torch.manual_seed(seed)
    model = TargetModel(
        sizes.TargetConfig(
            labels=LABELS,
            modalities=("face",),
            face=sizes.FaceEncoderConfig(hidden=(8,), attention=4, representation=4),
            context=sizes.ContextConfig(first_gru=4, dense=4, second_gru=4, classifier=4),
        )
    )
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name=folder.name, licence="MIT", **about)
    if card is not None:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return model


def flip(path: Path, where: float = 0.9) -> None:
    data = bytearray(path.read_bytes())
    data[int(where * len(data))] ^= 1
    path.write_bytes(data)


def edit(models: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = models / INDEX_FILE
    index = json.loads(path.read_text(encoding="utf-8"))
    change(index)
    path.write_text(json.dumps(index), encoding="utf-8")
