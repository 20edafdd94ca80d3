"""RAVDESS as landmarks and sound, of which the shipped models are made."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import RAVDESS, needs_ravdess

from avsent.errors import DatasetError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.voice import AudioConfig, audio_features
from avsent.extraction.media.audio import HighPass
from avsent.labels import EMOTIONS
from avsent.progress import Progress
from avsent.training.data.arrays import load_arrays, save_arrays
from avsent.training.data.feature_files import CorpusOptions
from recipes.ravdess import FULL_SCALE, cached_ravdess, ravdess_corpus, read_ravdess


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips of actors 1 and 2, one of them surprised, in the form of the whole."""
    folder = tmp_path_factory.mktemp("ravdess")
    held = load_arrays(RAVDESS / "landmarks.npz")
    starts = np.concatenate([[0], np.cumsum(held["n_frames"])])
    chosen = [
        int(np.flatnonzero((held["actor"] == actor) & (held["emotion"] == emotion))[-1])
        for actor, emotion in ((1, 1), (1, 3), (1, 8), (2, 2), (2, 5), (2, 7))
    ]
    whole = held.pop("landmarks")
    landmarks = [whole[starts[index] : starts[index + 1]] for index in chosen]
    few_arrays = {name: array[chosen] for name, array in held.items()}
    save_arrays(folder / "landmarks.npz", few_arrays | {"landmarks": np.concatenate(landmarks)})
    (folder / "audio").mkdir()
    for clip_id in few_arrays["clip_id"]:
        shutil.copy(RAVDESS / "audio" / f"{clip_id}.flac", folder / "audio")
    return folder


@needs_ravdess
def test_ravdess_clips_become_samples(few: Path, tmp_path: Path) -> None:
    options, steps = CorpusOptions(cache=tmp_path), list[Progress]()
    corpus = ravdess_corpus(few, options, steps.append)
    done_s = [step.completed for step in steps]
    assert done_s == sorted(set(done_s))
    assert (done_s[0], len(done_s)) == (0, 6)
    assert steps[0].total is not None
    assert 6 * 2 < steps[0].total < 6 * 6  # clips of 3 to 5 s
    emotions = [EMOTIONS[number - 1] for number in (1, 3, 8, 2, 5, 7)]
    polarity = ["neutral", "positive", "", "neutral", "negative", "negative"]
    assert [s.labels["emotion"] for s in corpus.samples] == emotions
    assert [s.labels["label"] for s in corpus.samples] == emotions
    assert [s.labels["sentiment"] for s in corpus.samples] == polarity
    assert [s.speaker for s in corpus.samples] == ["actor01"] * 3 + ["actor02"] * 3
    assert len({s.video for s in corpus.samples}) == 6  # each clip is its own context
    assert {s.text for s in corpus.samples} <= {
        "Kids are talking by the door",
        "Dogs are sitting by the door",
    }
    assert corpus.licence == "CC BY-NC-SA 4.0"
    assert corpus.features == FeatureConfig()
    for clip, sample in zip(read_ravdess(few), corpus.samples, strict=True):
        assert clip.face is not None
        np.testing.assert_array_equal(sample.audio, clip.mel_power)
        assert clip.sound is not None
        assert sample.prosody is not None
        np.testing.assert_array_equal(sample.prosody, clip.prosody)
        # The sound is what the features were made of, rounded to 16 bits.
        heard = audio_features(clip.sound, 0.0)
        assert heard is not None
        assert heard.prosody is not None
        np.testing.assert_allclose(heard.prosody, clip.prosody, rtol=0.05, atol=0.1)
        np.testing.assert_array_equal(sample.face, clip.face.landmarks)
        assert sample.neutral is not None
        assert clip.face.neutral is not None
        np.testing.assert_array_equal(sample.neutral, clip.face.neutral)
        middle = np.median(clip.face.landmarks, axis=0)  # the neutral is that of the whole clip
        assert np.abs(sample.neutral - middle).max() < 0.2
        assert sample.audio is not None
        assert sample.audio.dtype == np.float32

    steps.clear()
    again = ravdess_corpus(few, options, steps.append)
    assert (again.digest(), steps) == (corpus.digest(), [])
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-500])  # damaged: made anew
    again = ravdess_corpus(few, options, steps.append)
    assert (again.digest(), len(steps)) == (corpus.digest(), 6)


@needs_ravdess
def test_the_ravdess_cache_keeps_the_sound_of_a_clip(few: Path, tmp_path: Path) -> None:
    read = cached_ravdess(few, tmp_path)
    kept = cached_ravdess(few, tmp_path)
    assert len(read) == len(kept) == 6
    for one, other in zip(read, kept, strict=True):
        assert (one.clip_id, one.actor, one.emotion) == (other.clip_id, other.actor, other.emotion)
        for name in ("mel_power", "prosody", "speech", "sound"):
            assert getattr(one, name) is not None
            assert getattr(one, name).dtype == getattr(other, name).dtype
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert one.speech is not None
        assert one.sound is not None
        assert (one.speech.dtype, one.sound.dtype) == (np.int16, np.float32)
        whole, rate_hz = soundfile.read(few / "audio" / f"{one.clip_id}.flac", dtype="float32")
        assert rate_hz == 16_000
        whole = HighPass()(whole)
        # Its speech alone.
        window = np.lib.stride_tricks.sliding_window_view(whole, 64)
        apart = np.abs(window - one.sound[:64]).max(axis=1)
        first = int(apart.argmin())
        np.testing.assert_allclose(
            one.sound, whole[first : first + len(one.sound)], atol=1 / FULL_SCALE
        )


@needs_ravdess
def test_the_ravdess_cache_depends_on_data_and_settings(few: Path, tmp_path: Path) -> None:
    """Not the features of other clips, nor those of other settings."""
    some = tmp_path / "some"
    shutil.copytree(few, some)
    cache = tmp_path / "cache"
    first = ravdess_corpus(some, CorpusOptions(cache=cache))
    config = FeatureConfig(audio=AudioConfig(mel_bands=32))
    narrow = ravdess_corpus(some, CorpusOptions(cache=cache, features=config))
    assert narrow.samples[0].audio is not None
    assert narrow.samples[0].audio.shape[0] == 32
    held = load_arrays(some / "landmarks.npz")
    save_arrays(some / "landmarks.npz", held | {"emotion": held["emotion"][::-1]})
    assert ravdess_corpus(some, CorpusOptions(cache=cache)).digest() != first.digest()
    (some / "audio" / f"{held['clip_id'][0]}.flac").unlink()
    with pytest.raises(DatasetError, match=r"\.flac: cannot be read"):
        ravdess_corpus(some, CorpusOptions(cache=cache))
    save_arrays(some / "landmarks.npz", held | {"n_frames": held["n_frames"] + 1})
    with pytest.raises(DatasetError, match="do not fit each other"):
        ravdess_corpus(some, CorpusOptions(cache=cache))
