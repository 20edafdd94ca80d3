"""The journal of a batch: what was done with each file, in SQLite; and the lock of OUT.

A result is committed here before any output is written, so a batch that is killed at any moment
loses only the files it was working on. One process writes, under the lock, which the system
releases if it dies; others may read at the same time. Journals are untrusted input: whatever this
program would not have written is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import platform
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout

from avsent.batch.engines.base import FileResult
from avsent.batch.folders import SourceFile
from avsent.errors import InputError, OutputError
from avsent.files import prepare_folder
from avsent.labels import MODALITIES
from avsent.result import record
from avsent.result.writers import Format
from avsent.text import valid_utf8

if TYPE_CHECKING:
    from avsent.model.encoding import EncodedUtterance

FOLDER_NAME = ".avsent"
FILE_NAME = "journal.db"
VERSION = 2
_APPLICATION = 0x6176736E  # "avsn": tells file(1), and us, what it is
_BUSY_S = 30.0
_JSON = json.JSONDecoder()

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE files (
    name PRIMARY KEY,             -- relative to the folder; a blob where it is no UTF-8
    stem NOT NULL,                -- of its outputs, relative to OUT
    size INTEGER, mtime_ns INTEGER,
    duration_s REAL,
    content_sha256 TEXT, config_sha256 TEXT,    -- of what the state tells about
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,
    seconds REAL, utterances INTEGER,
    error TEXT, exit_code INTEGER,
    present INTEGER NOT NULL DEFAULT 1          -- in the folder when last looked
);
CREATE TABLE results (
    name PRIMARY KEY,
    result BLOB NOT NULL,         -- compressed JSON
    rows TEXT NOT NULL,           -- of the table of all utterances
    representations BLOB
);
CREATE TABLE outputs (
    name, format TEXT, size INTEGER NOT NULL,   -- of the file as it was written
    PRIMARY KEY (name, format)
);
"""
# SQLite keeps these texts, and another text is another version: they must not change.
_TABLES = sorted(table.strip() for table in _SCHEMA.split(";\n") if table.strip())


