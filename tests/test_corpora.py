"""Every form of training data ends as the same kind of corpus, or as one clear line."""

from __future__ import annotations

import contextlib
import io
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from numpy.typing import NDArray

from avsent.data.corpus import Corpus, Sample
from avsent.data.feature_files import read_features, write_features
from avsent.data.npz import load_arrays, save_arrays
from avsent.data.open_corpus import CorpusOptions, open_corpus
from avsent.data.packing import pack_json
from avsent.data.ravdess import read_ravdess
from avsent.errors import DatasetError, OutputError
from avsent.features.audio import AudioConfig
from avsent.features.config import FeatureConfig
from avsent.labels import EMOTIONS
from avsent.progress import Progress

MOSI = SHARED / "data" / "mosi" / "mosi_utterance.npz"
RAVDESS = SHARED / "data" / "ravdess"
MELD = SHARED / "data" / "text"

needs_mosi = pytest.mark.skipif(not MOSI.is_file(), reason="no ../shared/data/mosi")
needs_ravdess = pytest.mark.skipif(not RAVDESS.is_dir(), reason="no ../shared/data/ravdess")
needs_meld = pytest.mark.skipif(not MELD.is_dir(), reason="no ../shared/data/text")

# --- CMU-MOSI ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mosi() -> Corpus:
    return open_corpus(MOSI)


@needs_mosi
def test_mosi_as_published(mosi: Corpus) -> None:
    assert len(mosi.samples) == 2199
    assert len({sample.video for sample in mosi.samples}) == 93
    assert Counter(sample.split for sample in mosi.samples) == {"train": 1447, "test": 752}
    tested = Counter(s.labels["label"] for s in mosi.samples if s.split == "test")
    assert sorted(tested.values()) == [285, 467]
    assert mosi.vectors == {"audio": 73, "face": 100, "text": 100}
    assert mosi.features is None
    videos = {
        split: {s.video for s in mosi.samples if s.split == split} for split in ("train", "test")
    }
    assert (len(videos["train"]), len(videos["test"])) == (62, 31)
    assert not videos["train"] & videos["test"]


@needs_mosi
def test_mosi_rows_are_in_the_order_of_speech(mosi: Corpus) -> None:
    with np.load(MOSI) as data:
        rows = {str(name): index for index, name in enumerate(data["utt_id"])}
        held = {name: data[name] for name in ("audio", "video", "text", "sentiment", "label")}
        said = data["transcript"]
    order = [(s.video, int(s.key.rpartition("_")[2])) for s in mosi.samples]
    assert order == sorted(order)
    assert order != sorted(order, key=str)  # 10 comes after 9
    for sample in mosi.samples:
        row = rows[sample.key]
        np.testing.assert_array_equal(sample.audio, held["audio"][row])
        np.testing.assert_array_equal(sample.face, held["video"][row])
        np.testing.assert_array_equal(sample.words, held["text"][row])
        assert np.float32(sample.labels["sentiment"]) == held["sentiment"][row]
        assert sample.labels["label"] == ("negative", "positive")[held["label"][row]]
        assert sample.text == said[row]
        assert sample.speaker == sample.video


@needs_mosi
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("audio", lambda a: a[:, :, None], "audio has the wrong shape"),
        ("audio", lambda a: a[1:], "audio has the wrong shape"),
        ("text", lambda a: a * np.nan, "text holds values that are not finite"),
        ("label", lambda a: a + 1, "a label is neither 0 nor 1"),
        ("label", lambda a: a.astype(str), "label has the wrong type"),
        ("transcript", lambda a: None, "lacks the array 'transcript'"),
        ("bclstm_split", lambda a: None, "neither a feature file of avsent nor CMU-MOSI's"),
    ],
)
def test_mosi_that_was_changed(name: str, change: object, message: str, tmp_path: Path) -> None:
    held = load_arrays(MOSI)
    changed = change(held.pop(name))  # type: ignore[operator]
    save_arrays(tmp_path / "x.npz", held if changed is None else held | {name: changed})
    with pytest.raises(DatasetError, match=rf"x\.npz: {message}"):
        open_corpus(tmp_path / "x.npz")


