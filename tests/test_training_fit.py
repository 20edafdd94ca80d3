"""The loop: it learns, keeps the best epoch, and goes on after a break as if there was none."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import material_of, small_corpus, small_settings
from torch import Tensor

from avsent.errors import DatasetError, UsageError
from avsent.networks.target import TargetModel
from avsent.training.fit import Course, fit
from avsent.training.material import Material
from avsent.training.seed import Trained, Where, make_teaching, train_seed
from avsent.training.selection import outputs_of, validation
from avsent.training.settings import TrainSettings
from avsent.training.source import make_model
from avsent.training.state import Progress

CPU = torch.device("cpu")
NAN = float("nan")
TAUGHT = {"source": "text", "adversarial": 0.5}


pytestmark = pytest.mark.usefixtures("one_thread")


def plain_course(told: TrainSettings, **options: Any) -> tuple[TargetModel, Course]:
    material = material_of(small_corpus(), told, words=False)
    model = make_model(material.config(told, told.target), material.train, 0)
    return model, Course(
        material.train, material.valid, told.optimiser, told.transfer, 0, CPU, **options
    )


def test_it_learns() -> None:
    model, course = plain_course(small_settings(epochs=25, learning_rate=0.02))
    progress = fit(model, course)
    losses = [line["classification"] for line in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    found, measured = validation(model, course.valid, "auto", CPU)
    assert measured["valid_balanced_accuracy"] == 1.0
    assert found == progress.best_value
    assert not model.training


def test_the_best_epoch_is_kept() -> None:
    """Steps far too large make the validation value jump up and down."""
    model, course = plain_course(small_settings(epochs=8, learning_rate=0.5, select="loss"))
    kept: dict[float, dict[str, Tensor]] = {}
    copied = dataclasses.replace(
        course,
        on_epoch=lambda line: kept.update({line["epoch"]: copy.deepcopy(model.state_dict())}),
    )
    progress = fit(model, copied)
    losses = [line["valid_loss"] for line in progress.history]
    best = int(np.argmin(losses))
    assert progress.best_epoch == best + 1 < 8
    assert progress.best_value == -losses[best]
    state = model.state_dict()
    assert all(torch.equal(value, state[n]) for n, value in kept[progress.best_epoch].items())
    assert any(not torch.equal(value, state[n]) for n, value in kept[8.0].items())


def test_each_epoch_draws_anew() -> None:
    """Where nothing is learnt, epochs differ in what dropout leaves."""
    model, course = plain_course(small_settings(learning_rate=0.0))
    losses = [line["classification"] for line in fit(model, course).history]
    assert len(set(losses)) == 3


def test_patience() -> None:
    model, course = plain_course(
        small_settings(epochs=40, patience=3, learning_rate=0.5, select="loss")
    )
    progress = fit(model, course)
    assert progress.epoch == progress.best_epoch + 3 < 40


def test_a_run_that_goes_astray() -> None:
    model, course = plain_course(small_settings(learning_rate=1e30))
    with pytest.raises(UsageError, match="try a smaller --learning-rate"):
        fit(model, course)


def test_outputs_do_not_depend_on_how_many_videos_go_together() -> None:
    told = small_settings()
    material = material_of(small_corpus(gaps=True), told, words=False)
    model = make_model(material.config(told, told.target), material.train, 0)
    one = outputs_of(model, material.train, CPU, videos_at_once=1)
    there = np.arange(one.shape[1]) < material.train.lengths.numpy()[:, None]
    assert not there.all()
    together = outputs_of(model, material.train, CPU)
    np.testing.assert_allclose(one[there], together[there], atol=1e-6)


@pytest.mark.parametrize("select", ["auto", "balanced_accuracy", "auc", "loss"])
def test_the_figure_that_chooses(select: str) -> None:
    model, course = plain_course(small_settings())
    value, measured = validation(model, course.valid, select, CPU)
    expected = {
        "auc": measured["valid_auc"],
        "loss": -measured["valid_loss"],
    }.get(select, measured["valid_balanced_accuracy"])
    assert value == pytest.approx(expected, abs=1e-5)


# --- breaking off and going on ------------------------------------------------------------------


class Killed(BaseException):
    """What ends a process at any moment."""


def trained(given: tuple[Material, TrainSettings], folder: Path, stop: int | None) -> Trained:
    """Source and target of seed 0; ``stop``: it is killed after so many epochs of both."""
    material, told = given
    epochs = itertools.count(1)

    def on_epoch(stage: str, measured: dict[str, float]) -> None:
        if stop == next(epochs):
            raise Killed

    folder.mkdir(exist_ok=True)
    where = Where(CPU, folder, on_epoch=on_epoch)
    teaching = None
    if told.transfer.source is not None:
        teaching = make_teaching(material, told, 0, where)
    return train_seed(material, told, 0, where, teaching)


def without_times(progress: Progress) -> list[dict[str, float]]:
    return [{n: v for n, v in line.items() if n != "seconds"} for line in progress.history]


def same_models(one: TargetModel, other: TargetModel) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vectors": (
        {"gaps": True},
        {"transfer": TAUGHT, "input_dropout": 0.2, "modality_dropout": 0.3, "weight_decay": 0.1},
    ),
    "raw": ({"raw": True, "speakers": 4}, {"transfer": TAUGHT, "encoder": "tfidf"}),
    "folds": (
        {},
        {"transfer": {**TAUGHT, "cross_fit": 2, "schedule": "decay"}, "rate_schedule": "onecycle"},
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_killed_after_any_epoch_ends_as_an_unbroken_one(
    kind: str, tmp_path: Path
) -> None:
    options, settings = KINDS[kind]
    told = small_settings(**settings)
    given = material_of(small_corpus(**options), told), told
    whole = trained(given, tmp_path / "whole", None)
    # Three epochs of the source, of each fold's, and of the target.
    for epoch in (3, 5, 9, 11) if kind == "folds" else range(1, 7):
        folder = tmp_path / str(epoch)
        with pytest.raises(Killed):
            trained(given, folder, epoch)
        found = trained(given, folder, None)
        assert same_models(found.model, whole.model), epoch
        assert without_times(found.progress) == without_times(whole.progress)
        assert found.progress.best_epoch == whole.progress.best_epoch
        assert found.calibration == whole.calibration
        assert found.teaching is not None
        assert whole.teaching is not None
        assert same_models(found.teaching.model, whole.teaching.model)


def test_a_run_that_was_killed_in_the_midst_of_an_epoch(tmp_path: Path) -> None:
    """Two epochs done, the third lost half-way: it is begun again."""
    told = small_settings(batch_videos=1)
    given = material_of(small_corpus(), told, words=False), told
    whole = trained(given, tmp_path / "whole", None)
    material = given[0]
    model = make_model(material.config(told, told.target), material.train, 0)
    steps = itertools.count(1)

    def kill(*arguments: object) -> None:
        if next(steps) == 2 * 4 + 2 * 2 + 3:  # four videos to learn from, two to judge, per epoch
            raise Killed

    model.register_forward_hook(kill)
    state = tmp_path / "target.safetensors"
    course = Course(material.train, material.valid, told.optimiser, told.transfer, 0, CPU)
    with pytest.raises(Killed):
        fit(model, dataclasses.replace(course, state=state))
    assert load_file(state)
    again = trained(given, tmp_path, None)
    assert same_models(again.model, whole.model)
    assert without_times(again.progress) == without_times(whole.progress)


def test_seeds_differ(tmp_path: Path) -> None:
    told = small_settings()
    material = material_of(small_corpus(), told, words=False)
    one, other = (train_seed(material, told, seed, Where(CPU)) for seed in (0, 1))
    assert not same_models(one.model, other.model)
    assert same_models(one.model, train_seed(material, told, 0, Where(CPU)).model)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-50])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _no_progress(path: Path) -> None:
    save_file(load_file(path), path)


def _of_another_network(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {n: t for n, t in load_file(path).items() if not n.endswith("weight_hh_l0")}
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("damage", [_cut, _empty, _no_progress, _of_another_network])
def test_a_damaged_state_is_told_in_one_line(damage: Any, tmp_path: Path) -> None:
    told = small_settings()
    given = material_of(small_corpus(), told, words=False), told
    with pytest.raises(Killed):
        trained(given, tmp_path, 2)
    damage(tmp_path / "target.safetensors")
    with pytest.raises(DatasetError, match=r"damaged or of another run; .*--fresh") as caught:
        trained(given, tmp_path, None)
    assert "\n" not in str(caught.value)
    assert "target.safetensors" in str(caught.value)
