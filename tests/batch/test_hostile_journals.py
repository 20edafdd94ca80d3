"""The journal of a batch that somebody else wrote: it leads nowhere, runs nothing."""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

import pytest
from handmade import make_result

from avsent.batch import packing
from avsent.batch.entries import Ending, State, Stored
from avsent.batch.journal import FILE_NAME, FOLDER_NAME, Journal
from avsent.batch.packing import packed, result_of, rows_of
from avsent.errors import OutputError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A batch of one file."""
    with Journal(tmp_path, write=True) as journal:
        journal.survey({"a.mp4": "a.mp4"})
        ending = Ending("a.mp4", State.done, "config", 1, 2, 3.0, content_sha256="content")
        journal.succeed(ending, Stored(*packed(make_result())))
        journal.keep_fact("options", {"adapt": "none"})
    return tmp_path


def change(out: Path, *statements: str) -> None:
    with sqlite3.connect(out / FOLDER_NAME / FILE_NAME) as db:
        db.execute("PRAGMA ignore_check_constraints = 1")
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize("column", ["name", "stem"])
@pytest.mark.parametrize(
    "value", ["'../up'", "'/etc/up'", "'a/../../up'", "'..'", "''", "'a'||char(0)", "7", "1e308"]
)
def test_names_lead_nowhere_else(column: str, value: str, out: Path) -> None:
    change(out, f"UPDATE files SET {column} = {value}")
    with Journal(out, write=True) as journal, pytest.raises(OutputError, match="damaged; remove"):
        journal.entries()


@pytest.mark.parametrize(
    "assignment",
    ["state = 'odd'", "size = 'much'", "duration_s = 9e999", "error = x'00'", "utterances = 'few'"],
)
def test_values_that_were_never_written(assignment: str, out: Path) -> None:
    change(out, f"UPDATE files SET {assignment}")
    with Journal(out, write=False) as journal, pytest.raises(OutputError, match="damaged; remove"):
        journal.entries()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER UPDATE ON files BEGIN DELETE FROM results; END",
        "CREATE VIEW v AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n FROM c) "
        "SELECT n FROM c",
        "ALTER TABLE files ADD COLUMN more TEXT",
        "DROP TABLE outputs",
    ],
)
def test_another_structure_is_refused(statement: str, out: Path) -> None:
    change(out, statement)
    for write in (False, True):
        with pytest.raises(OutputError, match="none of its journals"):
            Journal(out, write=write)


@pytest.mark.parametrize("value", ["'{'", "replace(hex(zeroblob(50000)), '0', '[')", "x'00'"])
def test_facts_that_are_no_json(value: str, out: Path) -> None:
    change(out, f"UPDATE meta SET value = {value}")
    with Journal(out, write=False) as journal, pytest.raises(OutputError, match="damaged; remove"):
        journal.fact("options")


def test_results_of_another_type(out: Path) -> None:
    change(out, "UPDATE results SET result = 'text'")
    with Journal(out, write=False) as journal, pytest.raises(OutputError, match="damaged; remove"):
        journal.stored("a.mp4")


def test_outputs_of_no_format(out: Path) -> None:
    change(out, "INSERT INTO outputs VALUES ('a.mp4', '../x', 1)")
    with Journal(out, write=False) as journal, pytest.raises(OutputError, match="damaged; remove"):
        journal.outputs()


@pytest.mark.parametrize("rows", ["{", "[" * 90_000, "5", "[[1]]", '[{"a": 1}]'])
def test_rows_that_are_none(rows: str) -> None:
    with pytest.raises(OutputError, match="damaged"):
        rows_of(rows)
    assert len(rows_of(packed(make_result())[1])) == 3


def test_a_result_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_RESULT_BYTES", 1000)
    with pytest.raises(OutputError, match="damaged"):
        result_of(zlib.compress(b" " * 1001))
    with pytest.raises(OutputError, match="damaged"):
        result_of(zlib.compress(b"[" * 900))