# --- RAVDESS, as landmarks and sound -------------------------------------------------------------


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
    corpus = open_corpus(few, options=options, on_progress=steps.append)
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
        np.testing.assert_array_equal(sample.face, clip.face.landmarks)
        assert sample.audio is not None
        assert sample.audio.dtype == np.float32

    steps.clear()
    again = open_corpus(few, options=options, on_progress=steps.append)
    assert (again.digest(), steps) == (corpus.digest(), [])
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-500])  # damaged: made anew
    again = open_corpus(few, options=options, on_progress=steps.append)
    assert (again.digest(), len(steps)) == (corpus.digest(), 6)


@needs_ravdess
def test_the_cache_knows_data_and_settings(few: Path, tmp_path: Path) -> None:
    """Not the features of other clips, nor those of other settings."""
    some = tmp_path / "some"
    shutil.copytree(few, some)
    cache = tmp_path / "cache"
    first = open_corpus(some, options=CorpusOptions(cache=cache))
    config = FeatureConfig(audio=AudioConfig(mel_bands=32))
    narrow = open_corpus(some, options=CorpusOptions(cache=cache, features=config))
    assert narrow.samples[0].audio is not None
    assert narrow.samples[0].audio.shape[0] == 32
    held = load_arrays(some / "landmarks.npz")
    save_arrays(some / "landmarks.npz", held | {"emotion": held["emotion"][::-1]})
    assert open_corpus(some, options=CorpusOptions(cache=cache)).digest() != first.digest()
    (some / "audio" / f"{held['clip_id'][0]}.flac").unlink()
    with pytest.raises(DatasetError, match=r"\.flac: cannot be read"):
        open_corpus(some, options=CorpusOptions(cache=cache))
    save_arrays(some / "landmarks.npz", held | {"n_frames": held["n_frames"] + 1})
    with pytest.raises(DatasetError, match="do not fit each other"):
        open_corpus(some, options=CorpusOptions(cache=cache))


# --- feature files -------------------------------------------------------------------------------

CONFIG = FeatureConfig(audio=AudioConfig(mel_bands=3, floor_db=40.5))
finite = st.floats(-1e6, 1e6, width=32)


def maybe(
    shape: st.SearchStrategy[tuple[int, ...]],
) -> st.SearchStrategy[NDArray[np.float32] | None]:
    return st.none() | numpy_arrays(np.float32, shape, elements=finite)