class FileState(StrEnum):
    """State of a file."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"


@dataclasses.dataclass(frozen=True, slots=True)
class JournalEntry:
    """One file as the journal knows it; ``seconds``: of work, in its last attempt."""

    name: str
    stem: str
    size: int | None
    mtime_ns: int | None
    duration_s: float | None
    content_sha256: str | None
    config_sha256: str | None
    state: FileState
    attempts: int
    seconds: float | None
    utterances: int | None
    error: str | None
    exit_code: int | None
    present: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """The result of a file as the journal keeps it; see
    :class:`avsent.batch.engines.base.FileResult`."""

    result: bytes
    rows: str
    representations: bytes | None = None

    def model_and_warnings(self) -> tuple[record.ModelInfo, tuple[str, ...]]:
        """Of the result, without parsing the attention between them, which is 100 times as long.
        Texts cannot contain these keys, as their quotation marks are escaped. Raises OutputError
        where it is damaged."""
        with damage_reported():
            text = _unzipped(self.result).decode("ascii")
            key, last = '"model": ', '"warnings": '
            model, _ = _JSON.raw_decode(text, text.index(key) + len(key))
            warnings, end = _JSON.raw_decode(text, text.rindex(last) + len(last))
            if text[end:] != "}":
                raise ValueError("warnings are not the last key")
            labels = tuple(map(str, model["labels"]))
            info = record.ModelInfo(str(model["name"]), str(model["sha256"]), labels)
            return info, tuple(map(str, warnings))

    def table_rows(self) -> list[list[record.Cell]]:
        """The rows of the table of all utterances. Raises OutputError where they are damaged."""
        with damage_reported():
            rows: list[list[record.Cell]] = json.loads(self.rows)
            _require(rows, list)
            for row in rows:
                # More columns than the table has without those of the labels.
                _require(row, list)
                if len(row) <= len(record.FIRST_COLUMNS) + len(record.LAST_COLUMNS):
                    raise ValueError("too few cells")
                for cell in row:
                    _require(cell, str, int, float, type(None))
            return rows

    def unpacked_representations(self) -> list[dict[str, Any]]:
        """Of each utterance: by modality, None where it is missing; under ``warnings`` those of the
        analysis, under ``audio_frames`` and ``face_frames`` pairs of time and weight. Raises
        OutputError where they are damaged."""
        if self.representations is None:
            return []
        with damage_reported():
            plain: list[dict[str, Any]] = json.loads(_unzipped(self.representations))
            return plain


class Journal:
    """An open journal; a context manager. Raises OutputError if it cannot be read or written, by
    any method."""

    def __init__(self, out: Path, *, write: bool) -> None:
        """Open OUT's journal; with ``write`` it is made where there is none."""
        self.path = out / FOLDER_NAME / FILE_NAME
        self._write = write
        with self._translated_errors():
            if write:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            elif not self.path.is_file():
                raise OutputError(f"{out}: holds no batch of avsent; give its -o folder")
            self._db = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
            try:
                self._prepare()
            except BaseException:
                self.close()
                raise

    def _prepare(self) -> None:
        ((version,),) = self._rows("PRAGMA user_version")
        ((application,),) = self._rows("PRAGMA application_id")
        if self._write and not version and not application and not self._schema():
            with self._transaction():
                for table in _TABLES:
                    self._db.execute(table)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {VERSION}")
        elif application != _APPLICATION or version != VERSION or self._schema() != _TABLES:
            raise OutputError(
                f"{self.path}: is of another version of avsent, or none of its journals; give "
                "another -o"
            )
        if self._write:
            # A power cut must not undo what was reported as done.
            self._db.execute("PRAGMA synchronous = FULL")

    def _schema(self) -> list[str]:
        """All definitions: besides our tables there must be no trigger and no view."""
        rows = self._rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")
        return sorted(sql for (sql,) in rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    # --- facts about the whole ---------------------------------------------------------------

    def fact(self, key: str) -> Any:
        """The value kept under ``key``; None if there is none."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", key)
        with self._checked():
            return json.loads(rows[0][0]) if rows else None

    def keep_fact(self, key: str, value: Any) -> None:
        """Keep JSON-ready ``value`` under ``key``."""
        with self._transaction():
            self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    # --- files -------------------------------------------------------------------------------

    def entries(self) -> list[JournalEntry]:
        """All files, in order of name."""
        rows = self._rows(f"SELECT {', '.join(JournalEntry.__slots__)} FROM files ORDER BY name")
        with self._checked():
            return [_entry_of(row) for row in rows]

    def survey(self, stems: Mapping[str, str]) -> None:
        """Record the files now in the folder, and the stems of their outputs.

        Called at the beginning of a run: files that an interrupted run left as running are pending
        again.
        """
        with self._transaction():
            self._db.execute("UPDATE files SET present = 0")
            self._db.executemany(
                "INSERT INTO files (name, stem, state) VALUES (?, ?, 'pending') "
                "ON CONFLICT (name) DO UPDATE SET present = 1",
                [(_key_of(name), _key_of(stem)) for name, stem in stems.items()],
            )
            self._db.execute("UPDATE files SET state = 'pending' WHERE state = 'running'")

    def measured(self, found: Iterable[tuple[SourceFile, float]]) -> None:
        """Record the stated durations of files, in seconds.

        Only pending files are updated; the facts of others belong to their result.
        """
        with self._transaction():
            self._db.executemany(
                "UPDATE files SET size = ?, mtime_ns = ?, duration_s = ? "
                "WHERE name = ? AND state = 'pending'",
                [(file.size, file.mtime_ns, s, _key_of(file.name)) for file, s in found],
            )

    def begin(self, name: str) -> None:
        """A worker has started the file, which has no valid result until it is done."""
        with self._transaction():
            self._db.execute(
                "UPDATE files SET state = 'running', attempts = attempts + 1 WHERE name = ?",
                (_key_of(name),),
            )

    def put_back(self, name: str) -> None:
        """The file was not processed, for a reason outside it; it is pending again."""
        with self._transaction():
            self._update(name, state="pending")

    def touch(self, file: SourceFile) -> None:
        """The file's size or time of change differs, but its result is still valid."""
        with self._transaction():
            self._update(file.name, state="done", size=file.size, mtime_ns=file.mtime_ns)

    def succeed(
        self, file: SourceFile, config_sha256: str, result: FileResult, seconds: float
    ) -> None:
        """Keep a result, and forget the outputs of an older one."""
        with self._transaction():
            self._end(
                *(file, "done", config_sha256, seconds),
                duration_s=result.duration_s,
                content_sha256=result.content_sha256,
                utterances=result.utterances,
            )
            self._db.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?)",
                (_key_of(file.name), result.result, result.rows, result.representations),
            )

    def fail(
        self, file: SourceFile, config_sha256: str, error: str, exit_code: int, seconds: float
    ) -> None:
        """Keep the error of a file, and forget its older result."""
        with self._transaction():
            # SQLite holds UTF-8 only; file names in the error may be none.
            facts = {"error": valid_utf8(error), "exit_code": exit_code}
            self._end(file, "failed", config_sha256, seconds, **facts)

    def _end(
        self, file: SourceFile, state: str, config_sha256: str, seconds: float, **facts: object
    ) -> None:
        """Record that the work on a file has ended; everything about an older result goes."""
        facts = dict.fromkeys(("content_sha256", "utterances", "error", "exit_code")) | facts
        facts |= {"state": state, "config_sha256": config_sha256, "seconds": seconds}
        self._update(file.name, size=file.size, mtime_ns=file.mtime_ns, **facts)
        for table in ("results", "outputs"):
            self._db.execute(f"DELETE FROM {table} WHERE name = ?", (_key_of(file.name),))

    def _update(self, name: str, **values: object) -> None:
        columns = ", ".join(f"{column} = ?" for column in values)
        self._db.execute(
            f"UPDATE files SET {columns} WHERE name = ?", (*values.values(), _key_of(name))
        )

    # --- results and their outputs -----------------------------------------------------------

    def stored(self, name: str) -> Stored:
        """The result of a file that is done."""
        query = "SELECT result, rows, representations FROM results WHERE name = ?"
        rows = self._rows(query, _key_of(name))
        if not rows:
            raise OutputError(
                f"{self.path}: damaged, it has lost a result; remove its folder to start anew"
            )
        stored = Stored(*rows[0])
        with self._checked():
            _require(stored.result, bytes)
            _require(stored.rows, str)
            _require(stored.representations, bytes, type(None))
        return stored

    def rewrite(self, name: str, result: bytes, rows: str) -> None:
        """Replace a result, and keep its representations."""
        with self._transaction():
            self._db.execute(
                "UPDATE results SET result = ?, rows = ? WHERE name = ?",
                (result, rows, _key_of(name)),
            )
            self._db.execute("DELETE FROM outputs WHERE name = ?", (_key_of(name),))

    def outputs(self) -> dict[tuple[str, str], int]:
        """Size of each output, by name of the file and format."""
        rows = self._rows("SELECT name, format, size FROM outputs")
        with self._checked():
            return {(_text_of(name), Format(format).value): size for name, format, size in rows}

    def wrote(self, name: str, sizes: Mapping[str, int]) -> None:
        """Record outputs of these formats and sizes as complete."""
        with self._transaction():
            self._db.executemany(
                "REPLACE INTO outputs VALUES (?, ?, ?)",
                [(_key_of(name), format, size) for format, size in sizes.items()],
            )

    # --- SQLite ------------------------------------------------------------------------------

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._translated_errors():
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated_errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # it may have been rolled back already
                    self._db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn errors of SQLite and the file system into one line that helps."""
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(f"{self.path}: {_advice(error)}") from error
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot write {self.path.parent}: {reason}") from error

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        """Values that this program never writes are damage."""
        try:
            yield
        except (ValueError, TypeError, RecursionError) as error:
            raise OutputError(f"{self.path}: damaged; remove its folder to start anew") from error


def packed(result: record.Result) -> tuple[bytes, str]:
    """A result, compressed, and its rows of the table of all utterances."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    return zlib.compress(text.encode("ascii")), json.dumps(list(result.cells()))


