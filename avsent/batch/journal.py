"""The journal of a batch: what was done with each file, in SQLite.

A result is committed here before any file shows it, so that a batch that is killed at any moment
loses only the files it was working on. One process writes; others may read at the same time.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from avsent.batch.entries import Ending, Entry, Stored
from avsent.batch.journal_rows import entry_of, key_of, line_of, text_of
from avsent.errors import OutputError
from avsent.result.writers import Format

FOLDER_NAME = ".avsent"
FILE_NAME = "journal.db"
VERSION = 1
_APPLICATION = 0x6176736E  # "avsn": tells file(1), and us, what it is
_BUSY_S = 30.0

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


class Journal:
    """An open journal; a context manager.

    Raises:
        OutputError: it cannot be read or written, by any method.
    """

    def __init__(self, out: Path, *, write: bool) -> None:
        """Open OUT's journal; with ``write`` it is made where there is none."""
        self.path = out / FOLDER_NAME / FILE_NAME
        self._write = write
        with self._told():
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
        version = self._one("PRAGMA user_version")
        application = self._one("PRAGMA application_id")
        if self._write and not version and not application and not self._tables():
            with self._transaction():
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {VERSION}")
        elif application != _APPLICATION or version != VERSION or not self._is_ours():
            raise OutputError(
                f"{self.path}: is of another version of avsent, or none of its journals; give "
                "another -o"
            )
        if self._write:
            # A power cut must not take back what was said to be done.
            self._db.execute("PRAGMA synchronous = FULL")

    def _is_ours(self) -> bool:
        """Whether there are our tables and nothing else: a trigger or a view could do anything."""
        found = self._db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
        ours = [part.strip() for part in _SCHEMA.split(";\n") if part.strip()]
        return sorted(sql for (sql,) in found) == sorted(ours)

    def _tables(self) -> int:
        return int(self._one("SELECT count(*) FROM sqlite_master"))

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
        """What was kept under ``key``; None for nothing."""
        with self._told():
            value = self._one("SELECT value FROM meta WHERE key = ?", key)
        try:
            return None if value is None else json.loads(value)
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged() from error

    def keep_fact(self, key: str, value: Any) -> None:
        """Keep JSON-ready ``value`` under ``key``."""
        with self._told(), self._transaction():
            self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))

    # --- files -------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All files, in order of name."""
        columns = ", ".join(Entry.__slots__)
        with self._told():
            rows = self._db.execute(f"SELECT {columns} FROM files ORDER BY name").fetchall()
        try:
            return [entry_of(list(row)) for row in rows]
        except (ValueError, TypeError) as error:
            raise self._damaged() from error

    def survey(self, stems: Mapping[str, str]) -> None:
        """Take stock at the beginning of a run: the files now in the folder, and their stems.

        Those that an earlier run was at when it died are pending again.
        """
        with self._told(), self._transaction():
            self._db.execute("UPDATE files SET present = 0")
            self._db.executemany(
                "INSERT INTO files (name, stem, state) VALUES (?, ?, 'pending') "
                "ON CONFLICT (name) DO UPDATE SET present = 1",
                [(key_of(name), key_of(stem)) for name, stem in stems.items()],
            )
            self._db.execute("UPDATE files SET state = 'pending' WHERE state = 'running'")

    def begin(self, name: str) -> None:
        """A worker has taken the file; it has no valid result until it is done."""
        self._change(name, "state = 'running', attempts = attempts + 1")

    def put_back(self, name: str) -> None:
        """The file was not done, and not for its own fault."""
        self._change(name, "state = 'pending'")

    def measured(self, found: Iterable[tuple[str, int, int, float]]) -> None:
        """How long files of such a name, size and time of change say they are. Only of those
        that are pending: of others, what the journal knows belongs to their result."""
        with self._told(), self._transaction():
            self._db.executemany(
                "UPDATE files SET size = ?, mtime_ns = ?, duration_s = ? "
                "WHERE name = ? AND state = 'pending'",
                [(size, mtime, seconds, key_of(name)) for name, size, mtime, seconds in found],
            )

    def succeed(self, ending: Ending, stored: Stored) -> None:
        """Keep a result, and forget what outputs of an older one were written."""
        with self._told(), self._transaction():
            self._end(ending)
            self._db.execute(
                "REPLACE INTO results VALUES (?, ?, ?, ?)",
                (key_of(ending.name), stored.result, stored.rows, stored.representations),
            )
            self._db.execute("DELETE FROM outputs WHERE name = ?", (key_of(ending.name),))

    def fail(self, ending: Ending) -> None:
        """Keep why a file has no result, and forget one of its older content."""
        with self._told(), self._transaction():
            self._end(ending)
            self._db.execute("DELETE FROM results WHERE name = ?", (key_of(ending.name),))
            self._db.execute("DELETE FROM outputs WHERE name = ?", (key_of(ending.name),))

    def touch(self, name: str, size: int, mtime_ns: int) -> None:
        """The file looks otherwise, but what was done still holds."""
        with self._told(), self._transaction():
            self._db.execute(
                "UPDATE files SET state = 'done', size = ?, mtime_ns = ? WHERE name = ?",
                (size, mtime_ns, key_of(name)),
            )

    def _end(self, ending: Ending) -> None:
        self._db.execute(
            "UPDATE files SET size = ?, mtime_ns = ?, duration_s = coalesce(?, duration_s), "
            "content_sha256 = ?, config_sha256 = ?, state = ?, seconds = ?, utterances = ?, "
            "error = ?, exit_code = ? WHERE name = ?",
            (
                *(ending.size, ending.mtime_ns, ending.duration_s),
                *(ending.content_sha256, ending.config_sha256, ending.state.value),
                *(ending.seconds, ending.utterances, line_of(ending.error), ending.exit_code),
                key_of(ending.name),
            ),
        )

    def _change(self, name: str, assignment: str) -> None:
        with self._told(), self._transaction():
            self._db.execute(f"UPDATE files SET {assignment} WHERE name = ?", (key_of(name),))

    # --- results and what was written of them ------------------------------------------------

    def stored(self, name: str) -> Stored:
        """The result of a file that is done."""
        query = "SELECT result, rows, representations FROM results WHERE name = ?"
        with self._told():
            row = self._db.execute(query, (key_of(name),)).fetchone()
        if row is None:
            raise OutputError(
                f"{self.path}: damaged, it has lost a result; remove its folder to start anew"
            )
        result, rows, representations = row
        if not (isinstance(result, bytes) and isinstance(rows, str)):
            raise self._damaged()
        if not isinstance(representations, bytes | None):
            raise self._damaged()
        return Stored(result, rows, representations)

    def _damaged(self) -> OutputError:
        return OutputError(f"{self.path}: damaged; remove its folder to start anew")

    def rewrite(self, name: str, result: bytes, rows: str) -> None:
        """Exchange a result, and keep what it was made from."""
        with self._told(), self._transaction():
            self._db.execute(
                "UPDATE results SET result = ?, rows = ? WHERE name = ?",
                (result, rows, key_of(name)),
            )
            self._db.execute("DELETE FROM outputs WHERE name = ?", (key_of(name),))

    def outputs(self) -> dict[tuple[str, str], int]:
        """Size of what was written, by name of the file and format."""
        with self._told():
            rows = self._db.execute("SELECT name, format, size FROM outputs").fetchall()
        try:
            return {(text_of(name), Format(format).value): size for name, format, size in rows}
        except (ValueError, TypeError) as error:
            raise self._damaged() from error

    def wrote(self, name: str, sizes: Mapping[str, int]) -> None:
        """Outputs of these formats and sizes are complete."""
        with self._told(), self._transaction():
            self._db.executemany(
                "REPLACE INTO outputs VALUES (?, ?, ?)",
                [(key_of(name), format, size) for format, size in sizes.items()],
            )

    # --- SQLite ------------------------------------------------------------------------------

    def _one(self, query: str, *values: object) -> Any:
        row = self._db.execute(query, values).fetchone()
        return None if row is None else row[0]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # it may have been rolled back already
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what SQLite and the file system say into one line that helps."""
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(f"{self.path}: {_advice(error)}") from error
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"cannot write {self.path.parent}: {reason}") from error


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
