"""Feature files and the feature cache: what is written is read, and no damage gets through."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as numpy_arrays
from numpy.typing import NDArray

from avsent.errors import DatasetError, OutputError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.face import FaceConfig
from avsent.extraction.features.voice import SIZE, AudioConfig
from avsent.extraction.utterances.segmentation import Segment
from avsent.options import FaceChoice
from avsent.training.data import feature_files
from avsent.training.data.arrays import load_arrays, pack_json, save_arrays
from avsent.training.data.corpus import ARRAYS, Corpus, Sample
from avsent.training.data.feature_files import (
    PARTS,
    CorpusOptions,
    FeatureCache,
    MediaFeatures,
    default_cache,
    faces_fit,
    read_features,
    voice_fits,
    write_features,
)

# --- feature files -------------------------------------------------------------------------------


CONFIG = FeatureConfig(audio=AudioConfig(mel_bands=3, floor_db=40.5))
finite = st.floats(-1e6, 1e6, width=32)


def maybe(
    shape: st.SearchStrategy[tuple[int, ...]],
) -> st.SearchStrategy[NDArray[np.float32] | None]:
    return st.none() | numpy_arrays(np.float32, shape, elements=finite)


def with_prosody(sample: Sample, seed: int) -> Sample:
    """``sample`` with what is known of its voice besides the spectrogram."""
    if sample.audio is None:
        return sample
    spoken = np.random.default_rng(seed).random(SIZE, dtype=np.float32)
    return dataclasses.replace(sample, prosody=spoken if seed % 3 else None)


def with_extras(sample: Sample, neutral: bool, pictures: bool, seed: int) -> Sample:
    """``sample`` with what is known of its face besides the landmarks."""
    if sample.face is None:
        return sample
    rng = np.random.default_rng(seed)
    looks = rng.integers(0, 256, (-(-len(sample.face) // 2), 48, 48)).astype(np.float32)
    return dataclasses.replace(
        sample,
        neutral=rng.random((51, 2), dtype=np.float32) if neutral else None,
        pictures=looks if pictures else None,
    )


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
    if raw_audio:
        samples = st.builds(with_prosody, samples, st.integers(0, 9))
    if raw_face:
        samples = st.builds(with_extras, samples, st.booleans(), st.booleans(), st.integers(0, 9))
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
def test_written_corpus_reads_back_the_same(corpus: Corpus, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_features(path, corpus)
    found = read_features(path)
    assert found.digest() == corpus.digest()
    assert (found.name, found.licence) == (corpus.name, corpus.licence)
    assert (found.vectors, found.features) == (corpus.vectors, corpus.features)
    for one, other in zip(found.samples, corpus.samples, strict=True):
        for field in ARRAYS:
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


def test_cut_or_flipped_bytes_are_detected(tmp_path: Path) -> None:
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
def test_inconsistent_feature_files_are_refused(
    name: str, value: NDArray[np.float32] | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.npz"
    write_features(path, example())
    held = load_arrays(path)
    del held[name]
    save_arrays(path, held if value is None else held | {name: value})
    with pytest.raises(DatasetError, match=rf"^[^\n]*x\.npz: [^\n]*{message}[^\n]*$"):
        read_features(path)


@pytest.mark.parametrize("later", [("prosody",), ("neutral", "pictures", "prosody")])
def test_older_files_without_all_fields_are_read(later: tuple[str, ...], tmp_path: Path) -> None:
    path, samples = tmp_path / "x.npz", []
    for index, sample in enumerate(example().samples):
        known = with_prosody(with_extras(sample, True, True, 1), 1 + index)
        samples.append(dataclasses.replace(known, **dict.fromkeys(later)))
    corpus = dataclasses.replace(example(), samples=tuple(samples))
    write_features(path, corpus)
    held = load_arrays(path)
    old = {name: held[name] for name in held if not name.startswith(later)}
    assert len(held) == len(old) + 3 * len(later)
    save_arrays(path, old)
    assert read_features(path).digest() == corpus.digest()


def test_the_digest_covers_the_prosody() -> None:
    samples = list(example().samples)
    found = set()
    for spoken in (None, np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)):
        samples[0] = dataclasses.replace(samples[0], prosody=spoken)
        found.add(dataclasses.replace(example(), samples=tuple(samples)).digest())
    assert len(found) == 3


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (0, {"neutral": np.zeros((50, 2))}),
        (0, {"neutral": np.zeros((1, 51, 2))}),
        (0, {"pictures": np.zeros((1, 48, 48))}),
        (0, {"pictures": np.zeros((2, 96, 96))}),
        (1, {"neutral": np.zeros((51, 2))}),  # it has no face
        (1, {"pictures": np.zeros((2, 48, 48))}),
    ],
)
def test_extras_that_do_not_fit_their_face(
    row: int, change: dict[str, NDArray[np.float64]], tmp_path: Path
) -> None:
    corpus = example()
    samples = list(corpus.samples)
    wrong = {name: value.astype(np.float32) for name, value in change.items()}
    samples[row] = dataclasses.replace(samples[row], **wrong)
    write_features(tmp_path / "x.npz", dataclasses.replace(corpus, samples=tuple(samples)))
    with pytest.raises(DatasetError, match=rf"pictures of a#{row} do not fit its face"):
        read_features(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("change", "shape"),
    [
        ({}, (SIZE - 1,)),
        ({}, (SIZE + 1,)),
        ({}, (1, SIZE)),
        ({"audio": None}, (SIZE,)),  # it has no voice
    ],
)
def test_prosody_that_does_not_fit_its_voice(
    change: dict[str, None], shape: tuple[int, ...], tmp_path: Path
) -> None:
    corpus = example()
    samples = list(corpus.samples)
    wrong = np.zeros(shape, dtype=np.float32)
    samples[2] = dataclasses.replace(samples[2], prosody=wrong, **change)
    write_features(tmp_path / "x.npz", dataclasses.replace(corpus, samples=tuple(samples)))
    with pytest.raises(DatasetError, match="the prosody of a#2 does not fit its voice"):
        read_features(tmp_path / "x.npz")


def test_vectors_have_no_prosody(tmp_path: Path) -> None:
    spoken = np.zeros(SIZE, dtype=np.float32)
    sample = Sample("a", "a", audio=np.zeros(4, dtype=np.float32), prosody=spoken)
    write_features(tmp_path / "x.npz", Corpus("x", (sample,), {"audio": 4}))
    with pytest.raises(DatasetError, match="the prosody of a does not fit its voice"):
        read_features(tmp_path / "x.npz")


def test_python_objects_and_false_sizes_are_refused(tmp_path: Path) -> None:
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


# --- the feature cache ---------------------------------------------------------------------------


SETTINGS = CorpusOptions(FeatureConfig(), FaceChoice.speaking)


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, dtype=np.float32)


KEPT = MediaFeatures(
    audio=(2 * ones(64, 20), None),
    face=(None, 3 * ones(5, 51, 2)),
    neutral=(None, 4 * ones(51, 2)),
    pictures=(None, 200 * ones(3, 48, 48)),
    prosody=(np.arange(SIZE, dtype=np.float32), None),
    duration_s=3.5,
    warnings=("a warning",),
)
"""A voice without a face, and a face without a voice."""


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(dataclasses.replace(SETTINGS, cache=tmp_path))


def test_cached_features_come_back(cache: FeatureCache) -> None:
    place = cache.folder / "x.npz"
    assert cache.load(place, 2) is None
    cache.save(place, KEPT)
    loaded = cache.load(place, 2)
    assert loaded is not None
    for name in PARTS:
        for found, was in zip(getattr(loaded, name), getattr(KEPT, name), strict=True):
            assert (found is None) == (was is None)
            if was is not None:
                assert found.dtype == np.float32
                np.testing.assert_array_equal(found, was)
    assert (loaded.duration_s, loaded.warnings) == (3.5, ("a warning",))
    assert cache.load(place, 3) is None


def test_damage_to_a_cache_file_is_detected(cache: FeatureCache) -> None:
    place = cache.folder / "x.npz"
    cache.save(place, KEPT)
    whole = place.read_bytes()
    for cut in range(0, len(whole), 97):
        place.write_bytes(whole[:cut])
        assert cache.load(place, 2) is None
    for at in (0, len(whole) // 3, len(whole) - 30):
        place.write_bytes(whole[:at] + b"\xff\x00\xff" + whole[at + 3 :])
        assert cache.load(place, 2) is None


WRONG: list[tuple[str, tuple[int, ...]]] = [
    *(("audio", shape) for shape in ((63, 20), (64,), (64, 0), (1, 64, 20))),
    *(("prosody", shape) for shape in ((SIZE - 1,), (SIZE + 1,), (1, SIZE), (SIZE, 1), (0,))),
    *(("face", shape) for shape in ((5, 50, 2), (5, 51), (0, 51, 2), (4, 51, 2))),
    *(("neutral", shape) for shape in ((50, 2), (51,), (1, 51, 2))),
    *(("pictures", shape) for shape in ((2, 48, 48), (5, 48, 48), (3, 96, 96), (3, 48))),
]


@pytest.mark.parametrize(("name", "shape"), WRONG)
def test_cached_shapes_that_do_not_fit(
    cache: FeatureCache, name: str, shape: tuple[int, ...]
) -> None:
    place = cache.folder / "x.npz"
    voice = name in ("audio", "prosody")
    items = (ones(*shape), None) if voice else (None, ones(*shape))
    cache.save(place, dataclasses.replace(KEPT, **{name: items}))
    assert cache.load(place, 2) is None


@pytest.mark.parametrize("name", PARTS)
def test_cached_values_that_are_not_finite(cache: FeatureCache, name: str) -> None:
    place = cache.folder / "x.npz"
    for wrong in (np.nan, np.inf):
        items = tuple(
            None if item is None else np.full_like(item, wrong) for item in getattr(KEPT, name)
        )
        cache.save(place, dataclasses.replace(KEPT, **{name: items}))
        assert cache.load(place, 2) is None


@pytest.mark.parametrize("name", ["neutral", "pictures", "prosody"])
def test_optional_parts_of_cached_features(cache: FeatureCache, name: str) -> None:
    place = cache.folder / "x.npz"
    cache.save(place, dataclasses.replace(KEPT, **{name: (None, None)}))
    plain = cache.load(place, 2)
    assert plain is not None
    assert getattr(plain, name) == (None, None)
    cache.save(place, dataclasses.replace(KEPT, **{name: ()}))
    assert cache.load(place, 2) is None


def test_shapes_that_belong_together() -> None:
    assert voice_fits(ones(64, 1), None, 64)
    assert voice_fits(ones(32, 9), ones(SIZE), 32)
    assert not voice_fits(ones(64, 9), ones(SIZE), 32)
    assert faces_fit(ones(5, 51, 2), None, ones(3, 48, 48), 51)
    assert not faces_fit(ones(5, 51, 2), None, None, 50)


def test_the_name_of_a_cache_file_depends_on_content_and_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium, model, other = (tmp_path / name for name in ("a.mp4", "model.dat", "other.dat"))
    for number, path in enumerate((medium, model, other)):
        path.write_bytes(bytes([number]))
    segments = [Segment(0.0, 1.0)]

    def place(settings: CorpusOptions = SETTINGS, segments: list[Segment] = segments) -> Path:
        return FeatureCache(dataclasses.replace(settings, cache=tmp_path)).place(medium, segments)

    slow = FeatureConfig(face=FaceConfig(analysis_rate_hz=5.0))
    places = [
        place(),
        place(dataclasses.replace(SETTINGS, features=slow)),
        place(dataclasses.replace(SETTINGS, face=FaceChoice.largest)),
        place(dataclasses.replace(SETTINGS, landmarks=model)),
        place(dataclasses.replace(SETTINGS, landmarks=other)),
        place(segments=[Segment(0.0, 1.5)]),
    ]
    assert place() == places[0]
    medium.write_bytes(b"changed")
    places.append(place())
    monkeypatch.setattr(feature_files, "FEATURE_VERSION", feature_files.FEATURE_VERSION + 1)
    places.append(place())
    assert len(set(places)) == len(places)
    with pytest.raises(DatasetError, match=r"gone\.dat: cannot be read .*check --landmarks"):
        FeatureCache(dataclasses.replace(SETTINGS, landmarks=tmp_path / "gone.dat"))


def test_the_default_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AVSENT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if os.name == "posix":
        assert default_cache() == tmp_path / ".cache" / "avsent"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache().is_absolute()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_cache() == tmp_path / "x" / "avsent"
    monkeypatch.setenv("AVSENT_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
