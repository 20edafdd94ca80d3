"""Training: augmentation, calibration, the loop, resuming, all kinds of labels and heads."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_models import some_faces
from small_runs import (
    POLARITIES,
    WEIGHTS,
    lines_of,
    make_teacher,
    random,
    run_small,
    seed_data_of,
    small_corpus,
    small_settings,
)
from torch import Tensor

from avsent.errors import DatasetError, UsageError
from avsent.labels import SENTIMENT_7
from avsent.model.checkpoint import load_checkpoint
from avsent.model.networks.config import SEGMENTS
from avsent.model.networks.encoders import FaceExtras
from avsent.model.networks.fusion import HEADS, RAW_ONLY
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training import augmentation
from avsent.training.augmentation import MIRROR_POINTS, augmented_landmarks, augmented_log_mel
from avsent.training.evaluation import fit_temperature, outputs_of, softmax, validation
from avsent.training.metrics import expected_calibration_error
from avsent.training.run import Trained, train_seed
from avsent.training.settings import TrainSettings
from avsent.training.source import pretrain_source
from avsent.training.splits import SeedData
from avsent.training.trainer import (
    FitSetup,
    Progress,
    SeedContext,
    fit,
    make_model,
    unlabelled_pairs,
)
from recipes.ravdess import NO_LABEL, TEST_ACTORS, RavdessClip, polarities_of, read_ravdess
from recipes.scores import majority, scores

RAVDESS = Path(__file__).resolve().parents[3] / "shared" / "data" / "ravdess"


pytestmark = pytest.mark.usefixtures("one_thread")


# --- augmentation --------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 500), st.integers(0, 10**6))
def test_augmented_sound_is_a_spectrogram(frames: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    power = rng.gamma(1.0, 1.0, (64, frames)).astype(np.float32)
    before = power.copy()
    found = augmented_log_mel(power, rng)
    np.testing.assert_array_equal(power, before)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    low, high = frames * (1 - augmentation.SPEED) - 1, frames * (1 + augmentation.SPEED) + 1
    assert found.shape[0] == 64
    assert max(16, min(low, 256)) <= found.shape[1] <= min(high, augmentation.MAX_FRAMES)
    assert not np.array_equal(found, augmented_log_mel(power, rng))


def test_mirror_is_an_involution_that_swaps_the_eyes() -> None:
    assert len(MIRROR_POINTS) == 51
    assert [MIRROR_POINTS[k] for k in MIRROR_POINTS] == list(range(51))
    assert {MIRROR_POINTS[k] for k in range(19, 25)} == set(range(25, 31))
    # By name, in the numbers of the 68 points: outer eye corners, mouth corners, brow ends, nose.
    for left, right in ((36, 45), (39, 42), (37, 44), (48, 54), (60, 64), (17, 26), (30, 30)):
        assert MIRROR_POINTS[left - 17] == right - 17


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_augmented_faces_stay_normalised(count: int, frames: int, seed: int) -> None:
    faces = some_faces(count, frames)
    found = augmented_landmarks(faces, torch.Generator().manual_seed(seed))
    assert found.shape == faces.shape
    assert torch.isfinite(found).all()
    assert not torch.equal(found, faces)
    for eye, x in ((augmentation.LEFT_EYE, -0.5), (augmentation.RIGHT_EYE, 0.5)):
        centres = found[..., eye, :].mean(-2).reshape(-1, 2)
        torch.testing.assert_close(
            centres, torch.tensor([[x, 0.0]] * len(centres)), atol=1e-4, rtol=0
        )
    torch.testing.assert_close(faces, some_faces(count, frames))


def test_half_of_the_faces_are_mirrored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YAW_RAD", "PITCH_RAD", "AXIS_SCALE", "NOISE_EYE_DISTANCES"):
        monkeypatch.setattr(augmentation, name, 0.0)
    faces = some_faces(200)
    found = augmented_landmarks(faces, torch.Generator().manual_seed(1))
    mirrored = faces[:, :, list(MIRROR_POINTS)] * torch.tensor([-1.0, 1.0])
    same = (found - faces).abs().amax((1, 2, 3)) < 1e-5
    turned = (found - mirrored).abs().amax((1, 2, 3)) < 1e-5
    assert (same ^ turned).all()
    assert 70 <= int(turned.sum()) <= 130


# --- metrics -------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    truth, decided = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 2])
    found = scores(truth, decided, 3)
    assert found.confusion == ((3, 1, 0), (0, 1, 1), (0, 0, 0))
    assert found.count == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.balanced_accuracy == pytest.approx((3 / 4 + 1 / 2) / 2)  # class 2 never occurs
    empty = scores(truth[:0], decided[:0], 3)
    assert (empty.accuracy, empty.balanced_accuracy, empty.count) == (0.0, 0.0, 0)


def test_majority_is_learned_from_the_training_part() -> None:
    found = majority(np.array([2, 2, 0]), np.array([0, 0, 1, 2]), 3)
    assert found.confusion == ((0, 0, 2), (0, 0, 1), (0, 0, 1))
    assert found.accuracy == 0.25
    assert found.balanced_accuracy == pytest.approx(1 / 3)


def test_calibration_error_by_hand() -> None:
    # Bin 0.6–0.7: two of 0.65, one right: gap 0.15. Bin 0.9–1: 0.95 and 1.0, both right: 0.025.
    probabilities = np.array([[0.65, 0.35], [0.35, 0.65], [0.95, 0.05], [0.0, 1.0]])
    found = expected_calibration_error(probabilities, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(0.5 * 0.15 + 0.5 * 0.025)
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
def test_the_temperature_is_found_again(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2.5, (6000, 3))
    chosen = softmax(logits / temperature).cumsum(axis=1) > rng.random((6000, 1))
    assert fit_temperature(logits, chosen.argmax(axis=1)) == pytest.approx(temperature, rel=0.1)


def test_softmax_by_hand() -> None:
    found = softmax(np.array([[0.0, math.log(3)], [1e3, 1e3]]))
    np.testing.assert_allclose(found, [[0.25, 0.75], [0.5, 0.5]])


# --- the shipped model on people it has never met ------------------------------------------------


@torch.inference_mode()
def representations(model: TargetModel, clip: RavdessClip) -> dict[str, torch.Tensor]:
    """Representations of a clip's voice and of its face [1, 1, R]."""
    found = {}
    if clip.mel_power is not None:
        prosody = None if clip.prosody is None else torch.from_numpy(clip.prosody)[None]
        found["audio"] = model.encoder("audio")([torch.from_numpy(clip.mel_power)], prosody)[0][
            None
        ]
    if clip.face is not None:
        assert clip.face.neutral is not None
        landmarks = torch.from_numpy(clip.face.landmarks)[None]
        mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
        extras = FaceExtras(neutral=torch.from_numpy(clip.face.neutral)[None])
        found["face"] = model.encoder("face")(landmarks, mask, extras)[0][None]
    return found


