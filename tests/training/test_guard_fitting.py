"""Fitting the guard on the validation part, noise and outliers in training data."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from small_runs import seed_data_of, small_corpus, small_settings

from avsent.labels import MODALITIES
from avsent.training.data.corpus import Corpus
from avsent.training.dataset import encoded
from avsent.training.evaluation import outputs_of
from avsent.training.modality_check import (
    SNR,
    GuardData,
    damaged,
    fit_guard,
    noisy_landmarks,
    outliers,
    with_noise,
    without_outliers,
)
from avsent.training.run import Trained, train_seed
from avsent.training.settings import TrainSettings
from avsent.training.splits import SeedData
from avsent.training.trainer import SeedContext
from recipes.posteriors import noisy_pictures
from recipes.voices import noisy_sound

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


def guard_settings(**options: object) -> TrainSettings:
    made = small_settings(epochs=12, learning_rate=0.02)
    return dataclasses.replace(made, transfer=type(made.transfer)(), **options)  # type: ignore[arg-type]


@cache
def corpus() -> Corpus:
    return small_corpus(speakers=48, utterances=4)


@cache
def trained() -> tuple[SeedData, Trained]:
    data = seed_data_of(corpus(), guard_settings(), words=False)
    return data, train_seed(data, guard_settings(), 0, SeedContext(CPU))


def test_a_fitted_guard_finds_noise_and_accepts_clean_utterances() -> None:
    data, found = trained()
    guard = found.model.guard
    assert guard is not None
    assert guard.config == found.model.config.guard
    clean = encoded(found.model, data.test, range(len(data.test.samples)), CPU)
    noisy = with_noise(data.test, 5)
    rows = range(len(data.test.samples))
    hit = encoded(found.model, noisy, rows, CPU)
    for modality in MODALITIES:
        other = {**clean.values, modality: hit.values[modality]}
        with torch.inference_mode():
            checked = guard.check(other, clean.present)
            sound = guard.check(clean.values, clean.present)
        there = clean.present[modality]
        assert (~checked.effective[modality])[there].float().mean() > 0.9
        assert (~sound.effective[modality])[there].float().mean() < 0.1


def test_evaluation_uses_the_guard() -> None:
    """``avsent evaluate`` and the figures of a run are those of the guarded model."""
    data, found = trained()
    model = found.model
    noisy = with_noise(data.test, 5)
    face_only = dataclasses.replace(
        noisy, vectors={**data.test.vectors, "audio": noisy.vectors["audio"]}
    )
    guarded = outputs_of(model, face_only, CPU)
    guard = model.guard
    model.set_modality_check(None)
    unchecked = outputs_of(model, face_only, CPU)
    without = outputs_of(
        model,
        dataclasses.replace(
            face_only,
            present={
                **face_only.present,
                "audio": torch.zeros_like(face_only.present["audio"]),
            },
        ),
        CPU,
    )
    model.set_modality_check(guard)
    known = data.test.known().numpy()
    assert guard is not None
    assert np.abs(guarded - unchecked)[known].max() > 1e-3
    if not guard.config.stand_in:
        same = np.isclose(guarded, without, atol=1e-5).all(axis=-1)[known]
        assert same.mean() > 0.8


def test_a_model_of_one_modality_has_no_guard() -> None:
    settings = guard_settings(target=("audio",))
    data = seed_data_of(corpus(), settings, words=False)
    assert train_seed(data, settings, 0, SeedContext(CPU)).model.guard is None


def test_no_check_no_guard() -> None:
    data, _ = trained()
    assert train_seed(data, guard_settings(check=False), 0, SeedContext(CPU)).model.guard is None


def test_too_few_pairs_give_no_guard() -> None:
    data, found = trained()
    few = GuardData(
        dataclasses.replace(
            data.train,
            present={m: torch.zeros_like(p) for m, p in data.train.present.items()},
        ),
        data.valid,
        with_noise(data.valid, 0),
    )
    model = found.model
    guard = model.guard
    assert fit_guard(model, few, CPU, 0) is None
    model.set_modality_check(guard)


def test_damage_hits_one_modality_of_three_quarters() -> None:
    data, found = trained()
    rows = range(len(data.train.samples))
    clean = encoded(found.model, data.train, rows, CPU)
    noisy = encoded(found.model, with_noise(data.train, 1), rows, CPU)
    mixed = damaged(clean, noisy, np.random.default_rng(0))
    changed = {
        m: ((mixed.values[m] != clean.values[m]).any(dim=-1) & clean.present[m]) for m in MODALITIES
    }
    both = clean.present["audio"] & clean.present["face"]
    hit = (changed["audio"] | changed["face"])[both].float().mean().item()
    assert 0.65 < hit < 0.8  # a few are exchanged with themselves
    assert not bool((changed["audio"] & changed["face"]).any())


def test_noise_has_the_wanted_power() -> None:
    rng = np.random.default_rng(0)
    sound = np.sin(np.arange(16_000) / 7).astype(np.float32)
    noise = noisy_sound(sound, SNR, rng) - sound
    assert np.mean(noise**2) / np.mean(sound**2) == pytest.approx(1 / SNR, rel=0.05)
    picture = rng.integers(100, 140, (2, 48, 48)).astype(np.uint8)
    assert noisy_pictures(picture, SNR, rng).std() > 3 * picture.std()
    face = rng.normal(0, 1, (1, 51, 2)).astype(np.float32)
    moving = (face + 0.05 * rng.normal(size=(20, 51, 2))).astype(np.float32)
    assert noisy_landmarks(moving, SNR, rng).std(axis=0).mean() > 3 * moving.std(axis=0).mean()


def test_noise_on_vectors_and_raw_samples() -> None:
    data, _ = trained()
    noisy = with_noise(data.train, 0)
    there = data.train.present["audio"]
    before, after = (v.vectors["audio"][there] for v in (data.train, noisy))
    ratio = (after - before).square().mean(dim=0) / before.var(dim=0)
    assert ratio.mean().item() == pytest.approx(1 / SNR, rel=0.1)
    raw = seed_data_of(small_corpus(raw=True), guard_settings(), words=False).train
    noisy = with_noise(raw, 0)
    for old, new in zip(raw.samples[0], noisy.samples[0], strict=True):
        assert old.audio is not None
        assert new.audio is not None
        assert new.audio.mean() == pytest.approx(old.audio.mean() * (1 + 1 / SNR), rel=0.1)
        assert new.prosody is None
        assert new.face is not None
        assert not np.allclose(new.face, old.face)


def test_outliers_are_found_though_they_are_more_than_a_third() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(500, 20)).astype(np.float32) * rng.uniform(0.1, 9, 20)
    hit = rng.random(500) < 0.375
    vectors[hit] += 10 * vectors.std(axis=0) * rng.normal(size=(int(hit.sum()), 20))
    found = outliers(torch.from_numpy(vectors.astype(np.float32))).numpy()
    assert found[hit].mean() > 0.99
    assert found[~hit].mean() < 0.01


def test_clean_data_has_no_outliers() -> None:
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(3, size=(800, 30)).astype(np.float32)
    heavy[::5, 4] = np.nan
    assert outliers(torch.from_numpy(heavy)).float().mean() < 0.02
    assert not outliers(torch.zeros(100, 3)).any()
    assert not outliers(torch.full((5, 3), 1e9)).any()


def test_training_logs_the_number_of_outliers() -> None:
    data, _ = trained()
    vectors = dict(data.train.vectors)
    noisy = vectors["face"].clone()
    noisy[0] *= 1000
    dirty = dataclasses.replace(data.train, vectors={**vectors, "face": noisy})
    cleaned, found = without_outliers(dirty, MODALITIES)
    count = int(dirty.present["face"][0].sum())
    assert found == {"audio": 0, "face": count}
    assert not cleaned.present["face"][0].any()
    said: list[str] = []
    train_seed(
        dataclasses.replace(data, train=dirty),
        guard_settings(),
        0,
        SeedContext(CPU, say=said.append),
    )
    assert any(f"{count} of " in line and "without their face" in line for line in said)


def test_noise_beside_an_unknown_value() -> None:
    """An unknown value of one utterance must not keep noise from the others."""
    data, _ = trained()
    vectors = data.train.vectors["audio"].clone()
    vectors[0, 0, 2] = torch.nan
    some = dataclasses.replace(data.train, vectors={**data.train.vectors, "audio": vectors})
    noisy = with_noise(some, 0).vectors["audio"]
    assert noisy.isnan().sum() == 1
    there = some.present["audio"]
    assert (noisy[there][1:, 2] - vectors[there][1:, 2]).abs().mean() > 3
