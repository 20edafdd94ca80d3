"""CSV: one utterance per row, without the attention lists. ``docs/results.md`` has the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import TextIO

from avsent.result.columns import Cell, column_names
from avsent.result.record import Result
from avsent.result.writers.base import Writer
from avsent.text import one_line


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
                rows.writerow(column_names(labels))
            for cells in result.cells(labels):
                rows.writerow(map(cell_text, cells))
            file.flush()


def cell_text(value: Cell) -> str:
    """A cell as CSV shows it; what is unknown is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    # Fixed notation: repr would give 1e-06, which some spreadsheets take for text.
    return f"{value:.6f}" if isinstance(value, float) else one_line(str(value))
