"""Features kept between runs: what is kept is found again, and nothing damaged or of others is."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.extraction.features.config import FeatureConfig
from avsent.extraction.features.face import FaceConfig
from avsent.extraction.features.voice import SIZE
from avsent.extraction.utterances.segmentation import Segment
from avsent.options import FaceChoice
from avsent.training.data import feature_cache
from avsent.training.data.feature_cache import (
    PARTS,
    FeatureCache,
    MediaFeatures,
    Settings,
    default_cache,
    faces_fit,
    voice_fits,
)

SETTINGS = Settings(FeatureConfig(), FaceChoice.speaking)


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
    return FeatureCache(tmp_path, SETTINGS)


def test_what_is_kept_comes_back(cache: FeatureCache) -> None:
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


def test_damage_of_any_kind_is_seen(cache: FeatureCache) -> None:
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
def test_shapes_that_do_not_fit(cache: FeatureCache, name: str, shape: tuple[int, ...]) -> None:
    place = cache.folder / "x.npz"
    voice = name in ("audio", "prosody")
    items = (ones(*shape), None) if voice else (None, ones(*shape))
    cache.save(place, dataclasses.replace(KEPT, **{name: items}))
    assert cache.load(place, 2) is None


@pytest.mark.parametrize("name", PARTS)
def test_what_is_no_number_does_not_come_back(cache: FeatureCache, name: str) -> None:
    place = cache.folder / "x.npz"
    for wrong in (np.nan, np.inf):
        items = tuple(
            None if item is None else np.full_like(item, wrong) for item in getattr(KEPT, name)
        )
        cache.save(place, dataclasses.replace(KEPT, **{name: items}))
        assert cache.load(place, 2) is None


@pytest.mark.parametrize("name", ["neutral", "pictures", "prosody"])
def test_what_may_be_missing(cache: FeatureCache, name: str) -> None:
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


def test_everything_that_decides_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium, model, other = (tmp_path / name for name in ("a.mp4", "model.dat", "other.dat"))
    for number, path in enumerate((medium, model, other)):
        path.write_bytes(bytes([number]))
    segments = [Segment(0.0, 1.0)]

    def place(settings: Settings = SETTINGS, segments: list[Segment] = segments) -> Path:
        return FeatureCache(tmp_path, settings).place(medium, segments)

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
    monkeypatch.setattr(feature_cache, "FEATURE_VERSION", feature_cache.FEATURE_VERSION + 1)
    places.append(place())
    assert len(set(places)) == len(places)
    with pytest.raises(DatasetError, match=r"gone\.dat: cannot be read .*check --landmarks"):
        FeatureCache(tmp_path, dataclasses.replace(SETTINGS, landmarks=tmp_path / "gone.dat"))


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