def result_of(stored: bytes) -> record.Result:
    """The result that :func:`packed` compressed. Raises OutputError where it is damaged."""
    with damage_reported():
        return record.Result.from_dict(json.loads(_unzipped(stored)))


def packed_representations(utterances: Sequence[EncodedUtterance]) -> bytes:
    """What a result lacks of its utterances: representations, warnings of the analysis, and the
    attention within them (a result has none for a modality that was not used)."""
    plain = [
        {
            "warnings": list(one.features.warnings),
            "audio_frames": [(frame.time_s, frame.weight) for frame in one.audio_frames],
            "face_frames": [(frame.time_s, frame.weight) for frame in one.face_frames],
            **{
                modality: None if (value := one.of(modality)) is None else value.tolist()
                for modality in MODALITIES
            },
        }
        for one in utterances
    ]
    return zlib.compress(json.dumps(plain).encode("ascii"))


def _unzipped(stored: bytes) -> bytes:
    """Decompress; zlib.error where the data are damaged, or far too large to be a result."""
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(stored, record.MAX_FILE_BYTES)
    if not unpacker.eof:
        raise zlib.error("cut off, or too large")
    return data


@contextlib.contextmanager
def damage_reported() -> Iterator[None]:
    """Turn what reading a result raises into OutputError: no batch has written that result."""
    try:
        yield
    except (ValueError, TypeError, LookupError, RuntimeError, zlib.error, InputError) as error:
        raise OutputError(
            "the journal is damaged: a result in it cannot be read; remove its folder .avsent to "
            "start anew"
        ) from error


