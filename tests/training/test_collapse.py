"""A model that does not tell utterances apart is said to be one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import (
    CPU,
    feature_file,
    read,
    seed_data_of,
    small_corpus,
    small_settings,
)

from avsent.cli.app import main
from avsent.labels import POLARITY_LABELS
from avsent.model.checkpoint import Calibration
from avsent.model.networks.target import TargetModel
from avsent.training import collapse, trainer
from avsent.training.collapse import find_collapse, input_effects
from avsent.training.evaluation import Predictions
from avsent.training.run import train_seed
from avsent.training.settings import SplitSettings
from avsent.training.source import embeddings_of, videos_at
from avsent.training.splits import SeedData
from avsent.training.trainer import SeedContext

pytestmark = pytest.mark.usefixtures("one_thread")


def train(data: Path, out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The warnings of a run, but for those of few labels."""
    assert main(["train", str(data), "-o", str(out), *options]) == 0
    said = capsys.readouterr().err.splitlines()
    return [line for line in said if "warning" in line and "labelled" not in line]


def test_a_collapsed_model_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each step decays all weights to nearly 0."""
    data, out = feature_file(tmp_path / "data.npz", speakers=16), tmp_path / "out"
    options = ["--learning-rate", "0.0001", "--weight-decay", "10000", "--epochs", "3"]
    (warning,) = train(data, out, capsys, *options)
    (decided,) = read(out / "summary.json")["collapse"]["decisions"]
    part = "utterances of the validation part"
    text = f"the embeddings of audio and face are the same for all {part} and the model decides "
    text += f"for {decided} in all {part}"
    remedy = "try a smaller --learning-rate or a smaller --weight-decay"
    assert warning == f"avsent: warning: {text}; {remedy}"
    assert f"**Not to be used as it is**: {text}." in (out / "checkpoint/CARD.md").read_text()
    # The finished run says so again.
    assert train(data, out, capsys, *options) == [warning]
    assert train(data, out, capsys, *options, "--quiet") == []

    taught = [*options, "--source", "audio", "--target", "face", "--no-scale-beta"]
    taught += ["--seeds", "2", "--gamma", "0.1"]
    (warning,) = train(data, tmp_path / "taught", capsys, *taught)
    assert "the embeddings of face are the same for all utterances" in warning
    assert warning.endswith(f" (seed 0, 1); {remedy} or a smaller --gamma")


@pytest.mark.parametrize("rate", [10.0, 100.0])
def test_a_huge_learning_rate(rate: float) -> None:
    """It drives the GRUs to their limits: all utterances get the same decision."""
    settings = small_settings(learning_rate=rate, epochs=3)
    data = seed_data_of(small_corpus(raw=True, speakers=16), settings, words=False)
    trained = train_seed(data, settings, 0, SeedContext(CPU))
    assert trained.collapse["decision"] in ("negative", "positive")


def test_a_model_that_learns_gets_no_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = feature_file(tmp_path / "data.npz", speakers=16)
    options = ["--learning-rate", "0.02", "--epochs", "10", "--source-text", "--no-scale-beta"]
    assert train(data, tmp_path / "out", capsys, *options) == []
    assert "collapse" not in read(tmp_path / "out/summary.json")
    card = (tmp_path / "out/checkpoint/CARD.md").read_text()
    assert "Not to be used" not in card


def test_a_model_that_has_learnt_nothing_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = feature_file(tmp_path / "data.npz", speakers=16)
    options = ["--learning-rate", "0.000001", "--epochs", "1"]
    (warning,) = train(data, tmp_path / "out", capsys, *options)
    assert "embeddings" not in warning
    assert warning.endswith("; try more --epochs or another --learning-rate")


def judged(decided: list[int], truth: list[int]) -> Predictions:
    names = tuple(f"u{n}" for n in range(len(truth)))
    whose = ("",) * len(truth)
    return Predictions(names, names, whose, POLARITY_LABELS, np.array(truth), np.eye(3)[decided])


@pytest.mark.parametrize(
    ("decided", "truth", "decision"),
    [
        ([2] * 9, [0, 0, 0, 1, 1, 2, 2, 2, 2], "positive"),
        # Four missed utterances may be chance.
        ([2] * 9, [0, 0, 0, 1, 2, 2, 2, 2, 2], None),
        ([2] * 8 + [0], [0, 0, 0, 1, 1, 0, 0, 0, 2], None),
        ([2] * 9, [2] * 9, None),
    ],
)
def test_a_decision_that_is_the_same_everywhere(
    decided: list[int], truth: list[int], decision: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "predictions_of", lambda *a: judged(decided, truth))
    data, model = untrained()
    found = find_collapse(model, data, CPU, Calibration())
    expected = {"embeddings": [], "decision": decision, "part": "validation"}
    assert found == (expected if decision else {})


def untrained(*, held_out: bool = True) -> tuple[SeedData, TargetModel]:
    """A model and its data, in which voices and faces are missing now and then."""
    settings = small_settings()
    if not held_out:
        settings = dataclasses.replace(settings, split=SplitSettings(validation=0.0, test=0.0))
    data = seed_data_of(small_corpus(given=held_out, gaps=True, speakers=9), settings)
    return data, trainer.make_model(data.config(settings, settings.target), data.train, 0)


@pytest.mark.parametrize("held_out", [True, False])
def test_embeddings_that_do_not_depend_on_their_input(held_out: bool) -> None:
    """They still depend on the place in the video. Without a validation part the training part
    tells."""
    data, model = untrained(held_out=held_out)
    part = "validation" if held_out else "training"
    assert find_collapse(model, data, CPU, Calibration()).get("embeddings", []) == []
    with torch.no_grad():
        for name, weight in model.embedding("face").named_parameters():
            if name.startswith("first.weight_ih"):
                weight.zero_()
    videos = data.valid if held_out else data.train
    embedded = embeddings_of(model, videos, CPU)["face"][videos.present["face"]]
    assert embedded.std(dim=0).sum() > 0.01
    found = find_collapse(model, data, CPU, Calibration())
    assert (found["embeddings"], found["part"]) == (["face"], part)


def test_the_effect_of_the_input_by_hand() -> None:
    """Embeddings that are their input: half the squared distance of neighbours is a variance."""
    data, model = untrained()
    videos = data.valid
    model.embed = lambda utterances: utterances  # type: ignore[method-assign, assignment]
    for modality, effect in input_effects(model, videos, CPU).items():
        encoder = model.encoder(modality)
        rows = encoder(videos.vectors[modality])[videos.present[modality]].detach().double()
        moved = ((rows - rows.roll(1, dims=0)) ** 2).sum() / 2
        assert effect == pytest.approx(float((moved / (rows**2).sum()).sqrt()))


def test_one_utterance_cannot_tell() -> None:
    data, model = untrained()
    assert input_effects(model, videos_at(data.valid, [0]), CPU).keys() == {"audio", "face"}
    alone = dataclasses.replace(data.valid, present={**data.valid.present})
    alone.present["face"] = torch.zeros_like(alone.present["face"])
    alone.present["face"][0, 0] = True
    assert input_effects(model, alone, CPU).keys() == {"audio"}
