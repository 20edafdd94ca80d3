"""CSV: one utterance per row, without the attention lists. ``docs/results.md`` has the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from avsent.result.columns import (
    FIRST_COLUMNS,
    LAST_COLUMNS,
    Cell,
    column_names,
    peak_time,
    utterance_cells,
)
from avsent.result.record import Result
from avsent.result.writers.base import Writer
from avsent.text import one_line

__all__ = [
    "FIRST_COLUMNS",
    "LAST_COLUMNS",
    "Cell",
    "CsvWriter",
    "cell_text",
    "csv_columns",
    "csv_rows",
    "peak_time",
    "result_cells",
]


class CsvWriter(Writer):
    """One header, then the utterances of all results.

    The columns ``p_<label>`` are those of the first result's model; what is unknown is empty.
    """

    extension = "csv"

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the rows of each result as soon as it comes."""
        labels: tuple[str, ...] | None = None
        rows = csv.writer(file, lineterminator="\n")
        for result in results:
            if labels is None:
                labels = result.model.labels
                rows.writerow(csv_columns(labels))
            for row in csv_rows(result, labels):
                rows.writerow(row)
            file.flush()


def csv_rows(result: Result, labels: tuple[str, ...]) -> Iterable[list[str]]:
    """The cells of each utterance as text, in the order of the columns."""
    for cells in result_cells(result, labels):
        yield [cell_text(value) for value in cells]


def csv_columns(labels: tuple[str, ...]) -> list[str]:
    """The names of the columns."""
    return column_names([one_line(label) for label in labels])


def result_cells(result: Result, labels: tuple[str, ...] | None = None) -> Iterable[list[Cell]]:
    """The cells of each utterance as what they are, in the order of the columns; ``labels``:
    those of another model, the probabilities of which this result may lack."""
    for utterance in result.utterances:
        yield [result.source, *utterance_cells(utterance, labels or result.model.labels)]


def cell_text(value: Cell) -> str:
    """A cell as CSV shows it; what is unknown is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # Fixed notation: repr would give 1e-06, which some spreadsheets take for text.
    return f"{value:.6f}" if isinstance(value, float) else one_line(str(value))
