"""Voices: reading them, changed recordings, their features, and training of the voice experts."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_models import EXPERTS, buzz, made_voices
from torch import nn

from avsent.errors import DatasetError, OutputError
from avsent.extraction.features.voice import prosody
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.labels import EMOTIONS
from avsent.model.networks.config import WhisperConfig
from avsent.model.networks.whisper import WhisperEncoder
from recipes import voices
from recipes.voice_members import (
    VoiceTraining,
    _fit_linear,
    train_prosody_member,
    train_voice_member,
    usable_rows,
)
from recipes.voices import (
    BACKGROUND,
    NOISE_SNR_DB,
    SPEED,
    Voice,
    VoiceFeatures,
    another_microphone,
    another_recording,
    cached_features,
    load_voices,
    voice_features,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = dataclasses.replace(EXPERTS.whisper, mel_bands=80)
QUICK = VoiceTraining(
    epochs=6, batch=12, learning_rate=3e-3, decay=1e-3, alignment=0.01, emotion_decay=1e-3
)


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[key]) for key, tensor in one.state_dict().items())


# --- reading -------------------------------------------------------------------------------------


def test_voices_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    (folder / "a").mkdir(parents=True)
    rows = [
        ("a/0.flac", "nEMO", "7", "fear", "negative"),
        ("a/1.flac", "BAVED", "7", "level 1", "neutral"),
        ("a/2.flac", "URDU", "x", "background", ""),
    ]
    for number, (name, *_) in enumerate(rows):
        soundfile.write(folder / name, buzz(100 + 50 * number, 0.5), SAMPLE_RATE_HZ)
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "corpus", "speaker", "emotion", "polarity"])
        writer.writerows(rows)
    found = load_voices(tmp_path)
    assert [one.name for one in found] == [row[0] for row in rows]
    assert [one.corpus for one in found] == ["nEMO", "BAVED", BACKGROUND]
    assert [one.speaker for one in found] == ["nEMO 7", "BAVED 7", "URDU x"]
    assert [one.emotion for one in found] == [EMOTIONS.index("fearful"), -1, -1]
    assert [one.polarity for one in found] == [0, 1, -1]
    for one in found:
        assert one.sound.dtype == np.float32
        assert abs(len(one.sound) - SAMPLE_RATE_HZ / 2) < 200
        assert one.sound.std() > 0.05
    (folder / "a" / "1.flac").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match=r"1\.flac: .*; restore the file"):
        load_voices(tmp_path)
    with pytest.raises(DatasetError, match=r"no labels\.csv; give the folder of the corpora"):
        load_voices(tmp_path / "nowhere")


# --- features ------------------------------------------------------------------------------------


def some_voices() -> list[Voice]:
    silence = np.zeros(8000, dtype=np.float32)
    sounds = buzz(120, 0.6), silence, buzz(200, 0.9), buzz(70, 0.5)
    corpora = "A", "A", "B", BACKGROUND
    return [
        Voice(f"{row}", corpus, "x", row, 1, sound)
        for row, (corpus, sound) in enumerate(zip(corpora, sounds, strict=True))
    ]


@pytest.fixture
def _small_whisper(monkeypatch: pytest.MonkeyPatch) -> None:
    def encoder(config: WhisperConfig) -> WhisperEncoder:
        torch.manual_seed(0)
        return WhisperEncoder(config).eval()

    monkeypatch.setattr(voices, "whisper_encoder", encoder)


@pytest.mark.usefixtures("_small_whisper")
def test_features_of_voices_and_of_changed_copies() -> None:
    found = voice_features(some_voices(), SMALL)
    assert found.counts.tolist() == [8, 0, 12, 7]  # steps of 80 ms
    assert found.steps.shape == (27, 2, 8)
    assert found.steps.dtype == np.float16
    assert np.isnan(found.prosody).all(axis=1).tolist() == [False, True, False, False]
    steps, mask, spoken = found.of([2, 1])
    assert steps.shape == (2, 12, 2, 8)
    assert mask.sum(dim=1).tolist() == [12, 0]
    np.testing.assert_array_equal(steps[0].numpy(), found.steps[8:20].astype(np.float32))
    np.testing.assert_array_equal(spoken[0].numpy(), found.prosody[2])
    copies = voice_features(some_voices(), SMALL, version=1)
    assert copies.counts[1] == 0
    assert np.abs(copies.prosody[0] - found.prosody[0]).max() > 0.01
    # A copy depends on no other clip, but for the background that is mixed into it.
    first = voice_features([some_voices()[0], some_voices()[3]], SMALL, version=1)
    np.testing.assert_array_equal(first.prosody[0], copies.prosody[0])


@pytest.mark.usefixtures("_small_whisper")
def test_features_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some, cache = some_voices(), tmp_path / "not yet"
    found = cached_features(some, SMALL, cache)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()

    def assert_equal(again: VoiceFeatures) -> None:
        for name in ("steps", "counts", "prosody"):
            np.testing.assert_array_equal(getattr(again, name), getattr(found, name))

    for damaged in (b"", whole[: len(whole) // 2]):
        kept.write_bytes(damaged)
        assert_equal(cached_features(some, SMALL, cache))
    # Others have another file: another sound, another version, other sizes.
    louder = dataclasses.replace(some[0], sound=2 * some[0].sound)
    cached_features([louder, *some[1:]], SMALL, cache)
    cached_features(some, SMALL, cache, version=1)
    cached_features(some, dataclasses.replace(SMALL, kept=1), cache)
    assert len(list(cache.iterdir())) == 4
    monkeypatch.setattr(voices, "voice_features", None)  # what is kept is only read
    assert_equal(cached_features(some, SMALL, cache))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        cached_features([], WhisperConfig(), tmp_path / "file")


# --- the experts learn ---------------------------------------------------------------------------


def recall(votes: torch.Tensor, some: list[Voice]) -> float:
    truth = torch.tensor([one.emotion for one in some])
    return float((votes[:, : len(EMOTIONS)].argmax(dim=1) == truth).float().mean())


def test_voice_members_learn() -> None:
    some, features = made_voices(64, 0)
    rows = usable_rows(some, features)
    assert rows.tolist() == list(range(63))  # the last is silent
    member = train_voice_member(EXPERTS, some, [features, features], rows, 0, QUICK)
    assert not member.training
    unmet, others = made_voices(40, 1)
    steps, mask, spoken = others.of(range(39))
    prosody_member = train_prosody_member(EXPERTS, some, [features], rows, QUICK)
    with torch.inference_mode():
        votes, _ = member(steps, mask)
        assert recall(votes, unmet[:39]) > 0.9
        assert recall(prosody_member(spoken), unmet[:39]) > 0.8
    again = train_voice_member(EXPERTS, some, [features, features], rows, 0, QUICK)
    other = train_voice_member(EXPERTS, some, [features, features], rows, 1, QUICK)
    assert same(member, again)
    assert not same(member, other)


def test_only_labelled_audible_voices_teach() -> None:
    some, features = made_voices(8, 0)
    some[2] = dataclasses.replace(some[2], emotion=-1)
    some[3] = dataclasses.replace(some[3], corpus=BACKGROUND)
    assert usable_rows(some, features).tolist() == [0, 1, 4, 5, 6]


def separable(count: int = 60) -> tuple[torch.Tensor, NDArray[np.int64], NDArray[np.str_]]:
    """Features [N, 2] of two classes: the first tells the class, the second tells it in corpus A
    alone, where it is far off."""
    rng = np.random.default_rng(0)
    classes = np.arange(count) % 2
    corpus = np.where(np.arange(count) // 2 % 2, "B", "A")
    sign = 2.0 * classes - 1
    features = rng.normal(0, 0.5, (count, 2))
    features[:, 0] += sign
    features[:, 1] += 2 * sign * (corpus == "A")
    return torch.from_numpy(features).float(), classes, corpus


def fitted(alignment: float, decay: float = 1e-3) -> nn.Linear:
    linear = nn.Linear(2, 2)
    _fit_linear(linear, *separable(), (decay, alignment), QUICK)
    return linear


def test_linear_classifiers_separate() -> None:
    features, classes, _ = separable()
    found = fitted(0.0)
    assert (found(features).argmax(dim=1).numpy() == classes).mean() > 0.95
    assert fitted(0.0, decay=1.0).weight.abs().sum() < 0.3 * found.weight.abs().sum()
    assert same(found, fitted(0.0))


def test_alignment_shrinks_what_holds_in_one_corpus_alone() -> None:
    found = [fitted(alignment, decay=1e-2).weight.detach().abs() for alignment in (0, 0.3, 1)]
    shares = [float(size[1] / size[0]) for size in (weight.mean(dim=0) for weight in found)]
    assert shares[0] > 2 * shares[1]
    assert shares[0] > 3 * shares[2]


def test_pairs_of_corpus_and_class_weigh_the_same() -> None:
    """Uninformative features give equal probabilities, however common a class is."""
    classes = np.repeat([0, 1, 0, 1], [300, 20, 40, 40])
    corpora = np.repeat(["A", "B"], [320, 80])
    features = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (400, 2))).float()
    linear = nn.Linear(2, 2)
    _fit_linear(linear, features, classes, corpora, (1e-2, 0.0), QUICK)
    shares = linear(features).softmax(dim=1).mean(dim=0)
    np.testing.assert_allclose(shares.detach(), 0.5, atol=0.1)


# --- changed recordings --------------------------------------------------------------------------


Sound = NDArray[np.float32]


def changed(sound: Sound, seed: int) -> Sound:
    return another_microphone(sound, SAMPLE_RATE_HZ, np.random.default_rng(seed))


def tone(rate_hz: float = 1000.0, seconds: float = 1.0) -> Sound:
    times_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * rate_hz * times_s)).astype(np.float32)


def spectrum_of(sound: Sound) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    return np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ), power


@pytest.fixture
def only_speed_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all other changes off."""
    for name in ("TILT_DB", "EQUALISER_DB", "TELEPHONE_SHARE"):
        monkeypatch.setattr(voices, name, 0.0)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8000))
