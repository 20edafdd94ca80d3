"""The outputs of a batch: result files of each video, one table of all utterances, and a summary.

Tables and summary depend on the files, the model and the options alone: not on when, where or in
what order the files were processed.
"""

import contextlib
import csv
import dataclasses
import errno
import importlib.util
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from avsent.batch.journal import FOLDER_NAME, FileState, Journal, JournalEntry
from avsent.batch.plan import BatchConfig, json_sha256
from avsent.errors import OutputError
from avsent.files import atomic_path, atomic_text, prepare_folder
from avsent.result.record import (
    DECIMALS,
    FIRST_COLUMNS,
    LAST_COLUMNS,
    Cell,
    Result,
    column_names,
    valid_cell,
)
from avsent.result.writers import Format, make_writer
from avsent.result.writers.data import cell_text

CSV_NAME = "utterances.csv"
PARQUET_NAME = "utterances.parquet"
SUMMARY_NAME = "summary.json"
SCHEMA = "avsent-batch/1"
GROUP_ROWS = 50_000  # rows of Parquet written at once: memory does not grow with the table
_TABLES_KEY = "tables"
_SENTIMENT = FIRST_COLUMNS.index("sentiment")
_SCORE = FIRST_COLUMNS.index("score")
_UNSURE = LAST_COLUMNS.index("unsure") - len(LAST_COLUMNS)
_TYPES = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings", "unsure"), "string"),
    **dict.fromkeys(("index", "track"), "int32"),
    **dict.fromkeys(("audio_effective", "face_effective"), "bool"),
}
_DISK_ERRORS = frozenset(
    {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM}
)
"""Errors of a disk or a whole tree; others concern one name: too long, or not allowed there."""


@dataclasses.dataclass(frozen=True, slots=True)
class BatchResults:
    """All files of a batch: those done with ``config``, and those that failed with it."""

    done: tuple[JournalEntry, ...]
    failed: tuple[JournalEntry, ...]
    config: BatchConfig


def batch_results(journal: Journal, config: BatchConfig) -> BatchResults:
    """The files that are in the folder, and have a result or an error of this configuration."""
    valid = [e for e in journal.entries() if e.present and e.config_sha256 == config.digest()]
    return BatchResults(
        tuple(e for e in valid if e.state == FileState.done),
        tuple(e for e in valid if e.state == FileState.failed),
        config,
    )


def write_tables(out: Path, workshop: Path, journal: Journal, results: BatchResults) -> bool:
    """Write the tables and the summary; returns False if nothing changed since the last time.
    Raises OutputError if one cannot be written."""
    parquet = importlib.util.find_spec("pyarrow") is not None
    names = [CSV_NAME, SUMMARY_NAME, *([PARQUET_NAME] if parquet else [])]
    files = [out / name for name in names]
    content_sha256 = json_sha256(
        [
            sorted(names),
            results.config.digest(),
            [(entry.name, entry.content_sha256) for entry in results.done],
            [(entry.name, entry.error) for entry in results.failed],
        ]
    )
    if journal.fact(_TABLES_KEY) == [content_sha256, [*map(size_of, files)]]:
        return False
    journal.keep_fact(_TABLES_KEY, None)  # the files change from here on
    labels = results.config.model.labels
    sentiments: Counter[str] = Counter()
    score_sum, unsure = 0.0, 0
    with atomic_text(out / CSV_NAME, workshop) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(column_names(labels))
        for row in _rows(journal, results.done):
            sentiments[str(row[_SENTIMENT])] += 1
            score = row[_SCORE]
            score_sum += score if isinstance(score, float | int) else 0.0
            unsure += bool(row[_UNSURE])
            table.writerow([cell_text(cell) for cell in row])
    if parquet:
        write_parquet(out / PARQUET_NAME, workshop, labels, _rows(journal, results.done))
    else:
        with contextlib.suppress(OSError):
            (out / PARQUET_NAME).unlink(missing_ok=True)  # written when pyarrow was installed
    with atomic_text(out / SUMMARY_NAME, workshop) as file:
        summary = _summary(results, sentiments, score_sum, unsure)
        json.dump(summary, file, indent=2, allow_nan=False)
        file.write("\n")
    journal.keep_fact(_TABLES_KEY, [content_sha256, [*map(size_of, files)]])
    return True


