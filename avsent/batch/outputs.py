"""What a batch tells about all files together: one table of all utterances, and a summary.

Both depend on the files, the model and the options alone: not on when, where or in what order
the files were done.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import errno
import hashlib
import importlib.util
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from avsent.batch.config import BatchConfig
from avsent.batch.journal import FOLDER_NAME, Entry, Journal, State, rows_of
from avsent.errors import OutputError
from avsent.files import atomic_path, atomic_text, prepare_folder
from avsent.result.columns import FIRST_COLUMNS, LAST_COLUMNS, Cell, column_names, valid_cell
from avsent.result.record import Result
from avsent.result.utterance import DECIMALS
from avsent.result.writers import Format, make_writer
from avsent.result.writers.csv import cell_text

GROUP_ROWS = 50_000
"""Rows written at once: memory does not grow with the table."""

_KINDS = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings"), "string"),
    **dict.fromkeys(("index", "track"), "int32"),
    **dict.fromkeys(("audio_effective", "face_effective"), "bool"),
}


def write_parquet(
    target: Path, workshop: Path, labels: tuple[str, ...], rows: Iterable[list[Cell]]
) -> None:
    """Write ``rows``, with the columns of CSV: text, numbers and truth values as what they are,
    null for what is unknown. Raises OutputError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = column_names(labels)
    assert len(names) == len(FIRST_COLUMNS) + len(labels) + len(LAST_COLUMNS)
    schema = pa.schema([(name, pa.type_for_alias(_KINDS.get(name, "double"))) for name in names])
    remaining = iter(rows)
    with atomic_path(target, workshop) as path, pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(remaining, GROUP_ROWS)):
            columns = zip(*([valid_cell(cell) for cell in row] for row in group), strict=True)
            arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema))


CSV_NAME = "utterances.csv"
PARQUET_NAME = "utterances.parquet"
SUMMARY_NAME = "summary.json"
SCHEMA = "avsent-batch/1"
_STATE_KEY = "tables"
_SENTIMENT = FIRST_COLUMNS.index("sentiment")
_SCORE = FIRST_COLUMNS.index("score")