@torch.inference_mode()
def alone(
    model: TargetModel, encoded: dict[str, torch.Tensor], without: str | None
) -> torch.Tensor:
    """Logits [1, 3] of a single utterance."""
    values, present = {}, {}
    for name in ("audio", "face"):
        there = name in encoded and name != without
        present[name] = torch.tensor([[there]])
        size = model.config.representation_size(name)
        values[name] = encoded[name] if there else torch.zeros(1, 1, size)
    return model(Utterances(values, present, torch.tensor([1]))).logits[0]


def test_the_shipped_model_beats_the_majority_class(tmp_path: Path) -> None:
    if not (RAVDESS / "landmarks.npz").is_file():
        pytest.skip(f"{RAVDESS} is not here: RAVDESS may not be passed on with the code")
    with np.load(RAVDESS / "landmarks.npz") as data:
        held_out = np.flatnonzero(np.isin(data["actor"], TEST_ACTORS))
        chosen = np.sort(np.random.default_rng(0).permutation(held_out)[:60])
        starts = np.concatenate([[0], np.cumsum(data["n_frames"])])
        frames = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in chosen])
        part = {key: data[key][chosen] for key in ("clip_id", "n_frames", "emotion", "actor")}
        np.savez(tmp_path / "landmarks.npz", landmarks=data["landmarks"][frames], **part)
    os.symlink(RAVDESS / "audio", tmp_path / "audio")
    loaded = load_checkpoint()
    clips = read_ravdess(tmp_path, loaded.config.features)
    assert (len(clips), {clip.actor for clip in clips}) == (60, set(TEST_ACTORS))
    model, truth = loaded.model, polarities_of(clips)
    encoded = [representations(model, clip) for clip in clips]
    for without, least in ((None, 0.6), ("audio", 0.5), ("face", 0.5)):
        logits = torch.cat([alone(model, one, without) for one in encoded])
        known = truth != NO_LABEL
        found = scores(truth[known], logits.argmax(dim=1).numpy()[known], 3)
        assert found.balanced_accuracy > least, found


CPU = torch.device("cpu")
NAN = float("nan")
TEXT_SOURCE = {"source": "text", "adversarial": 0.5}


