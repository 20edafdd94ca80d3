"""Prosody: sounds of known pitch, changes that a microphone makes, and sounds without a voice."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_models import buzz

from avsent.extraction.features import voice as module
from avsent.extraction.features.voice import (
    BALANCE_STATISTICS,
    ENERGY_STATISTICS,
    MIN_FRAMES,
    MODULATION_HZ,
    PITCH_STATISTICS,
    SIZE,
    VOICE_STATISTICS,
    AudioConfig,
    audible_power,
    audio_features,
    prosody,
    prosody_of,
)
from avsent.extraction.media.events import SAMPLE_RATE_HZ

Sound = NDArray[np.float32]

NAMES = (
    *(f"pitch {name}" for name in PITCH_STATISTICS),
    *VOICE_STATISTICS,
    *(f"energy {name}" for name in ENERGY_STATISTICS),
    *BALANCE_STATISTICS,
    *(f"movement at {slow} to {fast} Hz" for slow, fast in MODULATION_HZ),
)
PHRASES, SYLLABLES, ROUGHNESS = NAMES[-3:]
PITCH = [name for name in NAMES if name.startswith("pitch ")]


def measured(sound: Sound) -> dict[str, float]:
    found = prosody(sound)
    assert found is not None
    assert found.shape == (SIZE,)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    return dict(zip(NAMES, map(float, found), strict=True))


def semitones(pitch_hz: float) -> float:
    return 12 * math.log2(pitch_hz / 100)


def noise(seconds: float = 1.0, seed: int = 0) -> Sound:
    count = round(seconds * SAMPLE_RATE_HZ)
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def loudness(rate_hz: float, seconds: float, depth: float = 0.8) -> NDArray[np.float64]:
    """A factor that rises and falls so often in a second."""
    times_s = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return 1 - depth * (0.5 + 0.5 * np.cos(2 * np.pi * rate_hz * times_s))


def test_the_number_of_statistics_is_that_of_the_models() -> None:
    assert SIZE == len(NAMES) == len(set(NAMES)) == 24


# --- pitch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pitch_hz", [75, 90, 110, 137, 180, 220, 260, 330, 410, 490])
def test_the_pitch_of_a_buzz(pitch_hz: float) -> None:
    found = measured(buzz(pitch_hz))
    assert found["pitch median"] == pytest.approx(semitones(pitch_hz), abs=0.1)
    for name in PITCH[1:]:
        assert found[name] == pytest.approx(0, abs=0.15), name
    assert found["voiced share"] > 0.95
    assert found["periodicity"] > 0.95


@pytest.mark.parametrize("pitch_hz", [95, 180, 320])
@pytest.mark.parametrize("kept", [(1,), (2, 3, 4, 5), (1, 3, 5)])
def test_which_harmonics_there_are_does_not_matter(pitch_hz: float, kept: tuple[int, ...]) -> None:
    """Nor that the lowest is missing, as on a telephone."""
    times_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    sound = 0.1 * sum(np.sin(2 * np.pi * k * pitch_hz * times_s) for k in kept)
    found = measured(np.asarray(sound, dtype=np.float32))
    assert found["pitch median"] == pytest.approx(semitones(pitch_hz), abs=0.5)


@pytest.mark.parametrize("octaves", [0.5, -0.5, 1.0, -1.0])
def test_a_glide_has_a_slope(octaves: float) -> None:
    seconds = 1.2
    place = np.linspace(-0.5, 0.5, round(seconds * SAMPLE_RATE_HZ))
    found = measured(buzz(180 * 2 ** (octaves * place), seconds))
    assert found["pitch median"] == pytest.approx(semitones(180), abs=0.3)
    assert found["pitch slope"] == pytest.approx(12 * octaves / 2, rel=0.05)
    assert found["pitch span"] == pytest.approx(0.8 * 12 * abs(octaves), rel=0.05)
    assert found["pitch rise"] == pytest.approx(0.4 * 12 * abs(octaves), rel=0.05)
    assert found["pitch deviation"] == pytest.approx(12 * abs(octaves) / math.sqrt(12), rel=0.05)
    assert found["pitch change"] == pytest.approx(12 * abs(octaves) / (seconds * 100), rel=0.1)


def test_up_and_down_again_is_no_slope() -> None:
    place = np.linspace(-1, 1, SAMPLE_RATE_HZ)
    found = measured(buzz(200 * 2 ** (-np.abs(place) / 2)))
    assert found["pitch slope"] == pytest.approx(0, abs=0.1)
    assert found["pitch span"] == pytest.approx(0.8 * 6, rel=0.1)


def test_noise_has_no_pitch() -> None:
    found = measured(noise())
    assert [found[name] for name in PITCH] == [0.0] * len(PITCH)
    assert found["voiced share"] < 0.05
    assert found["periodicity"] < 0.3


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_the_voiced_share(share: float) -> None:
    cut = round(share * SAMPLE_RATE_HZ)
    sound = noise()
    sound[:cut] = buzz(150)[:cut]
    found = measured(sound)
    assert found["voiced share"] == pytest.approx(share, abs=0.05)
    assert found["pitch median"] == pytest.approx(semitones(150), abs=0.2)


def test_two_voices_two_octaves_apart() -> None:
    """Every voiced frame lies far from the median of all: that must not leave none."""
    low, high = buzz(72, 0.5), buzz(490, 0.5)
    for cut in range(0, 1600, 160):
        measured(np.concatenate([low, high[cut:]]))


@pytest.mark.parametrize("size", [7, 64, 101])
def test_the_chunk_size_does_not_change_the_pitch(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = np.linspace(0, 4 * np.pi, 3 * SAMPLE_RATE_HZ)
    sound = buzz(160 * 2 ** (np.sin(place) / 3), 3.0) + noise(3.0) / 10
    whole = module._pitch(sound, AudioConfig())
    monkeypatch.setattr(module, "CHUNK", size)
    parts = module._pitch(sound, AudioConfig())
    assert len(parts[0]) == len(parts[1]) == 301
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_pitch_of_each_moment() -> None:
    """Frame k is centred on sample k · hop, as in the spectrogram."""
    sound = np.concatenate([buzz(100, 0.5), buzz(200, 0.5)])
    pitch, _ = module._pitch(sound, AudioConfig())
    np.testing.assert_allclose(pitch[3:48], 0, atol=0.1)
    np.testing.assert_allclose(pitch[53:98], 12, atol=0.1)


# --- what a microphone changes -------------------------------------------------------------------


def speech_like(seconds: float = 1.5) -> Sound:
    place = np.linspace(0, 6, round(seconds * SAMPLE_RATE_HZ))
    voice = buzz(170 * 2 ** (np.sin(place) / 4), seconds) * loudness(3.0, seconds)
    return np.asarray(voice + noise(seconds) / 50, dtype=np.float32)


@pytest.mark.parametrize("gain", [0.01, 0.1, 0.5, 2.0])
def test_gain_does_not_matter(gain: float) -> None:
    plain, other = measured(speech_like()), measured(speech_like() * np.float32(gain))
    for name, value in plain.items():
        assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-3), name


def test_silence_around_it_does_not_matter() -> None:
    plain = measured(speech_like())
    quiet = np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)
    around = measured(np.concatenate([quiet, speech_like(), quiet]))
    for name in NAMES:
        assert around[name] == pytest.approx(plain[name], abs=0.3), name


def test_the_same_for_longer_is_the_same() -> None:
    """No duration is among the statistics."""
    once, thrice = (measured(np.tile(speech_like(2.0), times)) for times in (1, 3))
    for name in set(NAMES) - {"pitch slope", PHRASES, SYLLABLES, ROUGHNESS}:
        assert thrice[name] == pytest.approx(once[name], rel=0.05, abs=0.05), name


def test_a_brighter_sound_has_a_higher_centroid() -> None:
    dull, bright = noise(), np.diff(noise(), prepend=np.float32(0))
    for name in ("centroid", "tilt", "middle over low", "high over low"):
        assert measured(bright)[name] > measured(dull)[name] + 1, name


# --- energy and its movement ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate_hz", "band"), [(1.0, PHRASES), (3.0, SYLLABLES), (4.5, SYLLABLES), (7.0, ROUGHNESS)]
)
def test_the_rate_of_modulation(rate_hz: float, band: str) -> None:
    found = measured(np.asarray(buzz(150, 4.0) * loudness(rate_hz, 4.0), dtype=np.float32))
    shares = {name: math.exp(found[name]) for name in (PHRASES, SYLLABLES, ROUGHNESS)}
    assert shares[band] > 0.5
    assert max(shares, key=shares.__getitem__) == band
    assert sum(shares.values()) < 1.01


def test_a_modulated_voice_changes_more() -> None:
    steady = measured(buzz(150, 2.0))
    moving = measured(np.asarray(buzz(150, 2.0) * loudness(3.0, 2.0), dtype=np.float32))
    assert steady["energy deviation"] == pytest.approx(0, abs=0.5)
    assert moving["energy deviation"] > 3
    assert moving["energy change"] > 3 * steady["energy change"]
    assert moving["energy lower quarter"] < steady["energy lower quarter"] - 3
    assert moving["loud share"] == pytest.approx(1, abs=0.02)


# --- sounds that nobody speaks -------------------------------------------------------------------


def test_no_statistics_of_silence_or_noise_below_the_limit() -> None:
    assert prosody(np.zeros(0, dtype=np.float32)) is None
    assert prosody(np.zeros(SAMPLE_RATE_HZ, dtype=np.float32)) is None
    assert prosody(noise() * np.float32(1e-4)) is None
    measured(noise() * np.float32(1e-3))
    assert prosody(buzz(150)[: MIN_FRAMES * 160 - 1]) is None
    measured(buzz(150)[: MIN_FRAMES * 160])


@st.composite
def sounds(draw: st.DrawFn) -> Sound:
    """Clicks, tones, noise, steps, and silence between them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts = []
    for _ in range(draw(st.integers(1, 5))):
        count = draw(st.integers(1, 12_000))
        kind = draw(st.sampled_from(["silence", "noise", "tone", "clicks", "constant", "steps"]))
        part = np.zeros(count)
        if kind == "noise":
            part = rng.normal(0, 1, count)
        elif kind == "tone":
            part = np.sin(2 * np.pi * draw(st.floats(20, 7900)) * np.arange(count) / SAMPLE_RATE_HZ)
        elif kind == "clicks":
            part[:: draw(st.integers(1, 3000))] = 1.0
        elif kind == "constant":
            part += 1.0
        elif kind == "steps":
            part = np.sign(rng.normal(0, 1, count))
        parts.append(part * 10 ** draw(st.floats(-4, 0.5)))
    return np.concatenate(parts).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(sounds())
