"""Checkpoints that lie with the right digest: nothing is run, nothing large is allocated."""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import save

from avsent.checkpoint_folders import CONFIG_FILE
from avsent.checkpoints import (
    MAX_WEIGHTS_BYTES,
    WEIGHTS_FILE,
    Calibration,
    load_checkpoint,
    save_checkpoint,
)
from avsent.errors import CheckpointError
from avsent.features.config import FeatureConfig
from avsent.model_index import INDEX_FILE, read_index, write_index
from avsent.networks.config import ContextConfig, TargetConfig, VectorSizes
from avsent.networks.target import TargetModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "small")
    return tmp_path / "small"


def signed(folder: Path, **changes: Any) -> None:
    """The configuration, changed and with the digest of the weights."""
    config = json.loads((folder / CONFIG_FILE).read_text())
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    (folder / CONFIG_FILE).write_text(json.dumps({**config, "weights_sha256": digest, **changes}))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30])
def test_weights_that_no_network_learnt(value: float, folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    next(w for w in weights.values() if w.is_floating_point()).view(-1)[0] = value
    save_file(weights, folder / WEIGHTS_FILE)
    signed(folder)
    assert "does not fit" in refusal(folder)


def test_weights_of_another_type(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    small = {name: value.to(torch.float8_e4m3fn) for name, value in weights.items()}
    save_file(small, folder / WEIGHTS_FILE)
    signed(folder)
    assert "does not fit" in refusal(folder)


def test_a_file_of_a_terabyte_is_not_read(folder: Path) -> None:
    with (folder / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(2**40)  # takes no room on the disk
    assert "far too large" in refusal(folder)


def test_a_header_of_gigabytes(folder: Path) -> None:
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes((2**40).to_bytes(8, "little") + data[8:])
    signed(folder)
    assert "far too large" in refusal(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    os.mkfifo(folder / WEIGHTS_FILE)
    assert "not a file" in refusal(folder)


def test_a_network_that_would_fill_the_memory(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["model"]["context"].update(first_gru=4096, dense=4096, second_gru=4096, classifier=4096)
    signed(folder, model=config["model"])
    assert "does not fit" in refusal(folder)
    assert MAX_WEIGHTS_BYTES < 2**30


@pytest.mark.parametrize(
    "calibration", [{"temperature": 1e-300}, {"deviation": 1e300}, {"log_prior": [1e300, 0.0]}]
)
def test_a_calibration_out_of_range(calibration: dict[str, Any], folder: Path) -> None:
    signed(folder, calibration=calibration)
    assert "out of range" in refusal(folder)


def test_a_spectrogram_that_would_fill_the_memory(folder: Path) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["features"]["audio"].update(hop_samples=1)
    signed(folder, features=config["features"])
    assert "the hop is less than" in refusal(folder)


def test_an_index_with_a_size_of_thousands_of_digits(folder: Path) -> None:
    write_index(folder.parent)
    path = folder.parent / INDEX_FILE
    index = json.loads(path.read_text())
    index["models"][0]["bytes"] = 10**400
    path.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="a size is out of range"):
        read_index(folder.parent)


def vectors_model(folder: Path, mean: float, deviation: float) -> None:
    """A model of ready-made vectors, of which one dimension has this scale."""
    model = TargetModel(
        TargetConfig(
            modalities=("audio",),
            vectors=VectorSizes(audio=3),
            context=ContextConfig(first_gru=4, dense=4, second_gru=4, classifier=4),
        )
    )
    scale = model.scale("audio")
    scale.mean[1], scale.deviation[1] = mean, deviation
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name="vectors", licence="MIT", **about)


@pytest.mark.parametrize(("mean", "deviation"), [(7e7, 3e9), (0.0, math.inf)])
def test_the_scale_of_honest_data_may_be_large_or_unknown(
    mean: float, deviation: float, tmp_path: Path
) -> None:
    """A feature in hertz or bytes; a feature that nobody knew in training."""
    vectors_model(tmp_path, mean, deviation)
    assert load_checkpoint(tmp_path).model.scale("audio").deviation[1] == deviation


@pytest.mark.parametrize(
    ("mean", "deviation"),
    [(math.nan, 1.0), (math.inf, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, math.nan)],
)
def test_a_scale_that_no_data_have(mean: float, deviation: float, tmp_path: Path) -> None:
    vectors_model(tmp_path, mean, deviation)
    with pytest.raises(CheckpointError, match="restore the checkpoint"):
        load_checkpoint(tmp_path)