def plain_setup(settings: TrainSettings, **options: Any) -> tuple[TargetModel, FitSetup]:
    data = seed_data_of(small_corpus(), settings, words=False)
    model = make_model(data.config(settings, settings.target), data.train, 0)
    return model, FitSetup(
        data.train, data.valid, settings.optimiser, settings.transfer, 0, CPU, **options
    )


def test_unlabelled_pairs_weigh_as_much_as_labels() -> None:
    """By hand: utterances with source and target and no label, for each one with a label."""
    model, setup = plain_setup(small_settings(transfer={"source": "text", "scaled": True}))
    modalities, shape = model.config.modalities, setup.train.labels.shape
    assert unlabelled_pairs(setup, modalities) == 1.0  # no teacher
    everything = torch.stack([setup.train.present[name] for name in modalities]).all(dim=0)
    assert int(everything.sum()) == int(setup.train.known().sum()) == 10
    teacher = make_teacher(torch.zeros(*shape, model.config.embedding_size), everything)
    setup = dataclasses.replace(setup, teacher=teacher)
    assert unlabelled_pairs(setup, modalities) == 0.0
    labels = setup.train.labels.clone()
    labels[1:] = NAN  # the first video has 3
    few = dataclasses.replace(setup, train=dataclasses.replace(setup.train, labels=labels))
    assert unlabelled_pairs(few, modalities) == pytest.approx(7 / 3)
    some = everything.clone()
    some[1] = False  # a video without a transcript: it has 2 utterances
    texts = dataclasses.replace(few, teacher=dataclasses.replace(teacher, present=some))
    assert unlabelled_pairs(texts, modalities) == pytest.approx(5 / 3)
    none = dataclasses.replace(few.train, labels=torch.full_like(labels, NAN))
    assert unlabelled_pairs(dataclasses.replace(few, train=none), modalities) == 10.0
    plain = dataclasses.replace(few.transfer, scaled=False)
    assert unlabelled_pairs(dataclasses.replace(few, transfer=plain), modalities) == 1.0


@pytest.mark.parametrize("kind", ["hmtl", "distil"])
def test_training_uses_this_factor(kind: str) -> None:
    def trained_with(beta: float, *, scaled: bool) -> TargetModel:
        transfer = {"source": "text", "kind": kind, "decoder": beta, "scaled": scaled}
        model, setup = plain_setup(small_settings(transfer=transfer))
        shape = setup.train.labels.shape
        labels = setup.train.labels.clone()
        labels[1:] = NAN
        embeddings = random(*shape, model.config.embedding_size, seed=1).tanh()
        teacher = make_teacher(embeddings, setup.train.present["audio"], classes=2)
        train = dataclasses.replace(setup.train, labels=labels)
        fit(model, dataclasses.replace(setup, train=train, teacher=teacher))
        return model

    few = trained_with(0.3, scaled=True)
    assert same_models(few, trained_with(0.3 * (7 / 3), scaled=False))
    assert not same_models(few, trained_with(0.3, scaled=False))


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("kind", ["hmtl", "distil"])
def test_the_source_adds_nothing_to_labels(kind: str, scaled: bool) -> None:
    """Where each utterance has a label, the model equals that without transfer, to the bit, unless
    β is not scaled."""
    transfer = {"source": "text", "kind": kind, "scaled": scaled}
    settings = small_settings(transfer=transfer)
    data = seed_data_of(small_corpus(), settings)
    source = pretrain_source(data, settings, 0, SeedContext(CPU))
    with_source, alone = (
        train_seed(data, settings, 0, SeedContext(CPU), teaching).model
        for teaching in (source, None)
    )
    assert same_models(with_source, alone) is scaled


def test_training_lowers_the_loss() -> None:
    model, setup = plain_setup(small_settings(epochs=25, learning_rate=0.02))
    progress = fit(model, setup)
    losses = [line["classification"] for line in progress.history]
    assert losses[-1] < 0.5 * losses[0]
    found, measured = validation(model, setup.valid, "auto", CPU)
    assert measured["valid_balanced_accuracy"] == 1.0
    assert found == progress.best_value
    assert not model.training


