"""What a batch does where one output cannot be written, and what it refuses to write over."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from batching_batches import Batch, filled

from avsent.batch.news import Ended
from avsent.batch.tree import assign_stems
from avsent.errors import OutputError, UsageError
from avsent.writers import Format


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return filled(tmp_path)


def test_an_output_that_cannot_be_written_costs_its_own_file_only(batch: Batch) -> None:
    (batch.out / "a.mp4.json").mkdir(parents=True)
    report = batch.run()
    errors = {entry.name: entry.error or "" for entry in report.failures}
    assert set(errors) == {"a.mp4", "b.wav"}
    assert "a.mp4.json: Is a directory" in errors["a.mp4"]
    assert report.did == 2
    assert "sub/d.mp4.json" in batch.tree()
    (batch.out / "a.mp4.json").rmdir()
    assert batch.run(retry_failed=True).did == 1
    assert "a.mp4.json" in batch.tree()


def test_nor_does_one_that_cannot_be_written_again(batch: Batch) -> None:
    batch.run()
    (batch.out / "a.mp4.json").unlink()
    (batch.out / "a.mp4.json").mkdir()
    report = batch.run()
    assert [entry.name for entry in report.failures] == ["a.mp4", "b.wav"]
    assert b"a.mp4" not in batch.tree()["utterances.csv"]


def test_formats_of_an_older_result_do_not_stay(batch: Batch) -> None:
    batch.run(Format.json, Format.csv)
    batch.put("a.mp4", "5")
    batch.run(Format.json)
    names = set(batch.tree())
    assert "a.mp4.csv" not in names  # it would tell of what a.mp4 was
    assert "sub/c.mp4.csv" in names  # still true


def test_the_folder_itself_is_no_place_for_results(batch: Batch) -> None:
    batch.out = batch.media
    before = batch.tree()
    with pytest.raises(UsageError, match="give -o a folder of its own"):
        batch.run()
    assert batch.tree() == before


def test_results_of_another_folder_are_left_alone(batch: Batch, tmp_path: Path) -> None:
    batch.run()
    moved = tmp_path / "moved"
    batch.media.rename(moved)
    other = Batch(tmp_path)
    other.media = tmp_path / "other"
    other.put("a.mp4", "1")  # one name in common is chance
    with pytest.raises(UsageError, match="holds the results of another folder"):
        other.run()
    batch.media = moved
    assert batch.run().kept == 3
    assert batch.read == []


def test_all_renamed_in_the_same_folder_is_no_other_folder(batch: Batch) -> None:
    batch.run()
    for path in [path for path in batch.media.rglob("*") if path.is_file()]:
        path.rename(path.with_name(f"new-{path.name}"))
    assert batch.run().gone == 4


def test_a_damaged_journal_is_told_in_a_line(batch: Batch) -> None:
    import sqlite3

    batch.run()
    with sqlite3.connect(batch.out / ".avsent" / "journal.db") as database:
        database.execute("UPDATE results SET result = x'00'")
    (batch.out / "a.mp4.json").unlink()
    with pytest.raises(OutputError, match="the journal is damaged: a result in it"):
        batch.run()


def test_the_last_news_tells_how_it_ended(batch: Batch) -> None:
    batch.put("notes.txt", "none of this")
    batch.run()
    ended = Ended(3, 0, 1, 0, 5, 28.0, 1, 0, ())
    assert batch.news[-1] == ended
    batch.run()
    assert batch.news[-1] == dataclasses.replace(ended, did=0, kept=3)


def test_outputs_do_not_get_the_names_of_folders() -> None:
    names = ["talk.mp4", "talk.mp4.json/a.mp4", "TALK2.mp4", "talk2.mp4.CSV/b/c.mp4"]
    stems = assign_stems(names, {})
    assert stems["talk.mp4"] == "talk.mp4.2"
    assert stems["TALK2.mp4"] == "TALK2.mp4.2"
    assert stems["talk.mp4.json/a.mp4"] == "talk.mp4.json/a.mp4"
