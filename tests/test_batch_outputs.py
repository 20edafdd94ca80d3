"""The mirrored tree of results, and what is left over in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from batching_results import NO_UTF8, journal_of, results
from handmade import make_result

from avsent.batch.journal import Journal
from avsent.batch.outputs import Outputs, check_out
from avsent.errors import OutputError
from avsent.results import Result
from avsent.writers import Format

STEMS = {"a.mp4": "a.mp4", "z/我.mp4": "z/我.mp4", NO_UTF8: NO_UTF8}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with journal_of(tmp_path, [results()[name] for name in STEMS]) as journal:
        yield journal


def write_all(out: Path, journal: Journal, *formats: Format) -> list[str]:
    """Write what is missing, as a batch does that goes on; gives the names."""
    outputs = Outputs(out, formats, journal)
    outputs.prepare()
    missing = list(outputs.missing(STEMS))
    for name in missing:
        outputs.write(name, STEMS[name], results()[name])
    return missing


def tree(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and ".avsent" not in path.parts
    }


def test_missing_and_truncated_files_are_written_again(tmp_path: Path, journal: Journal) -> None:
    assert write_all(tmp_path, journal, Format.json, Format.srt) == list(STEMS)
    whole = tree(tmp_path)
    assert set(whole) == {f"{stem}.{end}" for stem in STEMS.values() for end in ("json", "srt")}
    assert Result.from_dict(json.loads(whole["a.mp4.json"])).source == "a.mp4"
    assert list((tmp_path / ".avsent" / "tmp").iterdir()) == []
    assert write_all(tmp_path, journal, Format.srt, Format.json) == []

    (tmp_path / "z" / "我.mp4.srt").unlink()
    (tmp_path / f"{NO_UTF8}.json").write_bytes(whole[f"{NO_UTF8}.json"][:-1])
    assert write_all(tmp_path, journal, Format.json, Format.srt) == ["z/我.mp4", NO_UTF8]
    assert tree(tmp_path) == whole
    # What was asked for once and is not now is left alone.
    (tmp_path / "a.mp4.srt").unlink()
    assert write_all(tmp_path, journal, Format.json) == []


def test_a_new_format_beside_the_old(tmp_path: Path, journal: Journal) -> None:
    write_all(tmp_path, journal, Format.json)
    before = tree(tmp_path)
    assert write_all(tmp_path, journal, Format.json, Format.csv, Format.table) == list(STEMS)
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {"a.mp4.csv", "a.mp4.txt"} <= set(after)
    assert len(after) == 9


def test_what_a_killed_batch_left_over(tmp_path: Path, journal: Journal) -> None:
    workshop = tmp_path / ".avsent" / "tmp"
    (workshop / "sub").mkdir(parents=True)
    (workshop / ".avsent-0123.tmp").write_bytes(b"half")
    write_all(tmp_path, journal, Format.json)
    assert list(workshop.iterdir()) == []


def test_outputs_of_a_file_that_fails_now_are_removed(tmp_path: Path, journal: Journal) -> None:
    write_all(tmp_path, journal, *Format)
    assert len(tree(tmp_path)) == len(STEMS) * len(Format)
    Outputs(tmp_path, [Format.json], journal).remove("a.mp4", STEMS["a.mp4"])
    assert not [name for name in tree(tmp_path) if name.startswith("a.mp4")]
    assert len(tree(tmp_path)) == (len(STEMS) - 1) * len(Format)


def test_a_result_that_cannot_be_written(tmp_path: Path, journal: Journal) -> None:
    outputs = Outputs(tmp_path, [Format.json], journal)
    outputs.prepare()
    (tmp_path / "z").touch()
    with pytest.raises(OutputError, match="cannot make the folder"):
        outputs.write("z/我.mp4", "z/我.mp4", make_result())
    (tmp_path / "a.mp4.json").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.mp4\.json: Is a directory"):
        outputs.write("a.mp4", "a.mp4", make_result())
    assert journal.outputs() == {}
    assert list((tmp_path / ".avsent" / "tmp").iterdir()) == []


def test_places_for_a_batch(tmp_path: Path) -> None:
    check_out(tmp_path / "new" / "folder")
    check_out(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    for name, message in [
        ("file", "is a file; give a folder with -o"),
        ("file/sub", "cannot make the folder"),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(OutputError, match=message) as told:
            check_out(tmp_path / name)
        assert "\n" not in str(told.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "new"]
