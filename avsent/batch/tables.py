"""What a batch tells about all files together: one table of all utterances, and a summary.

Both depend on the files, the model and the options alone: not on when, where or in what order
the files were done.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsent.batch.config import BatchConfig
from avsent.batch.entries import Entry, State
from avsent.batch.journal import Journal
from avsent.batch.packing import rows_of
from avsent.results import DECIMALS
from avsent.writers.csv_ import FIRST_COLUMNS, Cell, cell_text, csv_columns
from avsent.writers.files import atomic_text

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
        table.writerow(csv_columns(whole.labels))
        for row in _rows(journal, whole.done):
            counts.add(row)
            table.writerow([cell_text(cell) for cell in row])
    if parquet:
        from avsent.batch.parquet import write_parquet

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
