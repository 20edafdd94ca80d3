"""Voice activity detection and segmentation, on made and on real sound."""

from __future__ import annotations

import csv
import errno
import itertools
import math
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import SAMPLE
from hypothesis import given, settings
from hypothesis import strategies as st
from media_files import LevelDetector, SoundArray, frames, segment, times, write_sound

from avsent.extraction.extractor import FeatureConfig, extract_file
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.extraction.utterances import segmentation
from avsent.extraction.utterances.segmentation import (
    BATCH_FRAMES,
    FRAME_S,
    FRAME_SAMPLES,
    MAX_UTTERANCE_S,
    MERGE_GAP_S,
    MIN_UTTERANCE_S,
    PAD_S,
    BatchedNetwork,
    EnergySpeechDetector,
    FramewiseNetwork,
    Segment,
    SileroSpeechDetector,
    SpeechSegmenter,
    WindowSegmenter,
    default_detector,
    fastest_network,
)
from avsent.options import PredictOptions


def test_hysteresis_and_padding() -> None:
    sound = frames((10, 0.4), (10, 0.5), (10, 0.36), (3, 0.34), (20, 0.4))
    start_s, end_s = 10 * FRAME_S - PAD_S, 30 * FRAME_S + PAD_S
    assert times(segment(sound)) == times([Segment(start_s, end_s)])


@given(st.lists(st.integers(1, 3000), max_size=12), st.integers(0, 9000))
def test_silence_does_not_depend_on_the_chunks(sizes: list[int], place: int) -> None:
    """A click of one frame at -55 dBFS, silent in the mean over 0.2 s."""
    sound = np.zeros(10_000, np.float32)
    sound[place : place + FRAME_SAMPLES] = 10 ** (-55 / 20)
    whole, chunked, quiet = (SpeechSegmenter(LevelDetector()) for _ in range(3))
    whole.push(0.0, sound)
    start = 0
    for size in sizes:
        chunked.push(0.0, sound[start : start + size])
        start += size
    chunked.push(0.0, sound[start:])
    quiet.push(0.0, sound * 0.1)
    for segmenter in (whole, chunked, quiet):
        segmenter.flush()
    assert whole.heard
    assert chunked.heard
    assert not quiet.heard


def test_given_utterances_change_nothing_about_silence(tmp_path: Path) -> None:
    """One frame of a click is not silence, whether the utterances are found or given."""
    click = np.zeros(SAMPLE_RATE_HZ, np.float32)
    click[8000 : 8000 + FRAME_SAMPLES] = 10 ** (-53 / 20) * np.sign(np.sin(np.arange(512) / 10))
    path = write_sound(tmp_path / "click.wav", click, codec="pcm_s16le")
    boundaries = tmp_path / "given.csv"
    boundaries.write_text("start_s,end_s\n0.2,0.8\n", encoding="utf-8")
    for given_file in (None, boundaries):
        options = PredictOptions(utterances=given_file)
        facts = extract_file(path, FeatureConfig(), lambda features: None, options)
        assert not facts.silent


def test_first_chunk_may_start_at_any_time() -> None:
    found = segment(frames((10, 1.0), (30, 0.0), (9, 1.0)), start_s=2.43)
    last_s = 2.43 + 40 * FRAME_S - PAD_S
    expected = [Segment(2.43, 2.43 + 10 * FRAME_S + PAD_S), Segment(last_s, 2.43 + 49 * FRAME_S)]
    assert times(found) == times(expected)  # padding stays inside of the sound


@pytest.mark.parametrize(("gap", "count"), [(1, 1), (9, 1), (10, 2), (13, 2), (14, 2), (40, 2)])
def test_gaps_under_the_limit_are_merged(gap: int, count: int) -> None:
    found = segment(frames((20, 0.0), (20, 1.0), (gap, 0.0), (20, 1.0), (20, 0.0)))
    assert len(found) == count
    if count == 2:
        left_s = found[1].start_s - found[0].end_s
        assert left_s == pytest.approx(max(MERGE_GAP_S, gap * FRAME_S - 2 * PAD_S))


