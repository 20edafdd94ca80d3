"""Prosody members and changed microphones: caching, training, augmentation."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_models import EXPERTS, buzz, made_clips
from torch.nn import functional

from avsent.errors import OutputError
from avsent.extraction.features.voice import SIZE, prosody
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.labels import EMOTIONS, polarity_of
from avsent.model.networks.experts import ProsodyMember
from recipes import corpora
from recipes.corpora import NOISE_SNR_DB, SPEED, another_microphone
from recipes.members import COPIES, DECAY, cached_prosody, prosody_versions, train_prosody_member
from recipes.ravdess import RavdessClip

pytestmark = pytest.mark.usefixtures("one_thread")

Versions = NDArray[np.float32]


def labelled(names: list[str]) -> list[RavdessClip]:
    """Clips with an emotion and nothing else."""
    return [
        RavdessClip(f"{row}", 1, name, polarity_of(name), None, None)
        for row, name in enumerate(names)
    ]


def apart(
    clips: list[RavdessClip], seed: int, distance: float = 3.0, versions: int = 2
) -> Versions:
    """Statistics [V, N, 24] that tell the emotion, on scales that are not 1."""
    rng = np.random.default_rng(seed)
    middles = np.random.default_rng(99).normal(0, 1, (len(EMOTIONS), SIZE))
    rows = [EMOTIONS.index(clip.emotion) for clip in clips]
    found = distance * middles[rows] + rng.normal(0, 1, (versions, len(clips), SIZE))
    scale = np.logspace(-2, 2, SIZE)
    return np.asarray(found * scale + 5 * scale, dtype=np.float32)


@torch.inference_mode()
def decided(member: ProsodyMember, statistics: Versions) -> tuple[list[str], list[int]]:
    votes = member(torch.from_numpy(statistics))
    emotions = [EMOTIONS[row] for row in votes[:, :8].argmax(dim=1)]
    return emotions, votes[:, 8:].argmax(dim=1).tolist()


def same(one: ProsodyMember, other: ProsodyMember) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[key]) for key, tensor in one.state_dict().items())


# --- what it learns from -------------------------------------------------------------------------


def test_prosody_of_clips_and_of_augmented_copies() -> None:
    clips = made_clips(4, 0)
    versions = prosody_versions(clips)
    assert versions.shape == (1 + COPIES, 4, SIZE)
    assert versions.dtype == np.float32
    assert np.isfinite(versions).all()
    for row, clip in enumerate(clips):
        assert clip.prosody is not None
        np.testing.assert_array_equal(versions[0, row], clip.prosody)
        assert len({copy.tobytes() for copy in versions[:, row]}) == 1 + COPIES
        # Another speed: the pitch is another one, by no more than two semitones.
        assert 0.01 < np.abs(versions[1:, row, 0] - versions[0, row, 0]).max() < 2.2


def test_copies_of_a_clip_do_not_depend_on_the_others() -> None:
    clips = made_clips(4, 0)
    versions = prosody_versions(clips)
    np.testing.assert_array_equal(prosody_versions(clips[::-1]), versions[:, ::-1])
    np.testing.assert_array_equal(prosody_versions(clips[2:3]), versions[:, 2:3])
    renamed = [dataclasses.replace(clips[0], clip_id="another"), *clips[1:]]
    other = prosody_versions(renamed)
    np.testing.assert_array_equal(other[:, 1:], versions[:, 1:])
    np.testing.assert_array_equal(other[0], versions[0])
    assert (other[1:, 0] != versions[1:, 0]).any(axis=1).all()
    assert (prosody_versions(clips, seed=1)[1:] != versions[1:]).any(axis=2).all()


def test_silent_clips_have_no_prosody() -> None:
    clips = made_clips(3, 0)
    clips[0] = dataclasses.replace(clips[0], prosody=None)
    clips[1] = dataclasses.replace(clips[1], speech=None)
    versions = prosody_versions(clips)
    assert np.isnan(versions[:, :2]).all()
    assert np.isfinite(versions[:, 2]).all()
    assert prosody_versions([]).shape == (1 + COPIES, 0, SIZE)


def test_prosody_is_cached(tmp_path: Path) -> None:
    clips, cache = made_clips(3, 0), tmp_path / "not yet"
    clips[1] = dataclasses.replace(clips[1], prosody=None)
    found = cached_prosody(clips, cache)
    np.testing.assert_array_equal(found, prosody_versions(clips))
    (kept,) = cache.iterdir()
    whole, before = kept.read_bytes(), kept.stat().st_mtime_ns
    again = cached_prosody(clips, cache)
    np.testing.assert_array_equal(again, found)
    assert again.dtype == np.float32
    assert kept.stat().st_mtime_ns == before
    for damaged in (b"", b"nothing", whole[: len(whole) // 2]):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(cached_prosody(clips, cache), found)
        assert kept.read_bytes() == whole


def test_cached_prosody_is_read(tmp_path: Path) -> None:
    """The second call reads the file and not the sound."""
    clips = made_clips(2, 0)
    cached_prosody(clips, tmp_path)
    deaf = [dataclasses.replace(clip, speech=None) for clip in clips]
    assert np.isfinite(cached_prosody(deaf, tmp_path)).all()


def test_other_clips_have_another_cache_file(tmp_path: Path) -> None:
    clips = made_clips(3, 0)
    assert clips[0].prosody is not None
    others = [
        clips,
        clips[:2],
        clips[::-1],
        [dataclasses.replace(clips[0], clip_id="another"), *clips[1:]],
        [dataclasses.replace(clips[0], prosody=clips[0].prosody + 1), *clips[1:]],
        [dataclasses.replace(clips[0], prosody=None), *clips[1:]],
    ]
    for number, some in enumerate(others, 1):
        np.testing.assert_array_equal(cached_prosody(some, tmp_path), prosody_versions(some))
        assert len(list(tmp_path.iterdir())) == number


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        cached_prosody(made_clips(1, 0), tmp_path / "file")


# --- it learns -----------------------------------------------------------------------------------

ALL = list(EMOTIONS) * 12


def test_it_learns_emotion_and_polarity() -> None:
    clips = labelled(ALL)
    member = train_prosody_member(EXPERTS, clips, apart(clips, 0))
    assert not member.training
    emotions, polarities = decided(member, apart(clips, 1)[0])
    assert np.mean([one == c.emotion for one, c in zip(emotions, clips, strict=True)]) > 0.97
    known = [row for row, clip in enumerate(clips) if clip.polarity is not None]
    assert np.mean([polarities[row] == clips[row].polarity for row in known]) > 0.97


def test_it_learns_from_the_sound() -> None:
    """It learns from the pitch of synthetic clips, and predicts held-out ones."""
    clips, unmet = made_clips(24, 0), made_clips(12, 1)
    member = train_prosody_member(EXPERTS, clips, prosody_versions(clips))
    emotions, _ = decided(member, prosody_versions(unmet).reshape(-1, SIZE))
    expected = [clip.emotion for clip in unmet] * (1 + COPIES)
    assert np.mean([one == other for one, other in zip(emotions, expected, strict=True)]) > 0.9


def test_unknown_values_do_not_teach() -> None:
    clips = labelled(ALL)
    versions = apart(clips, 0)
    plain = train_prosody_member(EXPERTS, clips, versions)
    assert same(plain, train_prosody_member(EXPERTS, clips, versions))
    silent = labelled(["angry"] * 9)
    nothing = np.full((2, 9, SIZE), np.nan, dtype=np.float32)
    nothing[1, 3, 5:] = 1e6  # not known as a whole
    among = np.concatenate([versions, nothing], axis=1)
    assert same(plain, train_prosody_member(EXPERTS, clips + silent, among))


def objective(
    weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, labels: torch.Tensor
) -> float:
    """By definition: the mean over the classes of the mean cross-entropy, and the decay."""
    logs = functional.log_softmax(x.double() @ weight.double().T + bias.double(), dim=1)
    own = -logs[torch.arange(len(labels)), labels]
    means = [own[labels == label].mean() for label in labels.unique()]
    return float(torch.stack(means).mean() + DECAY * weight.double().square().sum())


@pytest.mark.parametrize("counts", [[30] * 8, [60, 3, 20, 0, 9, 40, 5, 12]])
def test_no_worse_than_another_logistic_regression(counts: list[int]) -> None:
    from sklearn.linear_model import LogisticRegression

    names = [name for name, count in zip(EMOTIONS, counts, strict=True) for _ in range(count)]
    clips = labelled(names)
    versions = apart(clips, 0, distance=0.4)
    member = train_prosody_member(EXPERTS, clips, versions)
    with torch.inference_mode():
        scaled = member.scale(torch.from_numpy(versions.reshape(-1, SIZE)))
    emotion = np.tile([EMOTIONS.index(name) for name in names], 2)
    polarity = np.tile([-1 if c.polarity is None else c.polarity for c in clips], 2)
    for linear, labels in ((member.votes.emotion, emotion), (member.votes.polarity, polarity)):
        x, y = scaled[labels >= 0], torch.from_numpy(labels[labels >= 0])
        # Its objective: the weights' squares / 2 + C · the sum of the weighted losses.
        reference = LogisticRegression(
            C=1 / (2 * DECAY * len(y)), class_weight="balanced", max_iter=5000, tol=1e-8
        ).fit(x.numpy(), y.numpy())
        weight, bias = (torch.from_numpy(part) for part in (reference.coef_, reference.intercept_))
        rows = torch.searchsorted(torch.from_numpy(reference.classes_), y)
        expected = objective(weight, bias, x, rows)
        found = objective(linear.weight.detach(), linear.bias.detach(), x, y)
        assert 0.05 < expected < 2.0
        # A class that never occurs is only an output more, at best of no probability.
        assert found <= expected + 2e-3
        with torch.inference_mode():
            own = linear(x).softmax(dim=1)[:, reference.classes_]
        np.testing.assert_allclose(own, reference.predict_proba(x.numpy()), atol=0.03)


# --- what is common, and what is not there -------------------------------------------------------


def test_common_classes_are_not_more_likely() -> None:
    """Uninformative statistics give equal probabilities, however common a class is."""
    clips = labelled(["happy"] * 300 + ["sad"] * 40 + ["neutral"] * 40)
    member = train_prosody_member(EXPERTS, clips, apart(clips, 0, distance=0.0))
    with torch.inference_mode():
        unmet = torch.from_numpy(apart(clips, 1, distance=0.0)[0])
        votes = member(unmet).exp().mean(dim=0)
    shares = votes[[EMOTIONS.index(name) for name in ("happy", "sad", "neutral")]]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)  # happy are four fifths
    np.testing.assert_allclose(votes[8:], 1 / 3, atol=0.1)


def test_rare_classes_are_found_as_well_as_common_ones() -> None:
    def pair(common: int, rare: int) -> list[RavdessClip]:
        return labelled(["happy"] * common + ["sad"] * rare)

    clips, unmet = pair(400, 40), pair(300, 300)
    member = train_prosody_member(EXPERTS, clips, apart(clips, 0, distance=0.3))
    emotions, _ = decided(member, apart(unmet, 1, distance=0.3, versions=1)[0])
    happy = np.mean([one == "happy" for one in emotions[:300]])
    sad = np.mean([one == "sad" for one in emotions[300:]])
    assert min(happy, sad) > 0.7
    assert abs(happy - sad) < 0.15


def test_emotions_that_never_occur_break_nothing() -> None:
    clips = labelled(["happy", "sad", "surprised"] * 20)  # no polarity is neutral, some none
    versions = apart(clips, 0)
    member = train_prosody_member(EXPERTS, clips, versions)
    assert all(torch.isfinite(tensor).all() for tensor in member.state_dict().values())
    emotions, polarities = decided(member, apart(clips, 1)[0])
    assert emotions == [clip.emotion for clip in clips]
    assert [p for p, clip in zip(polarities, clips, strict=True) if clip.polarity is not None] == [
        clip.polarity for clip in clips if clip.polarity is not None
    ]


def test_a_statistic_that_never_changes_breaks_nothing() -> None:
    clips = labelled(ALL)
    versions, unmet = apart(clips, 0), apart(clips, 1)
    for array in (versions, unmet):
        array[..., 4] = 0.7
    member = train_prosody_member(EXPERTS, clips, versions)
    assert all(torch.isfinite(tensor).all() for tensor in member.state_dict().values())
    emotions, _ = decided(member, unmet[0])
    assert np.mean([one == c.emotion for one, c in zip(emotions, clips, strict=True)]) > 0.97


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
        monkeypatch.setattr(corpora, name, 0.0)


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
    monkeypatch.setattr(corpora, "NOISE_SNR_DB", (90.0, 90.0))
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)

    def shares_db(share: float, seed: int) -> tuple[float, float]:
        monkeypatch.setattr(corpora, "TELEPHONE_SHARE", share)
        rates_hz, power = spectrum_of(changed(hiss, seed))
        inside = power[(rates_hz > 500) & (rates_hz < 3200)].mean()
        low, high = power[rates_hz < 250].mean(), power[rates_hz > 3600].mean()
        return 10 * math.log10(low / inside), 10 * math.log10(high / inside)

    for seed in range(4):
        for open_db, telephone_db in zip(shares_db(0.0, seed), shares_db(1.0, seed), strict=True):
            assert abs(open_db) < 12
            assert telephone_db < open_db - 25


def test_the_balance_of_high_and_low_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "TELEPHONE_SHARE", 0.0)
    monkeypatch.setattr(corpora, "NOISE_SNR_DB", (60.0, 60.0))
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    balance_db = []
    for seed in range(20):
        rates_hz, power = spectrum_of(changed(hiss, seed))
        high, low = power[rates_hz > 6000].mean(), power[rates_hz < 2000].mean()
        balance_db.append(10 * math.log10(high / low))
    assert max(balance_db) - min(balance_db) > 4
    assert max(balance_db) > 0
    assert max(map(abs, balance_db)) < 2 * (corpora.EQUALISER_DB + corpora.TILT_DB)