def test_changed_copies_are_sounds(seed: int, count: int) -> None:
    sound = buzz(150, 0.5)[:count]
    before = sound.copy()
    found = changed(sound, seed)
    assert found.dtype == np.float32
    assert found.ndim == 1
    assert np.isfinite(found).all()
    assert abs(math.log(len(found) / count)) <= SPEED + 1 / len(found)
    np.testing.assert_array_equal(sound, before)
    np.testing.assert_array_equal(found, changed(sound, seed))


def test_the_seed_decides() -> None:
    sound = buzz(150)
    found = [changed(sound, seed) for seed in range(20)]
    assert len({one.tobytes() for one in found}) == 20
    lengths = [len(one) / len(sound) for one in found]
    assert min(lengths) < 0.95 < 1.05 < max(lengths)


def test_silence_stays_silence() -> None:
    for count in (1, 5000):
        assert not changed(np.zeros(count, dtype=np.float32), 0).any()


def test_another_recording_is_a_sound_of_about_that_length() -> None:
    sound, others = buzz(150, 0.8), [buzz(60, 0.3), buzz(400, 2.0)]
    found = []
    for seed in range(12):
        one, again = (
            another_recording(sound, np.random.default_rng(seed), others) for _ in range(2)
        )
        np.testing.assert_array_equal(one, again)
        assert (one.dtype, one.ndim) == (np.float32, 1)
        assert np.isfinite(one).all()
        # Codecs pad to whole frames.
        assert abs(len(one) - len(sound)) < 1.1 * SPEED * len(sound) + 3000
        assert one.std() > 0.02
        found.append(one.tobytes())
    assert len(set(found)) == 12


