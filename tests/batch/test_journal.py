"""The journal of a batch: what it keeps, and which files it refuses."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from batching import source_file
from handmade import make_result

from avsent.batch.engines.base import FileResult
from avsent.batch.folders import SourceFile
from avsent.batch.journal import (
    FILE_NAME,
    FOLDER_NAME,
    VERSION,
    FileState,
    Journal,
    JournalEntry,
    Stored,
    packed,
    result_of,
)
from avsent.errors import OutputError

NO_UTF8 = os.fsdecode(b"sub/caf\xe9.mp4")
NAMES = {"a.mp4": "a.mp4", "我 b\n.mp4": "c.2", NO_UTF8: f"{NO_UTF8}.2", "1": "1"}


def done(name: str, number: int = 1) -> tuple[SourceFile, str, FileResult, float]:
    result = FileResult(
        content_sha256=f"content {number}",
        duration_s=60.25,
        utterances=7,
        result=b"\0\1result",
        rows='[["row", null, 0.5]]',
        representations=bytes([number]),
    )
    return source_file(name, 10 * number, 2**62 + number), "config", result, 0.5


def failed(name: str) -> tuple[SourceFile, str, str, int, float]:
    return source_file(name, 5, -6), "config", f"{name}: not media", 3, 0.25


def stored(name: str, number: int = 1) -> Stored:
    result = done(name, number)[2]
    return Stored(result.result, result.rows, result.representations)


def by_name(journal: Journal) -> dict[str, JournalEntry]:
    return {entry.name: entry for entry in journal.entries()}


def file_of(out: Path) -> Path:
    return out / FOLDER_NAME / FILE_NAME


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A batch of which one file is done."""
    with Journal(tmp_path, write=True) as journal:
        journal.survey(NAMES)
        journal.succeed(*done("a.mp4"))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_everything_comes_back(tmp_path: Path, name: str) -> None:
    with Journal(tmp_path, write=True) as journal:
        journal.survey(NAMES)
        assert [e.state for e in journal.entries()] == [FileState.pending] * 4
        journal.begin(name)
        journal.succeed(*done(name))
        journal.wrote(name, {"json": 12, "csv": 3})
        journal.keep_fact("options", {"rate": None, "name": "é"})
    with Journal(tmp_path, write=True) as journal:
        file, config_sha256, result, seconds = done(name)
        assert by_name(journal)[name] == JournalEntry(
            name=name,
            stem=NAMES[name],
            size=file.size,
            mtime_ns=file.mtime_ns,
            duration_s=result.duration_s,
            content_sha256=result.content_sha256,
            config_sha256=config_sha256,
            state=FileState.done,
            attempts=1,
            seconds=seconds,
            utterances=result.utterances,
            error=None,
            exit_code=None,
            present=True,
        )
        assert journal.stored(name) == stored(name)
        assert journal.outputs() == {(name, "json"): 12, (name, "csv"): 3}
        assert journal.fact("options") == {"rate": None, "name": "é"}
        assert journal.fact("nothing") is None

        journal.touch(source_file(name, 11, 12))
        entry = by_name(journal)[name]
        assert (entry.size, entry.mtime_ns, entry.content_sha256) == (11, 12, "content 1")
        journal.rewrite(name, b"other", "[]")
        assert journal.stored(name) == Stored(b"other", "[]", result.representations)
        assert journal.outputs() == {}

        journal.wrote(name, {"json": 1})
        journal.succeed(*done(name))
        assert journal.outputs() == {}
        journal.wrote(name, {"json": 1})
        journal.begin(name)
        journal.fail(*failed(name))
        entry = by_name(journal)[name]
        assert (entry.state, entry.exit_code, entry.attempts) == (FileState.failed, 3, 2)
        assert (entry.content_sha256, entry.utterances) == (None, None)
        assert entry.error == f"{name}: not media".replace("\udce9", "\\udce9")
        assert journal.outputs() == {}
        with pytest.raises(OutputError, match="lost a result"):
            journal.stored(name)
        assert {e.state for n, e in by_name(journal).items() if n != name} == {FileState.pending}


