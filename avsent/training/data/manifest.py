"""The manifest and other CSV files of utterances.

A manifest is a CSV file with one labelled utterance per row, and media paths. Columns, in any
order: ``video,start_s,end_s,speaker,split,label[,text][,emotion][,sentiment][,context]``; only
``video`` and one of label, emotion and sentiment are required.
"""

import csv
import io
import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avsent.errors import DatasetError, OutputError
from avsent.files import atomic_text
from avsent.labels import LABEL_COLUMNS
from avsent.text import csv_rows, number, printable, quoted, read_text
from avsent.training.data.corpus import SPLITS, Row

MANIFEST_NAME = "manifest.csv"
MAX_FILE_BYTES = 64 * 1024**2  # a row has about 0.2 kB
MAX_ROWS = 300_000
COLUMNS = ("video", "start_s", "end_s", "speaker", "split", *LABEL_COLUMNS, "text", "context")

_EXAMPLE = "video,start_s,end_s,speaker,split,label"
_SPLIT_NAMES = {**{name: name for name in SPLITS}, "": ""} | dict.fromkeys(
    ("val", "dev", "validation"), "valid"
)


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: ``cells`` by column name in lower case; ``where`` for a Row ("x.csv:12"), ``place``
    for messages (the same with the folder as given)."""

    cells: Mapping[str, str]
    where: str
    place: str

    def __getitem__(self, column: str) -> str:
        """The stripped cell; "" if there is no such column."""
        return self.cells.get(column, "").strip()


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest. Media need not exist; their paths are relative to the manifest and
    stay below its folder, or are absolute.

    Empty ``start_s`` and ``end_s`` mean the whole file, an empty ``context`` the file. Raises
    DatasetError, with the number of the line, for anything unreadable or contradictory.
    """
    folder = Path(os.path.realpath(path)).parent
    table = read_table(
        path, needed=("video",), known=COLUMNS, example=_EXAMPLE, one_of=LABEL_COLUMNS
    )
    return [_row(cells, folder) for cells in table]


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows`` so that :func:`read_manifest` returns them, except for ``where``.

    Paths below the manifest's folder are written relative to it, others absolute. Columns that
    no row uses are left out. Raises OutputError if it cannot be written or read back (a file name
    that is no valid text).
    """
    folder = Path(os.path.realpath(path)).parent
    named = {column for row in rows for column in row.labels} or {"label"}
    used = {"video", "start_s", "end_s", "speaker", "split", *named}
    used |= {"text"} if any(row.text for row in rows) else set()
    used |= {"context"} if any(_own_context(row) for row in rows) else set()
    columns = [column for column in COLUMNS if column in used]
    with atomic_text(path) as file:
        file.write(_line(columns))
        for row in rows:
            cells = _cells(row, folder)
            _check_cells(cells.values(), row, path)
            file.write(_line([cells[column] for column in columns]))


def default_context(media: Path) -> str:
    """The context of a row that names none: its file."""
    return os.path.realpath(media)


def split_of(name: str, place: str) -> str:
    """One of ``SPLITS``, or "" for "". Raises DatasetError for another name."""
    split = _SPLIT_NAMES.get(name.casefold())
    if split is None:
        raise DatasetError(f"{place}: split {quoted(name)} is none of {', '.join(SPLITS)}")
    return split


def read_table(
    path: Path,
    *,
    needed: Collection[str],
    known: Collection[str],
    example: str,
    one_of: Sequence[str] = (),
) -> list[TableRow]:
    """The rows of a CSV file that are not blank.

    ``needed``: required columns; ``one_of``: columns of which one is required, if there are any;
    ``known``: all columns that are read, none of which may occur twice; ``example``: a heading for
    messages. Raises DatasetError for anything that cannot be read.
    """
    name = printable(path)
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


def _row(cells: TableRow, folder: Path) -> Row:
    if not cells["video"]:
        raise DatasetError(f"{cells.place}: no video is named; give its path")
    # Blanks around a name belong to it, unless only the file without them exists.
    media, bare = folder / cells.cells["video"], folder / cells["video"]
    if bare != media and not os.path.lexists(media) and os.path.isfile(bare):
        media = bare
    # By the path alone: links inside the folder may lead out of it.
    below = Path(os.path.normpath(media)).is_relative_to(folder)
    if not os.path.isabs(cells["video"]) and not below:
        raise DatasetError(
            f"{cells.place}: video {quoted(cells['video'])} leads out of the manifest's folder; "
            "move the manifest above its videos, or write the whole path"
        )
    start_s, end_s = _times(cells)
    return Row(
        media=media,
        start_s=start_s,
        end_s=end_s,
        speaker=cells["speaker"],
        split=split_of(cells["split"], cells.place),
        labels={column: cells[column] for column in LABEL_COLUMNS if column in cells.cells},
        text=cells.cells.get("text", ""),
        context=cells["context"] or default_context(media),
        where=cells.where,
    )


def _times(cells: TableRow) -> tuple[float, float] | tuple[None, None]:
    given = {column: cells[column] for column in ("start_s", "end_s") if cells[column]}
    if not given:
        return None, None
    if len(given) == 1:
        present = next(iter(given))
        absent = "end_s" if present == "start_s" else "start_s"
        raise DatasetError(
            f"{cells.place}: {present} without {absent}; give both, or none for the whole file"
        )
    seconds = []
    for column, cell in given.items():
        value = number(cell)
        if value is None:
            raise DatasetError(
                f"{cells.place}: {column} {quoted(cell)} is not a number; write seconds like 62.345"
            )
        seconds.append(value + 0.0)  # no negative zero
    start_s, end_s = seconds
    if min(seconds) < 0:
        raise DatasetError(
            f"{cells.place}: a time is negative; times count from the video's beginning"
        )
    if end_s <= start_s:
        raise DatasetError(
            f"{cells.place}: the end, {end_s:g} s, is not after the start, {start_s:g} s; "
            "correct it"
        )
    return start_s, end_s


def _cells(row: Row, folder: Path) -> dict[str, str]:
    return {
        "video": _path(row.media, folder),
        "start_s": "" if row.start_s is None else repr(row.start_s),
        "end_s": "" if row.end_s is None else repr(row.end_s),
        "speaker": row.speaker,
        "split": row.split,
        **{column: row.labels.get(column, "") for column in LABEL_COLUMNS},
        "text": row.text,
        "context": _own_context(row),
    }


def _own_context(row: Row) -> str:
    return "" if row.context == default_context(row.media) else row.context


def _path(media: Path, folder: Path) -> str:
    """The path in the manifest; links inside its folder keep their names."""
    if ".." in media.parts or not media.is_relative_to(folder):
        media = Path(os.path.realpath(media.parent)) / media.name
    name = (media.relative_to(folder) if media.is_relative_to(folder) else media).as_posix()
    return name if name.strip() else f"./{name}"  # an empty cell would be no name


def _line(cells: Iterable[str]) -> str:
    # The writer puts line breaks of both kinds in quotes only where its own line ends hold both.
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _check_cells(cells: Iterable[str], row: Row, path: Path) -> None:
    for cell in cells:
        try:
            cell.encode()
            valid = "\0" not in cell and len(cell) <= csv.field_size_limit()
        except UnicodeEncodeError:
            valid = False
        if not valid:
            raise OutputError(
                f"cannot write {path}: {quoted(cell)} is no valid text; "
                f"rename the file, or mend {row.where or 'its row'}"
            )


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = read_text(path, DatasetError, max_bytes=MAX_FILE_BYTES, what="a CSV file of utterances")
    return csv_rows(text, printable(path), DatasetError, strict=True)


def _columns(cells: list[str]) -> list[str]:
    return [cell.strip().casefold() for cell in cells]
