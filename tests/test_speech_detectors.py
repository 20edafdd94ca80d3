"""The detectors of speech, energy and Silero, on made and on real sound."""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st
from segmenting import Sound, segment

from avsent.media import SAMPLE_RATE_HZ
from avsent.speech import (
    FRAME_SAMPLES,
    EnergySpeechDetector,
    ManyAtOnce,
    OneByOne,
    SileroSpeechDetector,
    default_detector,
    fastest_network,
)
from avsent.utterances import Segment, SpeechSegmenter


@settings(max_examples=15, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 160_000), max_size=12))
def test_chunks_do_not_matter_to_the_energy_detector(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(10 ** rng.uniform(-4, -0.5, 40), 4000)
    sound = (voice(10.0) * loudness).astype(np.float32)
    whole = segment(sound, detector=EnergySpeechDetector())
    assert segment(sound, 0.0, cuts, EnergySpeechDetector()) == whole


def voice(length_s: float) -> Sound:
    """A buzz with harmonics, full scale, as a stand-in for a voice."""
    t = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.asarray(sum(np.sin(2 * math.pi * 140 * k * t) / k for k in range(1, 20)) / 3, "f4")


def noise(length_s: float, level: float) -> Sound:
    samples = np.random.default_rng(5).standard_normal(round(length_s * SAMPLE_RATE_HZ))
    return (samples * level).astype(np.float32)


@pytest.fixture(scope="module")
def silero() -> SileroSpeechDetector:
    return SileroSpeechDetector()


@pytest.mark.parametrize("kind", ["energy", "silero"])
def test_no_speech_in_silence_noise_or_nothing(kind: str, silero: SileroSpeechDetector) -> None:
    detector = silero if kind == "silero" else EnergySpeechDetector()
    for sound, heard in (
        (np.zeros(48_000, np.float32), False),
        (noise(3.0, 0.0005), False),
        (noise(3.0, 0.05), True),
        (np.full(32_000, np.nan, np.float32), False),
        (np.zeros(0, np.float32), False),
    ):
        segmenter = SpeechSegmenter(detector)
        assert segmenter.push(0.5, sound) + segmenter.flush() == []
        assert segmenter.heard == heard


@pytest.mark.parametrize("kind", ["energy", "silero"])
def test_sound_without_a_number_counts_as_zero(kind: str, silero: SileroSpeechDetector) -> None:
    detector = silero if kind == "silero" else EnergySpeechDetector()
    sound = voice(2.0) * 0.5
    sound[:8000] = 0
    broken = sound.copy()
    broken[:8000:3], broken[1:8000:3], broken[2:8000:3] = np.nan, np.inf, -np.inf
    assert segment(broken, detector=detector) == segment(sound, detector=detector)
    assert segment(np.full(16_000, 3e38, np.float32), detector=detector) is not None


def test_energy_detector_finds_a_voice_in_noise() -> None:
    sound = noise(6.0, 0.003)
    syllables = np.abs(np.sin(2 * math.pi * 2 * np.arange(32_000) / SAMPLE_RATE_HZ))
    sound[32_000:64_000] += voice(2.0) * syllables.astype(np.float32)
    found = segment(sound, detector=EnergySpeechDetector())
    assert len(found) == 1
    assert (found[0].start_s, found[0].end_s) == pytest.approx((2.0, 4.0), abs=0.1)


def test_fallback_when_silero_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_detector().name == "silero"
    monkeypatch.setitem(__import__("sys").modules, "silero_vad", None)
    assert default_detector().name == "energy"


def test_silero_leaves_the_threads_as_they_were(silero: SileroSpeechDetector) -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        SileroSpeechDetector()
        silero.probabilities(np.zeros((3, FRAME_SAMPLES), np.float32))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def decoded(path: Path) -> Sound:
    """All of a file's sound, float32 [N] at 16 kHz."""
    import av

    parts = []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        for frame in [*container.decode(audio=0), None]:
            parts += [f.to_ndarray()[0] for f in resampler.resample(frame)]
    return np.concatenate(parts).astype(np.float32)


def overlap_s(a: Segment, b: Segment) -> float:
    return max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))


