"""A CSV file with a heading, as corpora bring them: each row by the names of its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsent.errors import DatasetError
from avsent.text import csv_rows, printable, read_text

MAX_FILE_BYTES = 64 * 1024**2  # a row has about 0.2 kB
MAX_ROWS = 300_000


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: ``cells`` by column, the name in lower case; ``where`` for a Row ("x.csv:12"),
    ``place`` for messages (the same with the folder as given)."""

    cells: Mapping[str, str]
    where: str
    place: str

    def __getitem__(self, column: str) -> str:
        """The cell without the blanks around it; "" where there is no such column."""
        return self.cells.get(column, "").strip()


def read_table(
    path: Path,
    *,
    needed: Collection[str],
    known: Collection[str],
    example: str,
    one_of: Sequence[str] = (),
) -> list[TableRow]:
    """The rows of a CSV file that are not blank.

    ``needed``: columns that must be there; ``one_of``: columns of which one must be, unless this
    is empty; ``known``: all that are read, so none of them may be there twice; ``example``: a
    heading for messages. Raises DatasetError, one line, for anything that cannot be read.
    """
    name = printable(str(path))
    rows = _rows(path)
    first = next(rows, None)
    if first is None:
        raise DatasetError(f"{name}: nothing in it; begin the file with a line {example}")
    line, heading = first
    columns = _columns(heading)
    place = f"{name}:{line}"
    missing = [column for column in needed if column not in columns]
    if missing:
        hint = f"begin the file with a line {example}"
        if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
            hint = "separate the columns with commas"
        raise DatasetError(f"{place}: no column {' and '.join(missing)}; {hint}")
    if one_of and not set(one_of) & set(columns):
        names = f"{', '.join(one_of[:-1])} or {one_of[-1]}"
        raise DatasetError(f"{place}: no column {names}; add one of them")
    twice = [column for column, count in Counter(columns).items() if count > 1 and column in known]
    if twice:
        raise DatasetError(f"{place}: column {twice[0]} is there twice; rename one")
    found: list[TableRow] = []
    kept = set(columns) & {*needed, *known, *one_of}
    for line, cells in rows:
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise DatasetError(
                f"{name}:{line}: {len(cells)} cells under a heading of {len(columns)}; put text "
                "that holds commas in quotes"
            )
        if len(found) == MAX_ROWS:
            raise DatasetError(f"{name}:{line}: more than {MAX_ROWS} rows; cut the file up")
        row = {column: cell for column, cell in zip(columns, cells, strict=False) if column in kept}
        row |= dict.fromkeys(kept - row.keys(), "")
        found.append(TableRow(row, f"{path.name}:{line}", f"{name}:{line}"))
    if not found:
        raise DatasetError(f"{name}: no rows below the heading; add one for each utterance")
    return found


def read_columns(path: Path) -> list[str]:
    """The names of a CSV file's columns, in lower case. Raises DatasetError."""
    return _columns(next(_rows(path), (1, []))[1])


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path, DatasetError, max_bytes=MAX_FILE_BYTES, what="a CSV file of utterances")
    return csv_rows(text, printable(str(path)), DatasetError, strict=True)


def _columns(cells: list[str]) -> list[str]:
    return [cell.strip().casefold() for cell in cells]