@pytest.mark.parametrize(("length", "count"), [(1, 0), (7, 0), (8, 1)])
def test_short_sounds_are_dropped(length: int, count: int) -> None:
    assert len(segment(frames((20, 0.0), (length, 1.0), (20, 0.0)))) == count


def test_several_short_sounds_make_one_utterance() -> None:
    assert len(segment(frames((4, 1.0), (5, 0.0), (4, 1.0), (50, 0.0)))) == 1


def test_long_speech_is_split_at_its_pauses_while_it_goes_on() -> None:
    word, pause = (210, 0.9), (6, 0.0)  # 6.7 s, 0.2 s
    segmenter = SpeechSegmenter(LevelDetector())
    found = segmenter.push(0.0, frames(word, pause, word, pause, word, pause, word))
    assert len(found) == 2  # the rest, from the third word on, is not yet too long
    assert segmenter.open_since_s == found[-1].end_s
    found += segmenter.flush()
    middles = [(216 * i - 3) * FRAME_S for i in (1, 2)]
    assert [s.end_s for s in found[:2]] == pytest.approx(middles, abs=1.01 * FRAME_S)
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(found))
    assert found[-1].end_s == pytest.approx((4 * 210 + 3 * 6) * FRAME_S)


def test_speech_just_over_the_limit_is_split_into_two_long_parts() -> None:
    limit = int(MAX_UTTERANCE_S / FRAME_S)
    assert len(segment(frames((limit, 0.9)))) == 1
    pieces = segment(frames((50, 0.0), (limit + 1, 0.9), (50, 0.0)))
    assert len(pieces) == 2
    assert min(s.end_s - s.start_s for s in pieces) > 3.5


level_runs = st.lists(
    st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.3, 0.4, 0.6, 0.9])), max_size=25
)


@settings(max_examples=60, deadline=None, database=None)
@given(level_runs, st.lists(st.integers(0, 400_000), max_size=30), st.integers(0, 600))
def test_chunk_sizes_do_not_matter_and_limits_hold(
    runs: list[tuple[int, float]], cuts: list[int], rest: int
) -> None:
    tail = np.full(rest, 0.7, np.float32)
    sound = np.concatenate([*(frames(run) for run in runs), tail])
    whole = segment(sound, 1.1)
    assert segment(sound, 1.1, cuts) == whole
    assert segment(sound, 1.1, range(0, sound.size, 160)) == whole
    end_s = 1.1 + sound.size / SAMPLE_RATE_HZ
    for s in whole:
        assert 1.1 <= s.start_s < s.end_s <= end_s + 1e-9
        assert MIN_UTTERANCE_S - 1e-9 <= s.end_s - s.start_s <= MAX_UTTERANCE_S + 1e-9
    for a, b in itertools.pairwise(whole):
        gap_s = b.start_s - a.end_s
        assert gap_s == 0 or gap_s >= MERGE_GAP_S - 1e-9


def test_shorter_than_a_frame() -> None:
    segmenter = SpeechSegmenter(LevelDetector())
    assert segmenter.push(7.0, np.full(100, 0.8, np.float32)) == []
    assert not segmenter.heard  # no frame yet
    assert segmenter.flush() == []
    assert segmenter.heard


def test_frames_are_judged_in_batches_but_loudness_is_known_at_once() -> None:
    detector = LevelDetector()
    segmenter = SpeechSegmenter(detector)
    spoken = frames((BATCH_FRAMES - 1, 0.8))
    for begin in range(0, spoken.size, 3200):
        assert segmenter.push(begin / SAMPLE_RATE_HZ, spoken[begin : begin + 3200]) == []
    assert segmenter.heard
    assert detector.asked == []
    assert segmenter.open_since_s == 0.0  # what waits may be the start of an utterance
    assert segmenter.flush() == [Segment(0.0, spoken.size / SAMPLE_RATE_HZ)]
    assert detector.asked == [BATCH_FRAMES - 1]


