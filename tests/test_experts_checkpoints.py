"""Checkpoints of experts: they come back the same, and impossible ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_experts import EXPERTS, random, some_faces, with_statistics
from torch import Tensor

from avsent.checkpoint_folders import CONFIG_FILE
from avsent.checkpoint_sizes import MAX_LAYER_SIZE, MAX_MEMBERS
from avsent.checkpoints import Calibration, load_checkpoint, save_checkpoint
from avsent.errors import CheckpointError
from avsent.features.config import FeatureConfig
from avsent.features.prosody import SIZE
from avsent.labels import POLARITY_LABELS
from avsent.networks.config import ContextConfig, TargetConfig
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.target import TargetModel, Utterances
from avsent.training.shipped.fusing import vote_streams

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=4)
MODEL = TargetConfig(experts=EXPERTS, votes=vote_streams(POLARITY_LABELS), context=CONTEXT)


@torch.inference_mode()
def everything(model: TargetModel) -> Tensor:
    looks = torch.cat([random(3, 3, 7).log_softmax(dim=-1), torch.full((3, 3, 7), torch.nan)], 1)
    extras = FaceExtras(some_faces(3, 1, seed=5)[:, 0], looks)
    face, _ = model.encode_face(some_faces(3, 6), torch.ones(3, 6, dtype=torch.bool), extras)
    prosody = random(3, EXPERTS.prosody, seed=8)
    prosody[1] = torch.nan
    audio, _ = model.encode_audio(random(3, 64, 40), torch.tensor([40, 30, 40]), prosody)
    there = torch.ones(1, 3, dtype=torch.bool)
    values = {"audio": audio[None], "face": face[None]}
    logits = model(Utterances(values, {"audio": there, "face": there}, torch.tensor([3]))).logits
    return torch.cat([logits.flatten(), model.look_at(random(2, 48, 48)).flatten()])


def save(folder: Path) -> TargetModel:
    torch.manual_seed(7)
    model = with_statistics(TargetModel(MODEL))
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name="experts", licence="MIT", **about)
    return model


def test_a_checkpoint_of_experts(tmp_path: Path) -> None:
    model = save(tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config.model == MODEL
    assert torch.equal(everything(loaded.model), everything(model))


WRONG: list[tuple[str, object, str]] = [
    *(("pixel_polarity", entries, "one entry per class") for entries in ([], [0] * 6, [0] * 8)),
    *(("pixel_polarity", [0] * 6 + [entry], "polarity that is none") for entry in (-2, 3)),
    ("pixels.classes", 8, "one entry per class"),
    *(
        (name, count, "a number of members is not within")
        for name in ("audio_members", "face_members", "pixels.members")
        for count in (0, -1, MAX_MEMBERS + 1, 10**12)
    ),
    *(
        (name, size, "a layer size is not within")
        for name in ("emotions", "still.attention", "movement.representation", "pixels.stem")
        for size in (0, -3, MAX_LAYER_SIZE + 1, 10**12)
    ),
    *(
        ("prosody", size, "network and features differ in prosody")
        for size in (0, -3, SIZE - 1, SIZE + 1, MAX_LAYER_SIZE, 10**12)
    ),
    ("audio.channels", [8, 8, 10**9], "a layer size is not within"),
    ("audio.channels", [8, 8], "the number of layers"),
    ("still.hidden", [8] * 17, "the number of layers"),
    ("movement.channels", [8] * 17, "the number of layers"),
    ("pixels.channels", [8] * 6, "the number of layers"),
    ("pixels.dropout", 1.0, "a dropout is not within"),
    ("audio.mel_bands", 32, "differ in mel bands"),
    ("still.points", 68, "differ in landmark points"),
    ("movement.points", 50, "differ in landmark points"),
    ("movement.colour", 1, "unknown key"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG)
def test_a_configuration_that_cannot_be(tmp_path: Path, name: str, value: object, why: str) -> None:
    save(tmp_path)
    path = tmp_path / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    part = config["model"]["experts"]
    *parents, last = name.split(".")
    for parent in parents:
        part = part[parent]
    assert (last in part) == (why != "unknown key")
    part[last] = value
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=why) as caught:
        load_checkpoint(tmp_path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: damaged, ")


def test_the_prior_of_a_vote_has_a_number_for_each_label(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["votes"][0]["log_prior"] = [0.0, -1.0]
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged, the prior of a vote"):
        load_checkpoint(tmp_path)
