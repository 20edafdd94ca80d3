"""Sounds as another microphone would have taken them: changed, within limits, the same again."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_experts import buzz

from avsent.features.prosody import prosody
from avsent.media import SAMPLE_RATE_HZ
from avsent.training import microphones
from avsent.training.microphones import NOISE_SNR_DB, SPEED, another_microphone

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
    """All other changes are turned off."""
    for name in ("TILT_DB", "EQUALISER_DB", "TELEPHONE_SHARE"):
        monkeypatch.setattr(microphones, name, 0.0)


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


def test_a_telephone_takes_what_lies_above_and_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphones, "NOISE_SNR_DB", (90.0, 90.0))
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)

    def shares_db(share: float, seed: int) -> tuple[float, float]:
        monkeypatch.setattr(microphones, "TELEPHONE_SHARE", share)
        rates_hz, power = spectrum_of(changed(hiss, seed))
        inside = power[(rates_hz > 500) & (rates_hz < 3200)].mean()
        low, high = power[rates_hz < 250].mean(), power[rates_hz > 3600].mean()
        return 10 * math.log10(low / inside), 10 * math.log10(high / inside)

    for seed in range(4):
        for open_db, telephone_db in zip(shares_db(0.0, seed), shares_db(1.0, seed), strict=True):
            assert abs(open_db) < 12
            assert telephone_db < open_db - 25


def test_the_balance_of_high_and_low_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphones, "TELEPHONE_SHARE", 0.0)
    monkeypatch.setattr(microphones, "NOISE_SNR_DB", (60.0, 60.0))
    hiss = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE_HZ).astype(np.float32)
    balance_db = []
    for seed in range(20):
        rates_hz, power = spectrum_of(changed(hiss, seed))
        high, low = power[rates_hz > 6000].mean(), power[rates_hz < 2000].mean()
        balance_db.append(10 * math.log10(high / low))
    assert max(balance_db) - min(balance_db) > 4
    assert max(balance_db) > 0
    assert max(map(abs, balance_db)) < 2 * (microphones.EQUALISER_DB + microphones.TILT_DB)