def _entry_of(row: Sequence[Any]) -> JournalEntry:
    """An entry from a row; ValueError or TypeError for values that this program never writes."""
    name, stem, *facts = row
    for value, kinds in zip(facts, _KINDS, strict=True):
        _require(value, *kinds, type(None))
    entry = JournalEntry(_text_of(name), _text_of(stem), *facts)
    if not (_stays_below(entry.name) and _stays_below(entry.stem)):
        raise ValueError("a path that leads elsewhere")
    if not math.isfinite(entry.duration_s or 0.0) or entry.attempts is None:
        raise ValueError("a number out of range")
    return dataclasses.replace(entry, state=FileState(entry.state), present=bool(entry.present))


_NUMBER = (int, float)
_KINDS: tuple[tuple[type, ...], ...] = (  # of the columns of JournalEntry after name and stem
    *((int,), (int,), _NUMBER, (str,), (str,), (str,), (int,), _NUMBER),
    *((int,), (str,), (int,), (int,)),
)


def _require(value: object, *kinds: type) -> None:
    if not isinstance(value, kinds):
        raise TypeError("a value of another type")


def _stays_below(name: str) -> bool:
    """Whether ``name`` leads to a file below the folder that it is relative to."""
    return all(part not in ("", ".", "..") for part in name.split("/")) and "\0" not in name


def _key_of(name: str) -> str | bytes:
    """A file name as SQLite can hold it: text, or bytes where the name is no UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _text_of(key: str | bytes) -> str:
    _require(key, str, bytes)
    return os.fsdecode(key)


def _advice(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith("SQLITE_FULL"):
        return "the disk is full; free some space and run the same command again"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return "cannot be written; give another -o, or ask the owner of this one"
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return f"damaged ({error}); remove its folder to start anew"
    if code.startswith("SQLITE_BUSY"):
        return "is in use by another program; close that and run the same command again"
    return f"cannot be read or written ({error}); run the same command again"


LOCK_NAME = "lock"
HOLDER_NAME = "lock-holder"


@contextlib.contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Lock OUT inside the block. Raises OutputError if another batch holds the lock, or it cannot
    be written."""
    folder = out / FOLDER_NAME
    prepare_folder(folder)
    # One second, because --status takes the lock for a moment to see whether a batch is at work.
    lock = FileLock(folder / LOCK_NAME, timeout=1)
    holder = folder / HOLDER_NAME  # only for the message: the lock itself does not depend on it
    try:
        lock.acquire()
    except Timeout as error:
        text = ""
        with contextlib.suppress(OSError):
            text = holder.read_text(encoding="utf-8", errors="replace")
        by = f" ({text[:200]})" if text else ""
        raise OutputError(
            f"{out}: another batch is at work on it{by}; wait for it, or give another -o"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {folder}: {reason}") from error
    try:
        with contextlib.suppress(OSError):
            since = time.strftime("%Y-%m-%d %H:%M")
            text = f"process {os.getpid()} on {platform.node()} since {since}"
            holder.write_text(text, encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def is_held(out: Path) -> bool:
    """Whether a batch is at work on OUT, as far as one can tell without writing to it."""
    path = out / FOLDER_NAME / LOCK_NAME
    if not path.is_file():
        return False  # the lock would make it, and its folders
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, NotImplementedError):
        return True
    except OSError:
        return False
