"""The training loop: epochs over videos; the best epoch on validation is kept, each one saved."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avsent.errors import DatasetError, UsageError
from avsent.files import write_bytes
from avsent.model.networks.config import TargetConfig
from avsent.model.networks.encoders import VectorEncoder
from avsent.model.networks.target import TargetModel
from avsent.model.networks.transfer import Transfer
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.evaluation import validation
from avsent.training.losses import Teacher, Updates, balanced_weights, one_cycle
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings

Weights = dict[str, Tensor]
OnEpoch = Callable[[dict[str, float]], None]

MOST_PAIRS = 20.0  # per label: beyond, labels would count for nothing
_SEED_STRIDE = 100_003  # keeps the generators of different seeds and epochs apart
_LEARNERS = {"source": ("target", "tuning"), "target": ("tuning",)}
"""By stage, the stages that start from its model or learn from it."""


@dataclass(slots=True)
class Progress:
    """Epochs done, the best one and its validation value (more is better), figures of each one."""

    epoch: int = 0
    best_epoch: int = 0
    best_value: float = -float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FitSetup:
    """What :func:`fit` needs besides the model.

    ``teacher``: None for no transfer; ``state``: the file, if any, that a run resumes from;
    ``learners``: states of what learnt from this model, deleted if more epochs make it another one;
    ``pull``: to the weights that the model has, per training utterance with a label; None for a
    new model. Without utterances in ``valid`` the last epoch is kept.
    """

    train: Videos
    valid: Videos
    optimiser: OptimiserSettings
    transfer: TransferSettings
    seed: int
    device: torch.device
    teacher: Teacher | None = None
    pull: float | None = None
    state: Path | None = None
    learners: tuple[Path, ...] = ()
    on_epoch: OnEpoch = lambda measured: None


@dataclass(frozen=True, slots=True)
class SeedContext:
    """Surroundings of a seed: device, folder for its states (None: they are not kept), hooks.

    ``on_epoch`` takes the stage ("source", "source-fold1", "target") and the measured figures.
    """

    device: torch.device
    folder: Path | None = None
    say: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[str, dict[str, float]], None] = lambda stage, measured: None

    def apart(self, name: str, title: str) -> SeedContext:
        """Those of a part of the seed, in a folder ``name``, which stands before its stages too;
        ``title``: for its messages."""
        folder = None if self.folder is None else self.folder / name
        if folder is not None:
            folder.mkdir(exist_ok=True)
        return SeedContext(
            self.device,
            folder,
            lambda line: self.say(f"{title}: {line}"),
            lambda stage, measured: self.on_epoch(f"{name}-{stage}", measured),
        )

    def setup(
        self, stage: str, train: Videos, valid: Videos, settings: TrainSettings, seed: int
    ) -> FitSetup:
        """Training on ``train`` that keeps its state in the file of ``stage``."""
        learners = (self._state(name) for name in _LEARNERS.get(stage, ()))
        return FitSetup(
            train=train,
            valid=valid,
            optimiser=settings.optimiser,
            transfer=settings.transfer,
            seed=seed,
            device=self.device,
            state=self._state(stage),
            learners=tuple(path for path in learners if path is not None),
            on_epoch=lambda measured: self.on_epoch(stage, measured),
        )

    def _state(self, stage: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{stage}.safetensors"


def make_model(config: TargetConfig, train: Videos, seed: int) -> TargetModel:
    """A new model; its vector encoders are fitted to the scale of the training data."""
    torch.manual_seed(seed)
    model = TargetModel(config)
    for modality in config.modalities:
        encoder = model.encoder(modality)
        if isinstance(encoder, VectorEncoder):
            found = train.vectors[modality][train.present[modality]]
            if len(found):
                encoder.fit(found)
    return model


def fit(model: TargetModel, setup: FitSetup) -> Progress:
    """Train ``model`` in place; it ends with the weights of its best epoch on validation.

    An interrupted run resumes after its last complete epoch, a finished one if it gets more epochs.
    Each epoch has its own random generator, so the result equals that of an uninterrupted run,
    unless learning rate or transfer follow the number of epochs. Raises OutputError if the state
    cannot be written, DatasetError if it cannot be read, UsageError if the loss was never finite.
    """
    model.to(setup.device)
    transfer = make_transfer(model, setup)
    weights = None
    if setup.optimiser.balance and not model.config.real:
        classes = len(model.config.labels)
        weights = balanced_weights(setup.train.labels, classes).to(setup.device)
    pull = setup.pull
    if pull is not None:
        pull /= max(1, int(setup.train.known().sum()))
    beta = setup.transfer.decoder * unlabelled_pairs(setup, model.config.modalities)
    teaching = dataclasses.replace(setup.transfer, decoder=beta)
    updates = Updates(model, transfer, setup.optimiser, teaching, weights, pull)
    # What is frozen need not be kept: a resumed run gets the same.
    learning = nn.ModuleDict({n: m for n, m in model.named_children() if not _frozen(m)})
    modules: dict[str, nn.Module] = {"model": learning}
    if transfer is not None:
        modules["transfer"] = transfer
    if updates.encoder_heads.linear:
        modules["encoder_heads"] = updates.encoder_heads
    progress, best = Progress(), weights_of(learning)
    select, validated = setup.optimiser.select, setup.valid.usable(model.config.modalities).any()
    if setup.pull is not None and validated:
        # The weights that training starts from may be better than any that follow.
        progress.best_value, _ = validation(model, setup.valid, select, setup.device)
    if setup.state is not None and setup.state.is_file():
        progress, best = load_state(setup.state, modules, updates.optimisers)
        for measured in progress.history:
            setup.on_epoch(measured)
    while (
        progress.epoch < setup.optimiser.epochs
        and progress.epoch - progress.best_epoch < setup.optimiser.patience
    ):
        began = time.monotonic()
        losses = one_epoch(model, updates, setup, progress.epoch)
        progress.epoch += 1
        value, measured = float(progress.epoch), dict[str, float]()
        if validated:
            value, measured = validation(model, setup.valid, select, setup.device)
        elif not all(map(math.isfinite, losses.values())):
            value = math.nan
        if value > progress.best_value:
            progress.best_value, progress.best_epoch = value, progress.epoch
            best = weights_of(learning)
            for learner in setup.learners:
                learner.unlink(missing_ok=True)
        line = {"epoch": float(progress.epoch), **losses, **measured}
        progress.history.append({**line, "seconds": round(time.monotonic() - began, 3)})
        if setup.state is not None:
            save_state(setup.state, modules, best, updates.optimisers, progress)
        setup.on_epoch(progress.history[-1])
    if progress.best_value == -math.inf:
        raise UsageError(
            "the training diverged: no epoch gave a finite value; try a smaller --learning-rate"
        )
    learning.load_state_dict(best)
    model.eval()
    return progress


def _frozen(module: nn.Module) -> bool:
    """Whether it has weights, none of which is trained."""
    needed = [parameter.requires_grad for parameter in module.parameters()]
    return bool(needed) and not any(needed)


def unlabelled_pairs(setup: FitSetup, modalities: tuple[str, ...]) -> float:
    """The factor on β: training utterances that source and target have and that have no label,
    divided by the utterances with a label; at most ``MOST_PAIRS``. 1 if it is not ``scaled``.

    Ours: the losses are means over pairs and over labels, so each utterance without a label then
    weighs as much as a label does. Where all have labels the source only costs accuracy.
    """
    if setup.teacher is None or not setup.transfer.scaled:
        return 1.0
    there = torch.stack([setup.train.present[name] for name in modalities]).any(dim=0)
    known = setup.train.known()
    pairs = int((there & setup.teacher.present & ~known).sum())
    return min(MOST_PAIRS, pairs / max(1, int((there & known).sum())))


def make_transfer(model: TargetModel, setup: FitSetup) -> Transfer | None:
    """New decoders and discriminators for ``model``; None where HMTL does not teach it."""
    torch.manual_seed(setup.seed)
    if setup.teacher is None or setup.transfer.kind != "hmtl":
        return None
    source, target = setup.teacher.embeddings.shape[-1], model.config.embedding_size
    networks = setup.transfer.networks
    return Transfer(model.config.modalities, source, target, networks).to(setup.device)


def one_epoch(
    model: TargetModel, updates: Updates, setup: FitSetup, epoch: int
) -> dict[str, float]:
    """Train on all videos once; returns the mean losses by name."""
    settings, device = setup.optimiser, setup.device
    seed = setup.seed * _SEED_STRIDE + epoch
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model.train()
    if setup.pull is not None:
        for modality in model.config.modalities:
            # Dropout and batch statistics of few clips would spoil what has been trained.
            model.encoder(modality).eval()
    share = setup.transfer.share(epoch, settings.epochs)
    rows_of = list(batches(setup.train, settings.batch_videos, settings.batch_utterances, rng))
    sums: dict[str, float] = {}
    for number, rows in enumerate(rows_of):
        updates.set_rate(_rate(model, settings, (epoch + number / len(rows_of)) / settings.epochs))
        # bfloat16 on a GPU, where it needs no loss scaling; full precision on a CPU.
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            augmenting = rng if settings.augment else None
            utterances = encoded(model, setup.train, rows, device, augmenting)
            longest = next(iter(utterances.present.values())).shape[1]
            labels = setup.train.labels[rows, :longest].to(device)
            teacher = setup.teacher and setup.teacher.batch(rows, longest, device)
            losses = updates.step(utterances, labels, teacher, share)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + loss
    return {name: total / len(rows_of) for name, total in sums.items()}


def _rate(model: TargetModel, settings: OptimiserSettings, progress: float) -> float:
    """Learning rate of a step: constant for networks on ready-made vectors; encoders of raw audio
    and landmarks converge better with a cycle."""
    raw = any(not model.config.vectors.of(name) for name in model.config.modalities)
    cycle = has_cycle(settings, raw=raw)
    return one_cycle(progress, settings.learning_rate) if cycle else settings.learning_rate


def has_cycle(settings: OptimiserSettings, *, raw: bool) -> bool:
    """Whether the learning rate rises and falls over the epochs; ``raw``: a modality has no
    ready-made vectors."""
    return settings.rate_schedule == "onecycle" or (settings.rate_schedule == "auto" and raw)


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
    """Write everything that a resumed run needs. Raises OutputError."""
    tensors = {f"best/{name}": value for name, value in best.items()}
    for part, module in modules.items():
        tensors |= {f"{part}/{name}": value for name, value in weights_of(module).items()}
    for part, optimiser in optimisers.items():
        for row, moments in optimiser.state_dict()["state"].items():
            for name, value in moments.items():
                tensors[f"optimiser/{part}/{row}/{name}"] = value.detach().cpu().clone()
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    write_bytes(path, save(tensors, metadata={"progress": json.dumps(asdict(progress))}))


def load_state(
    path: Path, modules: dict[str, nn.Module], optimisers: dict[str, torch.optim.Optimizer]
) -> tuple[Progress, Weights]:
    """Load a saved state into ``modules`` and ``optimisers``; returns progress and best weights.
    Raises DatasetError if the file is damaged or of another run."""

    def under(prefix: str) -> Weights:
        return {
            name.removeprefix(prefix): value
            for name, value in tensors.items()
            if name.startswith(prefix)
        }

    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for part, module in modules.items():
            module.load_state_dict(under(f"{part}/"))
        for part, optimiser in optimisers.items():
            state: dict[int, dict[str, Any]] = {}
            for name, value in under(f"optimiser/{part}/").items():
                row, key = name.split("/")
                state.setdefault(int(row), {})[key] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": state, "param_groups": groups})
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
    return progress, under("best/")
