"""State of an unfinished run, kept in one safetensors file: no pickles, whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avsent.errors import DatasetError, OutputError

Weights = dict[str, Tensor]


@dataclass(slots=True)
class Progress:
    """Where a run stands after an epoch.

    ``epoch``: the number of epochs done; ``best_value``: of the best one so far on validation, in
    which more is better; ``history``: what was measured in each.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


def weights_of(module: nn.Module) -> Weights:
    """A copy of all parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def save_state(
    path: Path,
    modules: dict[str, nn.Module],
    best: Weights,
    optimisers: dict[str, torch.optim.Optimizer],
    progress: Progress,
) -> None:
    """Write all that is needed to go on.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {f"best/{name}": value for name, value in best.items()}
    for part, module in modules.items():
        tensors |= {f"{part}/{name}": value for name, value in weights_of(module).items()}
    for part, optimiser in optimisers.items():
        for row, moments in optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimiser/{part}/{row}/{name}"] = value.detach().cpu().clone()
    about = {
        "epoch": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_value": progress.best_value,
        "history": progress.history,
    }
    new = path.with_name(f".{path.name}.new")
    try:
        data = save(
            {name: value.contiguous() for name, value in tensors.items()},
            metadata={"progress": json.dumps(about)},
        )
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def load_state(
    path: Path,
    modules: dict[str, nn.Module],
    optimisers: dict[str, torch.optim.Optimizer],
) -> tuple[Progress, Weights] | None:
    """Put a saved state into ``modules`` and ``optimisers``; None where there is no file.

    Raises:
        DatasetError: the file is damaged or of another run.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for part, module in modules.items():
            module.load_state_dict(_under(tensors, f"{part}/"))
        for part, optimiser in optimisers.items():
            _load_optimiser(optimiser, _under(tensors, f"optimiser/{part}/"))
        progress = Progress(
            int(about["epoch"]),
            int(about["best_epoch"]),
            float(about["best_value"]),
            list(about["history"]),
        )
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DatasetError(
            f"{path}: damaged or of another run; give another -o, or add --fresh to start again"
        ) from error
    return progress, _under(tensors, "best/")


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: Weights) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        row, key = name.split("/")
        state.setdefault(int(row), {})[key] = value
    optimiser.load_state_dict(
        {"state": state, "param_groups": optimiser.state_dict()["param_groups"]}
    )


def _under(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
