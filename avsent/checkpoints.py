"""Checkpoints: a folder with ``config.json``, ``model.safetensors`` and a card.

``config.json`` alone rebuilds the network and says how its features are made. Loading runs no
code from the folder; sizes are checked before anything is allocated.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from avsent.checkpoint_folders import CONFIG_FILE, checkpoint_folder
from avsent.checkpoint_sizes import check_sizes
from avsent.errors import CheckpointError, OutputError
from avsent.features.config import FeatureConfig
from avsent.networks.config import TargetConfig
from avsent.networks.target import TargetModel
from avsent.networks.vector_encoder import VectorEncoder
from avsent.structure import build

FORMAT = "avsent-checkpoint/1"
WEIGHTS_FILE = "model.safetensors"
MAX_WEIGHTS_BYTES = 512 * 1024**2
"""Our largest has 7 MB. Also the bound of what a configuration may ask for."""
MAX_HEADER_BYTES = 4 * 1024**2
MAX_WEIGHT = 1e6
"""A larger number in the weights makes others infinite."""
MAX_CONFIG_BYTES = 1_000_000
"""The index of a folder of models may be as large, too."""

MAX_SCALE, MAX_LOG_PRIOR = 1e4, 100.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Calibration:
    """Probabilities are ``softmax(logits / temperature + log_prior)``.

    ``log_prior`` [C] shifts the classes: how common neutral is differs between corpora.
    ``deviation``: of a real-valued model's error, in units of the labels.
    """

    temperature: float = 1.0
    log_prior: tuple[float, ...] = ()
    deviation: float = 1.0


@dataclass(frozen=True, slots=True)
class CheckpointConfig:
    """Everything about a checkpoint but its weights."""

    format: str
    name: str
    weights_sha256: str
    licence: str = ""
    model: TargetConfig = field(default_factory=TargetConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network in evaluation mode, on the CPU, and its configuration."""

    config: CheckpointConfig
    model: TargetModel


def load_config(checkpoint: str | Path) -> CheckpointConfig:
    """A checkpoint's configuration alone; see :func:`load_checkpoint`."""
    return _read_config(checkpoint_folder(checkpoint))


