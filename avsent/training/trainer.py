"""The loop: epochs over videos, the best one on validation kept, every one saved."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avsent.errors import DatasetError, UsageError
from avsent.files import write_bytes
from avsent.model.networks.target import TargetModel
from avsent.model.networks.transfer import Transfer
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.losses import Taught, Updates, balanced_weights, one_cycle
from avsent.training.settings import OptimiserSettings, TransferSettings
from avsent.training.validation import validation

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
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    write_bytes(path, save(contiguous, metadata={"progress": json.dumps(about)}))


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


OnEpoch = Callable[[dict[str, float]], None]
_SEEDS_APART = 100_003
"""Epochs of one seed and of the next never draw from the same generator."""


class Teacher(Protocol):
    """A frozen source model, as the training part sees it."""

    @property
    def size(self) -> int:
        """D of its embeddings."""

    def for_epoch(self, epoch: int) -> Taught:
        """Embeddings [V, U, D] for the utterances of all training videos."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a model is to learn and how: everything :func:`fit` needs but the model.

    ``teacher``: None for learning without transfer; ``state``: the file that keeps the run, None
    for not keeping it.
    """

    train: Videos
    valid: Videos
    optimiser: OptimiserSettings
    transfer: TransferSettings
    seed: int
    device: torch.device
    teacher: Teacher | None = None
    state: Path | None = None
    on_epoch: OnEpoch = lambda measured: None


def fit(model: TargetModel, course: Course) -> Progress:
    """Train ``model`` in place and leave it as it was in its best epoch on validation.

    An unfinished run is taken up after its last whole epoch; each epoch draws from a generator
    of its own, so the result is that of a run that was never broken off.

    Raises:
        OutputError: the state cannot be written. DatasetError: a state cannot be read.
        UsageError: the loss was no number in any epoch.
    """
    model.to(course.device)
    transfer = make_transfer(model, course)
    weights = None
    if course.optimiser.balance and not model.config.real:
        classes = len(model.config.labels)
        weights = balanced_weights(course.train.labels, classes).to(course.device)
    updates = Updates(model, transfer, course.optimiser, course.transfer, weights)
    modules: dict[str, nn.Module] = {"model": model}
    if transfer is not None:
        modules["transfer"] = transfer
    if updates.encoder_heads.linear:
        modules["encoder_heads"] = updates.encoder_heads
    progress, best = Progress(), weights_of(model)
    if course.state is not None:
        found = load_state(course.state, modules, updates.optimisers)
        if found is not None:
            progress, best = found
            for measured in progress.history:
                course.on_epoch(measured)
    while not _finished(progress, course.optimiser):
        began = time.monotonic()
        epoch = progress.epoch
        losses = one_epoch(model, updates, course, epoch)
        value, measured = validation(model, course.valid, course.optimiser.select, course.device)
        progress.epoch = epoch + 1
        if value > progress.best_value:
            progress.best_value, progress.best_epoch = value, epoch + 1
            best = weights_of(model)
        line = {"epoch": float(epoch + 1), **losses, **measured}
        progress.history.append({**line, "seconds": round(time.monotonic() - began, 3)})
        if course.state is not None:
            save_state(course.state, modules, best, updates.optimisers, progress)
        course.on_epoch(progress.history[-1])
    if not progress.best_epoch:
        raise UsageError(
            "the training went astray: not one epoch gave a number; try a smaller --learning-rate"
        )
    model.load_state_dict(best)
    model.eval()
    return progress


def make_transfer(model: TargetModel, course: Course) -> Transfer | None:
    """Fresh decoders and discriminators for ``model``; None without a teacher."""
    torch.manual_seed(course.seed)
    if course.teacher is None:
        return None
    target = 2 * model.config.context.second_gru
    made = Transfer(model.config.modalities, course.teacher.size, target, course.transfer.networks)
    return made.to(course.device)


def _finished(progress: Progress, settings: OptimiserSettings) -> bool:
    if progress.epoch >= settings.epochs:
        return True
    return progress.epoch - progress.best_epoch >= settings.patience


def one_epoch(model: TargetModel, updates: Updates, course: Course, epoch: int) -> dict[str, float]:
    """One pass over the training videos; mean losses by name."""
    settings, device = course.optimiser, course.device
    seed = course.seed * _SEEDS_APART + epoch
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model.train()
    taught = course.teacher.for_epoch(epoch) if course.teacher is not None else None
    share = course.transfer.share(epoch, settings.epochs)
    rows_of = list(batches(course.train, settings.batch_videos, settings.batch_utterances, rng))
    sums: dict[str, float] = {}
    for number, rows in enumerate(rows_of):
        updates.set_rate(_rate(model, settings, (epoch + number / len(rows_of)) / settings.epochs))
        with mixed_precision(device):
            utterances = encoded(
                model, course.train, rows, device, rng if settings.augment else None
            )
            longest = next(iter(utterances.present.values())).shape[1]
            labels = course.train.labels[rows, :longest].to(device)
            losses = updates.step(utterances, labels, _part(taught, rows, longest, device), share)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss
    return {name: total / len(rows_of) for name, total in sums.items()}


def _part(
    taught: Taught | None, rows: list[int], longest: int, device: torch.device
) -> Taught | None:
    if taught is None:
        return None
    embeddings: Tensor = taught.embeddings[rows, :longest]
    return Taught(embeddings.to(device), taught.there[rows, :longest].to(device))


def _rate(model: TargetModel, settings: OptimiserSettings, progress: float) -> float:
    """Learning rate of a step. Networks on ready-made vectors learn at a constant one; encoders
    of raw sound and pictures settle better with a cycle."""
    raw = any(not model.config.vectors.of(name) for name in model.config.modalities)
    cycle = settings.rate_schedule == "onecycle" or (settings.rate_schedule == "auto" and raw)
    return one_cycle(progress, settings.learning_rate) if cycle else settings.learning_rate


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 where a GPU computes: it needs no scaling of the loss. On a CPU nothing."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()