def write_parquet(
    target: Path, workshop: Path, labels: tuple[str, ...], rows: Iterable[list[Cell]]
) -> None:
    """Write ``rows`` with the columns of CSV: text, numbers and booleans as such, null for what is
    unknown. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = column_names(labels)
    schema = pa.schema([(name, pa.type_for_alias(_TYPES.get(name, "double"))) for name in names])
    remaining = iter(rows)
    with atomic_path(target, workshop) as path, pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(remaining, GROUP_ROWS)):
            columns = zip(*([valid_cell(cell) for cell in row] for row in group), strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema))


def size_of(file: Path) -> int | None:
    """Size of a file: it shows which was cut short when the machine crashed; None without one."""
    return file.stat().st_size if os.path.isfile(file) else None


def _rows(journal: Journal, done: Sequence[JournalEntry]) -> Iterator[list[Cell]]:
    for entry in done:
        yield from journal.stored(entry.name).table_rows()


def _summary(
    results: BatchResults, sentiments: Counter[str], score_sum: float, unsure: int
) -> dict[str, Any]:
    utterances = sentiments.total()
    return {
        "schema": SCHEMA,
        "options": results.config.options(),
        "model": dataclasses.asdict(results.config.model),
        "files": {
            "done": len(results.done),
            "failed": len(results.failed),
            "without_utterances": sum(entry.utterances == 0 for entry in results.done),
        },
        "duration_s": round(sum(entry.duration_s or 0.0 for entry in results.done), DECIMALS),
        "utterances": utterances,
        "unsure": unsure,
        "sentiments": {label: sentiments[label] for label in results.config.model.labels},
        "mean_score": round(score_sum / utterances, DECIMALS) if utterances else None,
        "failures": [
            {"source": entry.name, "error": entry.error, "exit_code": entry.exit_code}
            for entry in results.failed
        ],
    }


class Outputs:
    """A result file in each format for each file that is done.

    The journal holds the size of each output: one that is gone, or was cut short when the machine
    crashed, is written again.
    """

    def __init__(self, out: Path, formats: Sequence[Format], journal: Journal) -> None:
        self._out = out
        self._writers = {format: make_writer(format) for format in formats}
        self._journal = journal
        self._written = journal.outputs()
        self.workshop = out / FOLDER_NAME / "tmp"

    def prepare(self) -> None:
        """Remove what a killed batch left half written. Raises OutputError."""
        with contextlib.suppress(OSError):
            shutil.rmtree(self.workshop)
        prepare_folder(self.workshop)

    def write(self, name: str, stem: str, result: Result) -> None:
        """Write the files of one result. Raises OutputError."""
        sizes = {}
        for format, writer in self._writers.items():
            target = self._target(stem, format)
            prepare_folder(target.parent)
            with atomic_text(target, self.workshop) as file:
                writer.write([result], file)
            sizes[format.value] = target.stat().st_size
        self._journal.wrote(name, sizes)

    def missing(self, stems: Mapping[str, str]) -> Iterable[str]:
        """The names of files, all of which are done, that lack an output."""
        for name, stem in stems.items():
            written = [self._written.get((name, format.value)) for format in self._writers]
            found = [size_of(self._target(stem, format)) for format in self._writers]
            if None in written or written != found:
                yield name

    def remove(self, name: str, stem: str) -> None:
        """Remove what earlier runs wrote, in any format, of a result that is no longer valid."""
        for written, format in self._written:
            if written == name:
                with contextlib.suppress(OSError):
                    self._target(stem, Format(format)).unlink(missing_ok=True)

    def _target(self, stem: str, format: Format) -> Path:
        writer = self._writers.get(format) or make_writer(format)
        return self._out / f"{stem}.{writer.extension}"


def concerns_all(error: OutputError) -> bool:
    """Whether the error of one output would hit all others, too."""
    cause = error.__cause__
    return not isinstance(cause, OSError) or cause.errno in _DISK_ERRORS


def check_out(out: Path) -> None:
    """Check before the work that OUT can hold a batch. Raises OutputError."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise OutputError(f"{out} is a file; give a folder with -o")
    prepare_folder(out)