def load_checkpoint(checkpoint: str | Path = "default") -> Checkpoint:
    """Load a shipped checkpoint by name, or any by the path of its folder.

    Raises:
        CheckpointError: it is unknown, damaged or made for another version.
    """
    folder = checkpoint_folder(checkpoint)
    config = _read_config(folder)
    weights = folder / WEIGHTS_FILE
    try:
        _check_file(weights)
        digest = _sha256(weights)
    except OSError as error:
        raise CheckpointError(
            f"{weights}: cannot be read ({error.strerror}); restore the checkpoint"
        ) from error
    if digest != config.weights_sha256:
        raise CheckpointError(
            f"{weights}: damaged, its SHA-256 is not the one in {CONFIG_FILE}; "
            "restore the checkpoint"
        )
    try:
        # On the meta device nothing is allocated before the file is known to fit.
        with torch.device("meta"):
            _check_shapes(weights, TargetModel(config.model))
        model = TargetModel(config.model)
        model.load_state_dict(load_file(weights))
        _check_values(model)
    except (SafetensorError, RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise CheckpointError(
            f"{weights}: does not fit {CONFIG_FILE}; restore the checkpoint"
        ) from error
    return Checkpoint(config, model.eval())


def save_checkpoint(
    folder: Path,
    model: TargetModel,
    *,
    name: str,
    licence: str,
    features: FeatureConfig,
    calibration: Calibration,
) -> CheckpointConfig:
    """Write ``model`` and its configuration into ``folder``; files appear whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    weights, settings = folder / f".{WEIGHTS_FILE}.new", folder / f".{CONFIG_FILE}.new"
    tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target in (folder / WEIGHTS_FILE, folder / CONFIG_FILE):
            if target.exists() and not target.is_file():
                raise OutputError(f"{target}: is in the way; give another folder")
        # Written by us and not by safetensors, which makes files that only their owner may read.
        weights.write_bytes(save(tensors))
        config = CheckpointConfig(
            format=FORMAT,
            name=name,
            weights_sha256=_sha256(weights),
            licence=licence,
            model=model.config,
            features=features,
            calibration=calibration,
        )
        text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
        settings.write_text(text, encoding="utf-8")
        os.replace(weights, folder / WEIGHTS_FILE)
        os.replace(settings, folder / CONFIG_FILE)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        for left in (weights, settings):
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)
    return config


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(
    path: Path, kind: type[T], check: Callable[[T], object], *, form: str, remedy: str
) -> T:
    """The dataclass ``kind`` from a JSON file whose key "format" is ``form``.

    ``check`` raises ValueError for values that do not go together; ``remedy`` ends the messages.

    Raises:
        CheckpointError: the file cannot be read, or is damaged or made for another version.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("it is far too large")
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("format") != form:
            raise CheckpointError(
                f"{path}: its format is {str(data.get('format'))[:40]!r}, this avsent reads "
                f"{form!r}; use a matching version"
            )
        found = build(kind, data, path.stem)
        check(found)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged, {error}; {remedy}") from error
    return found


def _read_config(folder: Path) -> CheckpointConfig:
    path, remedy = folder / CONFIG_FILE, "restore the checkpoint"
    return read_json(path, CheckpointConfig, _check_config, form=FORMAT, remedy=remedy)


def _check_config(config: CheckpointConfig) -> None:
    """Raise ValueError where no network could be built, or no probabilities made."""
    check_sizes(config.model, config.features)
    _check_calibration(config.calibration, len(config.model.labels))


def _check_calibration(calibration: Calibration, classes: int) -> None:
    """Raise ValueError where probabilities could not be made."""
    for name in ("temperature", "deviation"):
        if getattr(calibration, name) <= 0:
            raise ValueError(f"the {name} is not positive")
        if not 1 / MAX_SCALE <= getattr(calibration, name) <= MAX_SCALE:
            raise ValueError(f"the {name} is out of range")
    if max(map(abs, calibration.log_prior), default=0.0) > MAX_LOG_PRIOR:
        raise ValueError("log_prior is out of range")
    if len(calibration.log_prior) not in (0, classes):
        raise ValueError("log_prior does not have one number per label")


def _check_shapes(weights: Path, model: TargetModel) -> None:
    """Raise ValueError where names, shapes or types in the file are not the model's, or it asks
    for more memory than a model may."""
    expected = {key: [*value.shape] for key, value in model.state_dict().items()}
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if size > MAX_WEIGHTS_BYTES:
        raise ValueError("the network is far too large")
    with safe_open(weights, framework="pt") as file:
        slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
        found = {key: list(part.get_shape()) for key, part in slices.items()}
        types = {part.get_dtype() for part in slices.values()}
    if found != expected:
        raise ValueError("names or shapes of the weights differ")
    if not types <= _TYPES:
        raise ValueError("weights of another type")


_TYPES = {"F32", "F16", "BF16", "I64"}


def _check_file(weights: Path) -> None:
    """Raise CheckpointError for what is no file, or much larger than weights are: before all of it
    is read for its digest. Raises OSError."""
    size = weights.stat().st_size
    if not weights.is_file():
        raise CheckpointError(f"{weights}: cannot be read (not a file); restore the checkpoint")
    with weights.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if size > MAX_WEIGHTS_BYTES or header > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{weights}: far too large, or no weights at all; restore the checkpoint"
        )


def _check_values(model: TargetModel) -> None:
    """Raise ValueError where a weight is not a number that a network could have learnt, or a scale
    of the training data none that data could have."""
    scales = [module for module in model.modules() if isinstance(module, VectorEncoder)]
    # In the units of the user's features, however large; infinite where nothing was ever known.
    own = {id(value) for scale in scales for value in (scale.mean, scale.deviation)}
    for scale in scales:
        if not bool(scale.mean.isfinite().all()) or not bool((scale.deviation > 0).all()):
            raise ValueError("the scale of a modality is not one of data")
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if id(value) in own or not value.is_floating_point():
            continue
        if not bool((value.abs() <= MAX_WEIGHT).all()):
            raise ValueError(f"{name} is not finite, or far too large")