def test_surveying_a_folder_again(out: Path) -> None:
    with Journal(out, write=True) as journal:
        journal.begin("1")
        journal.begin(NO_UTF8)
        journal.put_back(NO_UTF8)
        assert by_name(journal)["1"].state == FileState.running
    with Journal(out, write=True) as journal:
        journal.survey({"1": "another", "a.mp4": "a.mp4", "new": "new"})
        entries = by_name(journal)
    assert {name for name, entry in entries.items() if entry.present} == {"1", "a.mp4", "new"}
    assert entries["1"].stem == "1"  # as it was
    assert {name for name, entry in entries.items() if entry.state == FileState.done} == {"a.mp4"}
    assert FileState.running not in {entry.state for entry in entries.values()}
    assert (entries["1"].attempts, entries[NO_UTF8].attempts, entries["new"].attempts) == (1, 1, 0)
    with Journal(out, write=True) as journal:
        journal.survey(NAMES)
        assert by_name(journal)[NO_UTF8].present
        assert not by_name(journal)["new"].present


def test_durations_of_files_that_wait(out: Path) -> None:
    with Journal(out, write=True) as journal:
        journal.measured([(source_file(name, 3, 4), 5.5) for name in (NO_UTF8, "a.mp4")])
        waiting, kept = by_name(journal)[NO_UTF8], by_name(journal)["a.mp4"]
        assert (waiting.size, waiting.mtime_ns, waiting.duration_s) == (3, 4, 5.5)
        assert (kept.size, kept.duration_s) == (10, 60.25)
        journal.fail(*failed(NO_UTF8))
        assert by_name(journal)[NO_UTF8].duration_s == 5.5


def test_others_may_read_while_one_writes(out: Path) -> None:
    with Journal(out, write=True) as writer, Journal(out, write=False) as reader:
        for number, name in enumerate(NAMES):
            writer.begin(name)
            assert by_name(reader)[name].state == FileState.running
            writer.succeed(*done(name, number))
            assert by_name(reader)[name].content_sha256 == f"content {number}"


# Damaged and foreign journals