@st.composite
def corpora(draw: st.DrawFn) -> Corpus:
    raw_audio, raw_face = draw(st.booleans()), draw(st.booleans())
    audio = st.tuples(st.just(3), st.integers(1, 6)) if raw_audio else st.just((4,))
    face = st.tuples(st.integers(1, 3), st.just(51), st.just(2)) if raw_face else st.just((5,))
    has_words = draw(st.booleans())
    text = st.text(max_size=8)
    samples = st.builds(
        Sample,
        key=text,
        video=text,
        speaker=text,
        split=st.sampled_from(("", "train", "valid", "test")),
        labels=st.dictionaries(text, text, max_size=2),
        text=text,
        audio=maybe(audio),
        face=maybe(face),
        words=maybe(st.just((2,))) if has_words else st.none(),
    )
    sizes = {"audio": 0 if raw_audio else 4, "face": 0 if raw_face else 5, "text": 2 * has_words}
    return Corpus(
        draw(text),
        tuple(draw(st.lists(samples, max_size=4))),
        {name: size for name, size in sizes.items() if size},
        CONFIG if raw_audio or raw_face else None,
        draw(text),
    )


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(corpus=corpora())
def test_what_is_written_is_read(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_features(path, corpus)
    found = read_features(path)
    assert found.digest() == corpus.digest()
    assert (found.name, found.licence) == (corpus.name, corpus.licence)
    assert (found.vectors, found.features) == (corpus.vectors, corpus.features)
    for one, other in zip(found.samples, corpus.samples, strict=True):
        for field in ("audio", "face", "words"):
            held, was = getattr(one, field), getattr(other, field)
            assert (held is None) == (was is None)
            assert held is None or (held.dtype == np.float32 and np.array_equal(held, was))
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def example() -> Corpus:
    generator = np.random.default_rng(0)
    samples = tuple(
        Sample(
            f"a#{index}",
            "a",
            labels={"label": "happy"},
            audio=generator.random((3, 20 + index), dtype=np.float32),
            face=None if index == 1 else generator.random((4, 51, 2), dtype=np.float32),
        )
        for index in range(3)
    )
    return Corpus("example", samples, features=CONFIG)


def test_no_cut_or_flipped_byte_gets_through_unseen(tmp_path: Path) -> None:
    path, bad = tmp_path / "x.npz", tmp_path / "bad.npz"
    write_features(path, example())
    whole = path.read_bytes()
    for cut in range(0, len(whole), 61):
        bad.write_bytes(whole[:cut])
        with pytest.raises(DatasetError, match=r"bad\.npz: "):
            read_features(bad)
    harmless = 0
    for at in range(0, len(whole), 29):
        bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(DatasetError):
            assert read_features(bad).digest() == example().digest()
            harmless += 1  # a date, or a field that nobody reads
    assert harmless < len(whole) // 29 // 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("header", None, "neither a feature file of avsent"),
        ("header", pack_json({"format": "avsent-features/2"}), "its format is not"),
        ("header", pack_json([]), "its format is not"),
        ("header", np.frombuffer(b"[" * 100_000, np.uint8), "no usable feature file"),
        ("samples", pack_json([]), "as many texts as features"),
        ("samples", pack_json([["a"]] * 3), "no usable feature file"),
        ("samples", pack_json([["a", "a", "", "", 7, {}]] * 3), "7 is no text"),
        ("audio", None, "lacks the array 'audio'"),
        ("audio", np.zeros(5, dtype=np.float32), "the offsets of audio are wrong"),
        ("audio", np.zeros(189, dtype=np.float64), "audio has the wrong type"),
        ("audio", np.full(189, np.inf, dtype=np.float32), "not finite"),
        ("audio_offsets", np.zeros(4, dtype=np.int64), "the offsets of audio are wrong"),
        ("audio_offsets", np.array([0, 189, 60, 189]), "the offsets of audio are wrong"),
        ("audio_shapes", np.full((3, 3), 4), "no usable feature file"),
        ("audio_shapes", np.full((3, 3), -1), "a shape of audio is wrong"),
        ("audio_shapes", np.full((2, 3), 4), "audio has the wrong shape"),
        ("audio_shapes", np.array([[20, 3, -1], [3, 21, -1], [3, 22, -1]]), "has the shape"),
    ],
)
def test_feature_files_that_make_no_sense(
    name: str, value: NDArray[np.float32] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    write_features(path, example())
    held = load_arrays(path)
    del held[name]
    save_arrays(path, held if value is None else held | {name: value})
    with pytest.raises(DatasetError, match=rf"^[^\n]*x\.npz: [^\n]*{message}[^\n]*$"):
        read_features(path)


def test_archives_that_lie(tmp_path: Path) -> None:
    """Python objects are refused, and a stated size is no reason to take memory."""
    path = tmp_path / "x.npz"
    np.savez(path, header=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match="holds Python objects"):
        load_arrays(path)
    stated = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stated, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", stated.getvalue() + b"1234")
    with pytest.raises(DatasetError, match="states another size than it has"):
        load_arrays(path)
    np.savez(path, header=np.asfortranarray(np.arange(6.0).reshape(2, 3)), empty=np.zeros((0, 2)))
    held = load_arrays(path)
    np.testing.assert_array_equal(held["header"], [[0, 1, 2], [3, 4, 5]])
    assert held["empty"].shape == (0, 2)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    path.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*x\.npz"):
        write_features(path, example())
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("name", ["gone.npz", "gone", "empty.npz", "folder", "text.npz"])
def test_what_is_no_corpus(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=rf"{name}: [^\n]*; "):
        open_corpus(tmp_path / name)