@pytest.fixture(scope="module")
def library(one_thread: None) -> Any:
    """silero-vad as its wheel has it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from silero_vad import load_silero_vad

        return load_silero_vad()


def library_says(model: Any, sound: Sound) -> list[float]:
    """What silero-vad itself answers, asked as its makers show it."""
    import torch

    model.reset_states()
    with torch.inference_mode():
        return [float(model(torch.from_numpy(f), SAMPLE_RATE_HZ)) for f in framed(sound)]


def framed(sound: Sound) -> Sound:
    """Whole frames [F, FRAME_SAMPLES]."""
    return sound[: sound.size - sound.size % FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


@pytest.mark.parametrize("name", ["demo.mp4", "lrs3_closeup.mp4", "talk_surprise_zh.mp4"])
def test_frames_together_are_judged_as_by_the_library(
    name: str, request: pytest.FixtureRequest, silero: SileroSpeechDetector, library: Any
) -> None:
    path = SAMPLE if name == SAMPLE.name else request.getfixturevalue("clips") / name
    sound = decoded(path)
    assert isinstance(silero._network, ManyAtOnce)
    expected = library_says(library, sound)
    assert max(expected) - min(expected) > 0.4  # else agreeing with it would say little
    frames, rng = framed(sound), np.random.default_rng(4)
    cuts = np.sort(rng.choice(np.arange(1, len(frames)), 12, replace=False))
    for parts in ([frames], np.split(frames, cuts)):
        silero.reset()
        found = [p for part in parts for p in silero.probabilities(part)]
        assert found == pytest.approx(expected, abs=5e-5)


class OtherSilero:
    """silero-vad as it is from outside, with something else inside."""

    def __init__(self, model: Any, inside: object = None) -> None:
        self._whole = model
        if inside is not None:
            self._model = inside

    def __call__(self, frame: Any, rate_hz: int) -> Any:
        return self._whole(frame, rate_hz)

    def reset_states(self) -> None:
        self._whole.reset_states()


@pytest.mark.parametrize("inside", ["as expected", "nothing", "other context", "other numbers"])
def test_a_silero_of_other_parts_is_called_as_a_whole(inside: str, library: Any) -> None:
    import torch

    parts = {
        name: getattr(library._model, name)
        for name in ("context_size_samples", "run_extractors", "encoder", "decoder")
    }
    if inside == "other context":
        parts["context_size_samples"] = 32
    if inside == "other numbers":
        parts["encoder"] = lambda spectra: 1.01 * library._model.encoder(spectra)
    other = OtherSilero(library, None if inside == "nothing" else SimpleNamespace(**parts))
    with torch.inference_mode():
        network = fastest_network(other)
        assert isinstance(network, ManyAtOnce if inside == "as expected" else OneByOne)
        sound = voice(1.0) * 0.3
        found = network.probabilities(torch.from_numpy(framed(sound))).tolist()
    assert found == pytest.approx(library_says(library, sound), abs=5e-5)


def test_silero_on_many_utterances(clips: Path, silero: SileroSpeechDetector) -> None:
    sound = decoded(clips / "many_utterances.mp4")
    found = segment(sound, detector=silero)
    with (clips / "many_utterances.csv").open(newline="") as file:
        truth = [Segment(float(r["start_s"]), float(r["end_s"])) for r in csv.DictReader(file)]
    for s in found:  # none reaches from one clip into the next
        assert len([t for t in truth if overlap_s(s, t) > 0.1]) == 1
    for t in truth:
        inside = [s for s in found if overlap_s(s, t) > 0.1]
        span = Segment(inside[0].start_s, inside[-1].end_s)
        union_s = max(span.end_s, t.end_s) - min(span.start_s, t.start_s)
        assert overlap_s(span, t) / union_s > 0.9
    rng = np.random.default_rng(3)
    cuts = rng.integers(0, sound.size // 4, 50)
    quarter = sound[: sound.size // 4]
    assert segment(quarter, 0.0, cuts, silero) == segment(quarter, detector=silero)


@pytest.mark.parametrize("name", ["bbaf2n", "brwa4p", "srin5s"])
def test_silero_on_aligned_words(clips: Path, name: str, silero: SileroSpeechDetector) -> None:
    found = segment(decoded(clips / "grid" / f"{name}.mpg"), detector=silero)
    rows = [line.split() for line in (clips / "grid" / f"{name}.align").read_text().splitlines()]
    spoken = [(int(a) / 25_000, int(b) / 25_000) for a, b, word in rows if word != "sil"]
    assert len(found) == 1
    assert found[0].start_s == pytest.approx(spoken[0][0], abs=0.2)
    assert found[0].end_s == pytest.approx(spoken[-1][1], abs=0.2)