@settings(max_examples=30, deadline=None, database=None)
@given(st.lists(st.integers(0, 60_000), max_size=30))
def test_chunk_sizes_do_not_change_the_batches(cuts: list[int]) -> None:
    detector = LevelDetector()
    segment(np.zeros(60_000, np.float32), 0.0, cuts, detector)
    whole, rest = divmod(-(-60_000 // FRAME_SAMPLES), BATCH_FRAMES)
    assert detector.asked == [BATCH_FRAMES] * whole + [rest]


def test_the_last_frame_may_be_partial() -> None:
    sound = np.full(8 * FRAME_SAMPLES - 100, 0.8, np.float32)
    assert segment(sound) == []  # 0.249 s
    sound = np.full(9 * FRAME_SAMPLES - 100, 0.8, np.float32)
    assert segment(sound) == [Segment(0.0, sound.size / SAMPLE_RATE_HZ)]


def test_a_segmenter_begins_a_new_stream_after_flush() -> None:
    detector = LevelDetector()
    segmenter = SpeechSegmenter(detector)
    segmenter.push(0.0, frames((30, 1.0)))
    assert len(segmenter.flush()) == 1
    resets = detector.resets
    assert resets >= 2
    assert segmenter.push(100.0, frames((30, 1.0))) == []
    assert segmenter.flush()[0].start_s == 100.0


def test_samples_must_have_one_axis() -> None:
    with pytest.raises(ValueError, match="dimension"):
        SpeechSegmenter(LevelDetector()).push(0.0, np.zeros((2, 100), np.float32))


def test_memory_does_not_grow_with_length() -> None:
    rng = np.random.default_rng(1)
    segmenter = SpeechSegmenter(LevelDetector())
    level, pushed, found = 0.0, 0, 0
    while pushed < 40 * 60 * SAMPLE_RATE_HZ:
        if rng.random() < 0.02:
            level = 0.8 - level
        chunk = np.full(int(rng.integers(1, 9000)), level, np.float32)
        found += len(segmenter.push(pushed / SAMPLE_RATE_HZ, chunk))
        pushed += chunk.size
        assert pushed / SAMPLE_RATE_HZ - segmenter.open_since_s < MAX_UTTERANCE_S + 1
        assert segmenter._rest.size < BATCH_FRAMES * FRAME_SAMPLES
        assert len(segmenter._powers) < (MAX_UTTERANCE_S + 1) / FRAME_S
        assert segmenter._rest.base is None
    assert found > 100


def windows(pictures: Iterable[tuple[float, bool]]) -> list[tuple[float, float]]:
    segmenter = WindowSegmenter()
    found: list[Segment] = []
    for time_s, seen in pictures:
        since_s = segmenter.open_since_s
        new = segmenter.push(time_s, seen)
        assert all(s.start_s >= since_s for s in new)
        assert segmenter.open_since_s >= since_s
        found += new
    found += segmenter.flush()
    assert segmenter.flush() == []
    return times(found)


def film(length_s: float, seen: Sequence[tuple[float, float]] = ((0, 1e9),), fps: int = 25):  # type: ignore[no-untyped-def]
    for i in range(round(length_s * fps)):
        yield i / fps, any(a <= i / fps < b for a, b in seen)


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (film(0), []),
        (film(5, []), []),
        (film(3), [(0, 3)]),
        (film(8), [(0, 8)]),
        (film(8.4), [(0, 4.2), (4.2, 8.4)]),
        (film(15.48), [(0, 8), (8, 15.48)]),
        (film(20), [(0, 8), (8, 16), (16, 20)]),
        (film(6, [(1, 2), (2.6, 3), (4.52, 5)]), [(1, 3), (4.52, 5)]),
        (film(0.1, fps=30), [(0, 0.1)]),
        ([(4.0, True)], [(4.0, 4.04)]),
        ([(0.0, True), (30.0, True)], [(0.0, 0.04), (30.0, 30.04)]),
        ([(0.1, True), (0.0, True), (math.nan, True), (0.15, True)], [(0.1, 0.19)]),
    ],
)
def test_windows(pictures: Iterable[tuple[float, bool]], expected: list[object]) -> None:
    assert windows(pictures) == expected