def test_the_best_epoch_is_kept() -> None:
    """With far too large steps, the validation value jumps up and down."""
    model, setup = plain_setup(small_settings(epochs=8, learning_rate=0.5, select="loss"))
    kept: dict[float, dict[str, Tensor]] = {}
    copied = dataclasses.replace(
        setup,
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
    """With a learning rate of 0, epochs still differ by dropout."""
    model, setup = plain_setup(small_settings(learning_rate=0.0))
    losses = [line["classification"] for line in fit(model, setup).history]
    assert len(set(losses)) == 3


def test_patience_ends_the_training() -> None:
    model, setup = plain_setup(
        small_settings(epochs=40, patience=3, learning_rate=0.5, select="loss")
    )
    progress = fit(model, setup)
    assert progress.epoch == progress.best_epoch + 3 < 40


def test_a_training_that_diverges() -> None:
    model, setup = plain_setup(small_settings(learning_rate=1e30))
    with pytest.raises(UsageError, match="try a smaller --learning-rate"):
        fit(model, setup)


def test_outputs_do_not_depend_on_how_many_videos_go_together() -> None:
    settings = small_settings()
    data = seed_data_of(small_corpus(gaps=True), settings, words=False)
    model = make_model(data.config(settings, settings.target), data.train, 0)
    one = outputs_of(model, data.train, CPU, videos_at_once=1)
    there = np.arange(one.shape[1]) < data.train.lengths.numpy()[:, None]
    assert not there.all()
    ensemble = outputs_of(model, data.train, CPU)
    np.testing.assert_allclose(one[there], ensemble[there], atol=1e-6)


@pytest.mark.parametrize("select", ["auto", "balanced_accuracy", "auc", "loss"])
def test_the_figure_that_epochs_are_chosen_by(select: str) -> None:
    model, setup = plain_setup(small_settings())
    value, measured = validation(model, setup.valid, select, CPU)
    expected = {
        "auc": measured["valid_auc"],
        "loss": -measured["valid_loss"],
    }.get(select, measured["valid_balanced_accuracy"])
    assert value == pytest.approx(expected, abs=1e-5)


# --- breaking off and going on ------------------------------------------------------------------


class Killed(BaseException):
    """Ends the training at any moment."""


def trained(given: tuple[SeedData, TrainSettings], folder: Path, stop: int | None) -> Trained:
    """Source and target of seed 0; ``stop``: it is killed after so many epochs of both."""
    data, settings = given
    epochs = itertools.count(1)

    def on_epoch(stage: str, measured: dict[str, float]) -> None:
        if stop == next(epochs):
            raise Killed

    folder.mkdir(exist_ok=True)
    context = SeedContext(CPU, folder, on_epoch=on_epoch)
    source = None
    if settings.transfer.source is not None:
        source = pretrain_source(data, settings, 0, context)
    return train_seed(data, settings, 0, context, source)


def without_times(progress: Progress) -> list[dict[str, float]]:
    return [{n: v for n, v in line.items() if n != "seconds"} for line in progress.history]


def same_models(one: TargetModel, other: TargetModel) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vectors": (
        {"gaps": True},
        {
            "transfer": TEXT_SOURCE,
            "input_dropout": 0.2,
            "modality_dropout": 0.3,
            "weight_decay": 0.1,
        },
    ),
    "raw": ({"raw": True, "speakers": 4}, {"transfer": TEXT_SOURCE, "encoder": "tfidf"}),
    "folds": (
        {},
        {
            "transfer": {**TEXT_SOURCE, "cross_fit": 2, "schedule": "decay"},
            "rate_schedule": "onecycle",
        },
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_killed_after_any_epoch_ends_as_an_unbroken_one(
    kind: str, tmp_path: Path
) -> None:
    options, settings = KINDS[kind]
    settings = small_settings(**settings)
    given = seed_data_of(small_corpus(**options), settings), settings
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
        assert found.pretrained is not None
        assert whole.pretrained is not None
        assert same_models(found.pretrained.model, whole.pretrained.model)


def test_a_run_that_was_killed_within_an_epoch(tmp_path: Path) -> None:
    """Two epochs are done, the third is repeated."""
    settings = small_settings(batch_videos=1)
    given = seed_data_of(small_corpus(), settings, words=False), settings
    whole = trained(given, tmp_path / "whole", None)
    data = given[0]
    model = make_model(data.config(settings, settings.target), data.train, 0)
    steps = itertools.count(1)

    def kill(*arguments: object) -> None:
        if next(steps) == 2 * 4 + 2 * 2 + 3:  # four videos to learn from, two to judge, per epoch
            raise Killed

    model.register_forward_hook(kill)
    state = tmp_path / "target.safetensors"
    setup = FitSetup(data.train, data.valid, settings.optimiser, settings.transfer, 0, CPU)
    with pytest.raises(Killed):
        fit(model, dataclasses.replace(setup, state=state))
    assert load_file(state)
    again = trained(given, tmp_path, None)
    assert same_models(again.model, whole.model)
    assert without_times(again.progress) == without_times(whole.progress)


def test_seeds_differ(tmp_path: Path) -> None:
    settings = small_settings()
    data = seed_data_of(small_corpus(), settings, words=False)
    one, other = (train_seed(data, settings, seed, SeedContext(CPU)) for seed in (0, 1))
    assert not same_models(one.model, other.model)
    assert same_models(one.model, train_seed(data, settings, 0, SeedContext(CPU)).model)


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
def test_a_damaged_state_is_reported_in_one_line(damage: Any, tmp_path: Path) -> None:
    settings = small_settings()
    given = seed_data_of(small_corpus(), settings, words=False), settings
    with pytest.raises(Killed):
        trained(given, tmp_path, 2)
    damage(tmp_path / "target.safetensors")
    with pytest.raises(DatasetError, match=r"damaged or of another run; .*--fresh") as caught:
        trained(given, tmp_path, None)
    assert "\n" not in str(caught.value)
    assert "target.safetensors" in str(caught.value)


def test_numbers(tmp_path: Path) -> None:
    settings = small_settings(label="sentiment", epochs=25, learning_rate=0.02)
    summary = run_small(tmp_path / "out", small_corpus(speakers=16), settings)
    figure = summary["target"]["test"]["mae"]
    assert figure["mean"] < 0.5 * figure["majority"]  # that of the training part's mean
    checkpoint = load_checkpoint(tmp_path / "out/checkpoint")
    assert checkpoint.config.model.real
    assert checkpoint.config.model.labels == POLARITIES
    assert checkpoint.config.calibration.deviation >= 0.1
    text = (tmp_path / "out/seed-0/predictions.csv").read_text()
    header, *rows = [line.split(",") for line in text.splitlines()]
    assert header[3:] == ["truth", "value", *POLARITIES]
    for row in rows:
        assert sum(map(float, row[5:])) == pytest.approx(1, abs=2e-4)
        assert abs(float(row[3]) - float(row[4])) < 3


@pytest.mark.parametrize(
    ("classes", "column", "kind", "names"),
    [
        (("negative", "positive"), "sentiment", "7", SENTIMENT_7),
        (("negative", "positive"), "sentiment", "3", POLARITIES),
        (("negative", "positive"), "sentiment", "2", ("negative", "positive")),
        (("joy", "anger", "surprise"), "label", "auto", ("happy", "angry", "surprised")),
        (("joy", "anger", "surprise"), "label", "3", POLARITIES),
    ],
)
def test_classes(
    classes: tuple[str, ...], column: str, kind: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    corpus = small_corpus(classes=classes, speakers=12)
    summary = run_small(
        tmp_path / "out", corpus, small_settings(label=column, labels=kind, epochs=1)
    )
    assert load_checkpoint(tmp_path / "out/checkpoint").config.model.labels == names
    found = summary["chosen"]["test"]
    assert len(found["confusion"]) == len(names)
    known = [
        one for one in corpus.samples if one.split == "test" and "surp" not in one.labels[column]
    ]
    left = sum(one.split == "test" for one in corpus.samples) if kind == "auto" else len(known)
    assert found["count"] == left


# Of the heads, only these see more of raw data than one representation per utterance.
ON_RAW = [(name, True) for name in ("hmtl", *SEGMENTS)]
ON_VECTORS = [(name, False) for name in HEADS if name not in RAW_ONLY]


@pytest.mark.parametrize(("fusion", "raw"), [*ON_VECTORS, *ON_RAW])
def test_every_head_trains_and_comes_back(fusion: str, raw: bool, tmp_path: Path) -> None:
    corpus = small_corpus(classes=POLARITIES, speakers=4 if raw else 8, raw=raw, gaps=not raw)
    run_small(tmp_path / "out", corpus, small_settings(fusion=fusion, epochs=2))
    model = load_checkpoint(tmp_path / "out/checkpoint").model
    assert model.config.fusion.name == fusion
    lines = lines_of(tmp_path / "out/seed-0/metrics.jsonl")
    assert len(lines) == 2
    assert lines[1]["classification"] != lines[0]["classification"]
    kept = (tmp_path / "out/seed-0/target.safetensors").stat().st_size
    assert kept > (tmp_path / "out" / WEIGHTS).stat().st_size


@pytest.mark.parametrize("target", [("audio",), ("face",)])
def test_one_modality(target: tuple[str, ...], tmp_path: Path) -> None:
    run_small(tmp_path / "out", settings=small_settings(target=target, epochs=1))
    assert load_checkpoint(tmp_path / "out/checkpoint").config.model.modalities == target
