"""Hostile tables, arrays and results: refused in one line before memory is taken."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from handmade import make_result
from small_runs import feature_file

from avsent.errors import BoundariesError, DatasetError, InputError
from avsent.extraction.utterances import boundaries
from avsent.extraction.utterances.boundaries import read_boundaries
from avsent.result.record import Result
from avsent.training.data import arrays, manifest
from avsent.training.data.arrays import load_arrays
from avsent.training.data.feature_files import CorpusOptions, FeatureCache, read_features
from avsent.training.data.manifest import read_manifest, read_table
from avsent.views.timeline import save_timeline


def test_a_character_reference_of_thousands_of_digits(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    reference = "&#" + "9" * 5000 + ";"
    path.write_text(f"WEBVTT\n\n00:00.000 --> 00:01.000\n{reference}\n")
    assert read_boundaries(path).segments[0].text == reference


def test_more_utterances_than_any_video_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundaries, "MAX_UTTERANCES", 3)
    path = tmp_path / "a.csv"
    path.write_text("start_s,end_s\n" + "1,2\n" * 4)
    with pytest.raises(BoundariesError, match="4 utterances, more than 3"):
        read_boundaries(path)


def test_a_table_with_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_ROWS", 2)
    path = tmp_path / "m.csv"
    path.write_text("video,label\n" + "a.mp4,x\n" * 3)
    with pytest.raises(DatasetError, match=r"m\.csv:4: more than 2 rows"):
        read_manifest(path)


def test_a_heading_of_thousands_of_columns(tmp_path: Path) -> None:
    """Each short row would else become as long as the heading."""
    path = tmp_path / "m.csv"
    path.write_text("video,label," + ",".join(f"c{n}" for n in range(9000)) + "\na.mp4,x\n")
    (row,) = read_table(path, needed=("video",), known=("video", "label"), example="")
    assert dict(row.cells) == {"video": "a.mp4", "label": "x"}


@pytest.mark.parametrize("name", ["../a.mp4", "sub/../../a.mp4", ".."])
def test_paths_in_a_manifest_stay_below_its_folder(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"video,label\n{name},x\n")
    with pytest.raises(
        DatasetError, match=r"m\.csv:2: video .* leads out of the manifest's folder"
    ):
        read_manifest(path)
    path.write_text("video,label\nsub/../a.mp4,x\n")
    assert read_manifest(path)[0].context == str(tmp_path / "a.mp4")


def array_file(path: Path, header: str, *, body: bytes = b"", packing: int = 0) -> Path:
    """An archive of one array with this header."""
    text = header.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", packing) as archive:
        array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body
        archive.writestr("a.npy", array)
    return path


def described(dtype: str, shape: str) -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "header",
    [
        described("'<f4'", "(1099511627776,)"),
        described("'|O'", "(1,)"),
        described("'|V0'", "(0, 9223372036854775808)"),
        described("'<f4'", "(-1,)"),
        described("'<f4'", "((((((1,"),
        "{'descr': '''",
        "[" * 110,
        "",
    ],
)
def test_arrays_with_false_headers(header: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"damaged or no \.npz file"):
        load_arrays(array_file(tmp_path / "a.npz", header))


def test_an_archive_that_unpacks_to_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "_ALWAYS_BYTES", 2**20)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in "abc":
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.zeros(200_000, np.float32))
    assert path.stat().st_size < 10_000
    with pytest.raises(DatasetError, match="larger than a file of this size may hold"):
        load_arrays(path)


def test_compression_that_numpy_does_not_use(tmp_path: Path) -> None:
    header = described("'<f4'", "(1,)")
    path = array_file(tmp_path / "a.npz", header, body=bytes(4), packing=zipfile.ZIP_LZMA)
    with pytest.raises(DatasetError, match="numpy does not use"):
        load_arrays(path)


@pytest.mark.parametrize("about", [[], {"duration_s": 10**400, "warnings": []}, {}, 5])
def test_a_damaged_cache_counts_as_missing(about: object, tmp_path: Path) -> None:
    saved = io.BytesIO()
    np.savez(saved, about=np.frombuffer(json.dumps(about).encode(), np.uint8))
    (tmp_path / "a.npz").write_bytes(saved.getvalue())
    cache = FeatureCache(CorpusOptions(cache=tmp_path))
    assert cache.load(tmp_path / "a.npz", 1) is None


def test_empty_offsets(tmp_path: Path) -> None:
    path = feature_file(tmp_path / "f.npz", speakers=2)
    arrays = {**load_arrays(path), "audio_offsets": np.zeros(0, np.int64)}
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match="no usable feature file"):
        read_features(path)


@pytest.mark.parametrize(
    ("key", "value"), [("duration_s", 1e300), ("duration_s", -2e9), ("tracks", [{"track": 1e300}])]
)
def test_a_result_with_numbers_out_of_range(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"result.{key}"):
        Result.from_dict({**make_result().to_dict(), key: value})


def test_very_long_names_are_drawn_short(tmp_path: Path) -> None:
    """They were made to fit letter by letter, each time measured anew."""
    plain = make_result(source="x" * 100_000).to_dict()
    plain["model"]["labels"][1] = "y" * 100_000
    for utterance in plain["utterances"]:
        utterance["probabilities"] = dict(
            zip(plain["model"]["labels"], utterance["probabilities"].values(), strict=True)
        )
    save_timeline(tmp_path / "t.svg", Result.from_dict(plain))
    assert (tmp_path / "t.svg").stat().st_size < 100_000


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 9000, "1" * 5000, "\ufeff{}", ""])
def test_json_that_is_too_deep_or_invalid(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(InputError, match=r"r\.json: is not JSON"):
        Result.load(tmp_path / "r.json")