@example(np.ones(4000, dtype=np.float32))
@example(np.eye(1, 4000, 2000, dtype=np.float32)[0])
@example(np.concatenate([buzz(72, 0.5), buzz(490, 0.5)[440:]]))
def test_of_any_sound_every_statistic_is_a_number(sound: Sound) -> None:
    before = sound.copy()
    found = prosody(sound)
    assert (found is None) == (audible_power(sound, AudioConfig()) is None)
    if found is not None:
        measured(sound)
    np.testing.assert_array_equal(sound, before)


def test_a_minute() -> None:
    found = measured(np.tile(speech_like(2.0), 30))
    once = measured(speech_like(2.0))
    assert found["pitch median"] == pytest.approx(once["pitch median"], abs=0.1)


# --- as a part of what is heard ------------------------------------------------------------------


def test_audio_features_hold_the_prosody() -> None:
    sound = np.concatenate([np.zeros(5000), speech_like(), np.zeros(3000)]).astype(np.float32)
    found = audio_features(sound, 7.0)
    assert found is not None
    assert found.prosody is not None
    np.testing.assert_array_equal(found.prosody, prosody(sound))
    config = AudioConfig()
    audible = audible_power(sound, config)
    assert audible is not None
    np.testing.assert_array_equal(prosody_of(sound, *audible, config), prosody(sound))
    # Other settings of the spectrogram trim and weigh otherwise.
    narrow = dataclasses.replace(config, highest_hz=4000.0)
    other = audio_features(sound, 7.0, narrow)
    assert other is not None
    assert other.prosody is not None
    np.testing.assert_array_equal(other.prosody, prosody(sound, narrow))
    assert np.abs(other.prosody - found.prosody).max() > 0.1
