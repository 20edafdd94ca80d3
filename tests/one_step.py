"""A batch with gaps, and a target without dropout that takes one step on it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from tiny import AUDIO, FACE, SMALL
from torch import Tensor

from avsent.networks.config import TargetConfig, TransferConfig, VectorSizes
from avsent.networks.target import TargetModel, Utterances
from avsent.networks.transfer import Transfer
from avsent.training.settings import OptimiserSettings, TransferSettings
from avsent.training.updates import Taught, Updates

SIZE = 2 * SMALL.second_gru
NAN = math.nan
PRESENT = {
    "audio": torch.tensor([[True, True, True, False], [True, False, False, False]]),
    "face": torch.tensor([[True, False, True, True], [True, True, False, False]]),
}
LABELS = torch.tensor([[0.0, 1.0, NAN, 2.0], [1.0, 0.0, NAN, NAN]], dtype=torch.float64)
THERE = torch.tensor([[True, True, False, True], [True, True, False, False]])
UNCLIPPED = OptimiserSettings(learning_rate=0.01, clip=1e9)
WEIGHTS = torch.tensor([0.5, 1.0, 2.0])


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def utterances() -> Utterances:
    values = {"audio": random(2, 4, AUDIO, seed=1), "face": random(2, 4, FACE, seed=2)}
    return Utterances(values, dict(PRESENT), torch.tensor([4, 2]))


def taught() -> Taught:
    return Taught(random(2, 4, SIZE, seed=3).tanh(), THERE)


def made(
    alpha: float = 1.0,
    beta: float = 0.0,
    gamma: float = 0.0,
    *,
    optimiser: OptimiserSettings = UNCLIPPED,
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
    transfer = Transfer(model.config.modalities, SIZE, SIZE, TransferConfig(6, 5))
    weights = TransferSettings("text", alpha, beta, gamma)
    return Updates(model.train(), transfer, optimiser, weights, WEIGHTS)


def parameters(updates: Updates) -> dict[str, Tensor]:
    """All that an optimiser could move, by "part.name"."""
    assert updates.transfer is not None
    named = [*updates.model.named_parameters(), *updates.transfer.named_parameters()]
    return {name: value.detach().clone() for name, value in named}