@pytest.mark.parametrize("codec", voices.CODECS)
def test_a_voice_survives_a_codec(codec: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "CODECS", (codec,))
    heard = prosody(voices._through_codec(buzz(150), np.random.default_rng(0)))
    assert heard is not None
    assert heard[0] == pytest.approx(12 * math.log2(1.5), abs=0.5)


def test_silence_and_a_short_click_survive_another_recording() -> None:
    for count in (1, 400, 4000):
        for seed in range(6):
            silence = np.zeros(count, dtype=np.float32)
            found = another_recording(silence, np.random.default_rng(seed), [buzz(60, 0.1)])
            assert np.isfinite(found).all()


@pytest.mark.usefixtures("only_speed_and_noise")
def test_faster_is_higher() -> None:
    for seed in range(8):
        found = changed(tone(), seed)
        rates_hz, power = spectrum_of(found)
        expected_hz = 1000 * SAMPLE_RATE_HZ / len(found)
        assert rates_hz[power.argmax()] == pytest.approx(expected_hz, abs=2)
        heard = prosody(changed(buzz(150), seed))
        assert heard is not None
        assert heard[0] == pytest.approx(12 * math.log2(1.5 * expected_hz / 1000), abs=0.5)


@pytest.mark.usefixtures("only_speed_and_noise")
def test_noise_is_as_loud_as_it_may_be() -> None:
    found_db = []
    for seed in range(40):
        sound = changed(tone(), seed)
        rates_hz, power = spectrum_of(sound)
        near = abs(rates_hz - rates_hz[power.argmax()]) < 40
        # What noise lies under the tone counts as tone: 1% of the band.
        ratio_db = 10 * math.log10(power[near].sum() / power[~near].sum())
        assert NOISE_SNR_DB[0] - 1 < ratio_db < NOISE_SNR_DB[1] + 1
        found_db.append(ratio_db)
    assert min(found_db) < 18
    assert max(found_db) > 35


def test_a_telephone_cuts_low_and_high_frequencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "NOISE_SNR_DB", (90.0, 90.0))
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)

    def shares_db(share: float, seed: int) -> tuple[float, float]:
        monkeypatch.setattr(voices, "TELEPHONE_SHARE", share)
        rates_hz, power = spectrum_of(changed(hiss, seed))
        inside = power[(rates_hz > 500) & (rates_hz < 3200)].mean()
        low, high = power[rates_hz < 250].mean(), power[rates_hz > 3600].mean()
        return 10 * math.log10(low / inside), 10 * math.log10(high / inside)

    for seed in range(4):
        for open_db, telephone_db in zip(shares_db(0.0, seed), shares_db(1.0, seed), strict=True):
            assert abs(open_db) < 12
            assert telephone_db < open_db - 25


def test_the_balance_of_high_and_low_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "TELEPHONE_SHARE", 0.0)
    monkeypatch.setattr(voices, "NOISE_SNR_DB", (60.0, 60.0))
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    balance_db = []
    for seed in range(20):
        rates_hz, power = spectrum_of(changed(hiss, seed))
        high, low = power[rates_hz > 6000].mean(), power[rates_hz < 2000].mean()
        balance_db.append(10 * math.log10(high / low))
    assert max(balance_db) - min(balance_db) > 4
    assert max(balance_db) > 0
    assert max(map(abs, balance_db)) < 2 * (voices.EQUALISER_DB + voices.TILT_DB)