@dataclass(frozen=True, slots=True)
class Whole:
    """All files of a batch: those done with one configuration, and those that failed."""

    done: tuple[Entry, ...]
    failed: tuple[Entry, ...]
    config: BatchConfig

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the model."""
        return self.config.model.labels


def whole_of(journal: Journal, config: BatchConfig) -> Whole:
    """What the tables show: only files that are there, only results of this configuration."""
    valid = [e for e in journal.entries() if e.present and e.config_sha256 == config.digest()]
    return Whole(
        tuple(e for e in valid if e.state == State.done),
        tuple(e for e in valid if e.state == State.failed),
        config,
    )


def write_tables(out: Path, workshop: Path, journal: Journal, whole: Whole) -> bool:
    """Write all three, or nothing where nothing changed since; tells whether it wrote.

    Raises:
        OutputError: one cannot be written.
    """
    parquet = importlib.util.find_spec("pyarrow") is not None
    names = [CSV_NAME, SUMMARY_NAME, *([PARQUET_NAME] if parquet else [])]
    state = _state(whole, names)
    if journal.fact(_STATE_KEY) == [state, _sizes(out, names)]:
        return False
    journal.keep_fact(_STATE_KEY, None)  # of files that will soon be others
    counts = _Counts()
    with atomic_text(out / CSV_NAME, workshop) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(column_names(whole.labels))
        for row in _rows(journal, whole.done):
            counts.add(row)
            table.writerow([cell_text(cell) for cell in row])
    if parquet:
        write_parquet(out / PARQUET_NAME, workshop, whole.labels, _rows(journal, whole.done))
    else:
        with contextlib.suppress(OSError):
            (out / PARQUET_NAME).unlink(missing_ok=True)  # of another time
    with atomic_text(out / SUMMARY_NAME, workshop) as file:
        json.dump(_summary(whole, counts), file, indent=2, allow_nan=False)
        file.write("\n")
    journal.keep_fact(_STATE_KEY, [state, _sizes(out, names)])
    return True


def _sizes(out: Path, names: Sequence[str]) -> list[int | None]:
    """As of other outputs: a file that was cut short when the machine died is known by it."""
    files = [out / name for name in names]
    return [file.stat().st_size if file.is_file() else None for file in files]


def _rows(journal: Journal, done: Sequence[Entry]) -> Iterator[list[Cell]]:
    for entry in done:
        yield from rows_of(journal.stored(entry.name).rows)


class _Counts:
    """How many utterances of each sentiment, and their scores."""

    def __init__(self) -> None:
        self.sentiments: Counter[str] = Counter()
        self.score_sum = 0.0

    def add(self, row: Sequence[Cell]) -> None:
        self.sentiments[str(row[_SENTIMENT])] += 1
        score = row[_SCORE]
        self.score_sum += score if isinstance(score, float | int) else 0.0


def _summary(whole: Whole, counts: _Counts) -> dict[str, Any]:
    utterances = counts.sentiments.total()
    return {
        "schema": SCHEMA,
        "options": whole.config.shown(),
        "model": dataclasses.asdict(whole.config.model),
        "files": {
            "done": len(whole.done),
            "failed": len(whole.failed),
            "without_utterances": sum(entry.utterances == 0 for entry in whole.done),
        },
        "duration_s": round(sum(entry.duration_s or 0.0 for entry in whole.done), DECIMALS),
        "utterances": utterances,
        "sentiments": {label: counts.sentiments[label] for label in whole.labels},
        "mean_score": round(counts.score_sum / utterances, DECIMALS) if utterances else None,
        "failures": [
            {"source": entry.name, "error": entry.error, "exit_code": entry.exit_code}
            for entry in whole.failed
        ],
    }


def _state(whole: Whole, names: Iterable[str]) -> str:
    """A digest of everything the tables depend on."""
    facts = [
        sorted(names),
        whole.config.digest(),
        [(entry.name, entry.content_sha256) for entry in whole.done],
        [(entry.name, entry.error) for entry in whole.failed],
    ]
    return hashlib.sha256(json.dumps(facts).encode("ascii")).hexdigest()


_OF_ALL = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM})
"""Errors of a disk or a whole tree; others are of one name: too long, or not allowed there."""


class Outputs:
    """A result file in each format for each file that is done.

    What was written is known by its size: a file that is gone, or was cut short when the machine
    died, is written again.
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
        """Those of these files, which are done, that have not all their outputs."""
        for name, stem in stems.items():
            if not all(self._is_whole(name, stem, format) for format in self._writers):
                yield name

    def remove(self, name: str, stem: str) -> None:
        """Remove what earlier runs wrote, in whatever format, of a result that holds no more."""
        for (written, format), _ in self._written.items():
            if written == name:
                with contextlib.suppress(OSError):
                    self._target(stem, Format(format)).unlink(missing_ok=True)

    def _is_whole(self, name: str, stem: str, format: Format) -> bool:
        size = self._written.get((name, format.value))
        try:
            return size is not None and self._target(stem, format).stat().st_size == size
        except OSError:
            return False

    def _target(self, stem: str, format: Format) -> Path:
        writer = self._writers.get(format) or make_writer(format)
        return self._out / f"{stem}.{writer.extension}"


def concerns_all(error: OutputError) -> bool:
    """Whether what keeps one output from being written keeps all others, too."""
    cause = error.__cause__
    return not isinstance(cause, OSError) or cause.errno in _OF_ALL


def check_out(out: Path) -> None:
    """Find out before the work whether OUT can hold a batch. Raises OutputError."""
    if os.path.exists(out) and not os.path.isdir(out):
        raise OutputError(f"{out} is a file; give a folder with -o")
    prepare_folder(out)