def test_damaged_or_foreign_files(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER_NAME
    folder.mkdir()
    for content in (b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 9000):
        file_of(tmp_path).write_bytes(content)
        for write in (True, False):
            with pytest.raises(OutputError, match=r"damaged .*remove its folder") as error:
                Journal(tmp_path, write=write)
            assert "\n" not in str(error.value)
        assert file_of(tmp_path).read_bytes() == content
    file_of(tmp_path).unlink()
    with sqlite3.connect(file_of(tmp_path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    for write in (True, False):
        with pytest.raises(OutputError, match="none of its journals; give another -o"):
            Journal(tmp_path, write=write)
    file_of(tmp_path).unlink()
    file_of(tmp_path).mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        Journal(tmp_path, write=True)


def test_damage_inside(out: Path) -> None:
    with Journal(out, write=True) as journal:
        journal.survey({f"{n:05}.mp4": "x" for n in range(3000)})
    content = bytearray(file_of(out).read_bytes())
    for start in range(4096, len(content) - 600, 4096):
        content[start : start + 600] = b"\xff" * 600
    file_of(out).write_bytes(content)
    with (
        pytest.raises(OutputError, match=r"journal.db: damaged") as error,
        Journal(out, write=False) as journal,
    ):
        journal.entries()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("version", [1, VERSION + 1])
def test_another_version(out: Path, version: int) -> None:
    with sqlite3.connect(file_of(out)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    with pytest.raises(OutputError, match="another version of avsent"):
        Journal(out, write=True)


def test_no_journal_to_read(tmp_path: Path) -> None:
    for out in (tmp_path, tmp_path / "no", tmp_path / ("x" * 300)):
        with pytest.raises(OutputError) as error:
            Journal(out, write=False)
        assert "\n" not in str(error.value)
        assert not os.path.exists(out / FOLDER_NAME)
    with pytest.raises(OutputError, match="holds no batch of avsent; give its -o folder"):
        Journal(tmp_path, write=False)
    (tmp_path / FOLDER_NAME).touch()  # a file in the way
    with pytest.raises(OutputError, match=r"cannot write .*File exists"):
        Journal(tmp_path, write=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folders_that_cannot_be_written(out: Path) -> None:
    file_of(out).chmod(0o400)
    file_of(out).parent.chmod(0o500)
    try:
        with Journal(out, write=False) as reader:
            assert len(reader.entries()) == 4
        with (
            pytest.raises(OutputError, match="cannot be written"),
            Journal(out, write=True) as journal,
        ):
            journal.survey(NAMES)
        with pytest.raises(OutputError, match="Permission denied"):
            Journal(out / FOLDER_NAME / "new", write=True)
    finally:
        file_of(out).parent.chmod(0o700)


def test_a_full_disk_loses_nothing(out: Path) -> None:
    with Journal(out, write=True) as journal:
        pages = journal._rows("PRAGMA page_count")[0][0]
        journal._rows(f"PRAGMA max_page_count = {pages + 2}")
        file, config_sha256, result, seconds = done("1")
        large = dataclasses.replace(result, result=os.urandom(100_000))
        journal.begin("1")
        with pytest.raises(OutputError, match="the disk is full; free some space") as error:
            journal.succeed(file, config_sha256, large, seconds)
        assert "\n" not in str(error.value)
        journal.put_back("1")
        assert by_name(journal)["1"].state == FileState.pending
    with Journal(out, write=True) as journal:
        assert by_name(journal)["a.mp4"].state == FileState.done
        assert journal.stored("a.mp4") == stored("a.mp4")
        journal.succeed(*done("1"))
        assert journal.stored("1") == stored("1")


def test_a_transaction_that_raises_changes_nothing(out: Path) -> None:
    with Journal(out, write=True) as journal:
        before = journal.entries()
        file, config_sha256, result, seconds = done("1")
        broken = dataclasses.replace(result, result=None)  # type: ignore[arg-type]
        with pytest.raises(OutputError):
            journal.succeed(file, config_sha256, broken, seconds)
        assert journal.entries() == before


WRITER = """
import sys
import zlib
from pathlib import Path
from avsent.batch.engines.base import FileResult
from avsent.batch.folders import SourceFile
from avsent.batch.journal import Journal
from test_journal import done
with Journal(Path(sys.argv[1]), write=True) as journal:
    journal.survey({str(n): str(n) for n in range(3000)})
    for number in range(3000):
        journal.begin(str(number))
        journal.succeed(*done(str(number), number % 256))
        print(number, flush=True)
"""


def test_a_killed_process_loses_nothing_it_reported(tmp_path: Path) -> None:
    here = Path(__file__)
    path = os.pathsep.join(str(folder) for folder in (*here.parents[1:3], here.parent))
    environment = {**os.environ, "PYTHONPATH": path}
    for killed_after in (3, 40, 41):
        shutil.rmtree(tmp_path / FOLDER_NAME, ignore_errors=True)
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writing:
            assert writing.stdout is not None
            for _ in range(killed_after):
                reported = int(writing.stdout.readline())
            writing.kill()
            rest = writing.stdout.read().splitlines()
        assert writing.returncode == -signal.SIGKILL
        reported = max([reported, *map(int, rest)])
        with Journal(tmp_path, write=True) as journal:
            entries = by_name(journal)
            for number in range(reported + 1):
                assert entries[str(number)].state == FileState.done
                assert journal.stored(str(number)) == stored(str(number), number % 256)
            assert sum(entry.state == FileState.done for entry in entries.values()) <= reported + 2


def test_a_journal_without_tables_is_made_anew(tmp_path: Path) -> None:
    """As a process leaves it that was killed in its first moment."""
    file_of(tmp_path).parent.mkdir()
    file_of(tmp_path).touch()
    with Journal(tmp_path, write=True) as journal:
        assert journal.entries() == []


def test_an_unusable_journal_is_closed(tmp_path: Path) -> None:
    """Python 3.13 complains about connections that are left open."""
    (tmp_path / FOLDER_NAME).mkdir()
    file_of(tmp_path).write_bytes(b"no database" * 500)
    with pytest.raises(OutputError) as error:
        Journal(tmp_path, write=True)
    assert str(file_of(tmp_path)) not in {file.path for file in psutil.Process().open_files()}
    assert str(error.value)  # which keeps what was alive where it was raised


# --- the journal of a batch that somebody else wrote ---------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A batch of one file."""
    with Journal(tmp_path, write=True) as journal:
        journal.survey({"a.mp4": "a.mp4"})
        result = FileResult("content", 3.0, 1, *packed(make_result()))
        journal.succeed(SourceFile("a.mp4", tmp_path / "a.mp4", 1, 2), "config", result, 3.0)
        journal.keep_fact("options", {"adapt": "none"})
    return tmp_path


def change(foreign: Path, *statements: str) -> None:
    with sqlite3.connect(file_of(foreign)) as db:
        db.execute("PRAGMA ignore_check_constraints = 1")
        for statement in statements:
            db.execute(statement)
    db.close()


@pytest.mark.parametrize("column", ["name", "stem"])
@pytest.mark.parametrize(
    "value", ["'../up'", "'/etc/up'", "'a/../../up'", "'..'", "''", "'a'||char(0)", "7", "1e308"]
)
def test_paths_in_a_journal_stay_below_its_folder(column: str, value: str, foreign: Path) -> None:
    change(foreign, f"UPDATE files SET {column} = {value}")
    with (
        Journal(foreign, write=True) as journal,
        pytest.raises(OutputError, match="damaged; remove"),
    ):
        journal.entries()


@pytest.mark.parametrize(
    "assignment",
    ["state = 'odd'", "size = 'much'", "duration_s = 9e999", "error = x'00'", "utterances = 'few'"],
)
def test_journal_values_that_avsent_never_writes(assignment: str, foreign: Path) -> None:
    change(foreign, f"UPDATE files SET {assignment}")
    with (
        Journal(foreign, write=False) as journal,
        pytest.raises(OutputError, match="damaged; remove"),
    ):
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
def test_a_journal_with_another_schema_is_refused(statement: str, foreign: Path) -> None:
    change(foreign, statement)
    for write in (False, True):
        with pytest.raises(OutputError, match="none of its journals"):
            Journal(foreign, write=write)


@pytest.mark.parametrize("value", ["'{'", "replace(hex(zeroblob(50000)), '0', '[')", "x'00'"])
def test_journal_facts_that_are_no_json(value: str, foreign: Path) -> None:
    change(foreign, f"UPDATE meta SET value = {value}")
    with (
        Journal(foreign, write=False) as journal,
        pytest.raises(OutputError, match="damaged; remove"),
    ):
        journal.fact("options")


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE results SET result = 'text'", lambda journal: journal.stored("a.mp4")),
        ("INSERT INTO outputs VALUES ('a.mp4', '../x', 1)", Journal.outputs),
    ],
)
def test_results_of_another_type_and_outputs_of_an_unknown_format(
    statement: str, read: Callable[[Journal], object], foreign: Path
) -> None:
    change(foreign, statement)
    with (
        Journal(foreign, write=False) as journal,
        pytest.raises(OutputError, match="damaged; remove"),
    ):
        read(journal)


@pytest.mark.parametrize("rows", ["{", "[" * 90_000, "5", "[[1]]", '[{"a": 1}]'])
def test_journal_rows_that_are_no_rows(rows: str) -> None:
    with pytest.raises(OutputError, match="damaged"):
        Stored(b"", rows).table_rows()
    assert len(Stored(*packed(make_result())).table_rows()) == 3


def test_a_result_that_unpacks_to_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avsent.result.record.MAX_FILE_BYTES", 1000)
    with pytest.raises(OutputError, match="damaged"):
        result_of(zlib.compress(b" " * 1001))
    with pytest.raises(OutputError, match="damaged"):
        result_of(zlib.compress(b"[" * 900))