@settings(max_examples=80, deadline=None, database=None)
@given(st.lists(st.tuples(st.floats(0.001, 3), st.booleans()), max_size=200))
def test_windows_are_short_and_disjoint_and_contain_every_face(
    steps: list[tuple[float, bool]],
) -> None:
    at_s = np.cumsum([step for step, _ in steps]).tolist()
    pictures = list(zip(at_s, (seen for _, seen in steps), strict=True))
    found = windows(pictures)
    assert all(0 < b - a <= segmentation.MAX_WINDOW_S + 1e-3 for a, b in found)
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(found))
    for time_s, seen in pictures:
        assert not seen or any(a - 1e-3 <= time_s <= b + 1e-3 for a, b in found)


@settings(max_examples=15, deadline=None, database=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 160_000), max_size=12))
def test_chunk_sizes_do_not_matter_to_the_energy_detector(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    loudness = np.repeat(10 ** rng.uniform(-4, -0.5, 40), 4000)
    sound = (voice(10.0) * loudness).astype(np.float32)
    whole = segment(sound, detector=EnergySpeechDetector())
    assert segment(sound, 0.0, cuts, EnergySpeechDetector()) == whole


def voice(length_s: float) -> SoundArray:
    """A buzz with harmonics, full scale, as a stand-in for a voice."""
    t = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return np.asarray(sum(np.sin(2 * math.pi * 140 * k * t) / k for k in range(1, 20)) / 3, "f4")


def noise(length_s: float, level: float) -> SoundArray:
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
def test_nan_and_infinity_count_as_zero(kind: str, silero: SileroSpeechDetector) -> None:
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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_out_of_memory_does_not_fall_back(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("silero_vad.load_silero_vad", fail)
    with pytest.raises(MemoryError):
        default_detector()


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


def decoded(path: Path) -> SoundArray:
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
    """silero-vad as loaded from its wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from silero_vad import load_silero_vad

        return load_silero_vad()


def library_says(model: Any, sound: SoundArray) -> list[float]:
    """Probabilities of silero-vad called as its documentation shows."""
    import torch

    model.reset_states()
    with torch.inference_mode():
        return [float(model(torch.from_numpy(f), SAMPLE_RATE_HZ)) for f in framed(sound)]


def framed(sound: SoundArray) -> SoundArray:
    """Whole frames [F, FRAME_SAMPLES]."""
    return sound[: sound.size - sound.size % FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)


@pytest.mark.parametrize("name", ["demo.mp4", "lrs3_closeup.mp4", "talk_surprise_zh.mp4"])
def test_batched_probabilities_equal_those_of_silero_vad(
    name: str, request: pytest.FixtureRequest, silero: SileroSpeechDetector, library: Any
) -> None:
    path = SAMPLE if name == SAMPLE.name else request.getfixturevalue("clips") / name
    sound = decoded(path)
    assert isinstance(silero._network, BatchedNetwork)
    expected = library_says(library, sound)
    assert max(expected) - min(expected) > 0.4  # else agreeing with it would say little
    frames, rng = framed(sound), np.random.default_rng(4)
    cuts = np.sort(rng.choice(np.arange(1, len(frames)), 12, replace=False))
    for parts in ([frames], np.split(frames, cuts)):
        silero.reset()
        found = [p for part in parts for p in silero.probabilities(part)]
        assert found == pytest.approx(expected, abs=5e-5)


class OtherSilero:
    """A silero-vad with the public interface, but other modules inside."""

    def __init__(self, model: Any, inside: object = None) -> None:
        self._whole = model
        if inside is not None:
            self._model = inside

    def __call__(self, frame: Any, rate_hz: int) -> Any:
        return self._whole(frame, rate_hz)

    def reset_states(self) -> None:
        self._whole.reset_states()


@pytest.mark.parametrize("inside", ["as expected", "nothing", "other context", "other numbers"])
def test_an_unknown_silero_vad_is_called_frame_by_frame(inside: str, library: Any) -> None:
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
        assert isinstance(network, BatchedNetwork if inside == "as expected" else FramewiseNetwork)
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
