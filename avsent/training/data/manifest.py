"""The manifest: a CSV file with one labelled utterance per row, and paths beside it.

Columns, in any order: ``video,start_s,end_s,speaker,split,label[,text][,emotion][,sentiment]
[,context]``; only ``video`` and one of label, emotion and sentiment must be there.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from avsent.errors import DatasetError, OutputError
from avsent.files import atomic_text
from avsent.labels import LABEL_COLUMNS
from avsent.text import number, quoted
from avsent.training.data.corpus import SPLITS, Row
from avsent.training.data.table import TableRow, read_table

MANIFEST_NAME = "manifest.csv"
COLUMNS = ("video", "start_s", "end_s", "speaker", "split", *LABEL_COLUMNS, "text", "context")

_EXAMPLE = "video,start_s,end_s,speaker,split,label"
_SPLIT_NAMES = {**{name: name for name in SPLITS}, "": ""} | dict.fromkeys(
    ("val", "dev", "validation"), "valid"
)


def read_manifest(path: Path) -> list[Row]:
    """The rows of a manifest. Files need not be there; their paths are relative to the manifest
    and stay below its folder, or are absolute.

    Empty ``start_s`` and ``end_s`` stand for the whole file, an empty ``context`` for the file.
    Raises DatasetError, one line with the number of the line, for anything that cannot be read
    or makes no sense.
    """
    folder = Path(os.path.realpath(path)).parent
    table = read_table(
        path, needed=("video",), known=COLUMNS, example=_EXAMPLE, one_of=LABEL_COLUMNS
    )
    return [_row(cells, folder) for cells in table]


def write_manifest(path: Path, rows: Sequence[Row]) -> None:
    """Write ``rows`` so that :func:`read_manifest` gives them back, but for ``where``.

    Paths below the manifest's folder are written relative to it, others absolute. Columns that
    no row uses are left out. Raises OutputError where it cannot be written, or would not be read
    back (a file name that is no valid text).
    """
    folder = Path(os.path.realpath(path)).parent
    columns = _used_columns(rows)
    with atomic_text(path) as file:
        file.write(_line(columns))
        for row in rows:
            cells = _cells(row, folder)
            _check_cells(cells.values(), row, path)
            file.write(_line([cells[column] for column in columns]))


def default_context(media: Path) -> str:
    """The context of a row that names none: its file, so the utterances of a file are judged
    together."""
    return os.path.realpath(media)


def split_of(name: str, place: str) -> str:
    """One of ``SPLITS``, or "" for "". Raises DatasetError for another name."""
    split = _SPLIT_NAMES.get(name.casefold())
    if split is None:
        raise DatasetError(f"{place}: split {quoted(name)} is none of {', '.join(SPLITS)}")
    return split


def _row(cells: TableRow, folder: Path) -> Row:
    if not cells["video"]:
        raise DatasetError(f"{cells.place}: no video is named; give its path")
    media = _media(folder, cells.cells["video"])
    if not os.path.isabs(cells["video"]) and not _below(media, folder):
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


def _media(folder: Path, name: str) -> Path:
    """The file of that name. Blanks around it belong to it, as file names may begin and end so,
    unless only the file without them is there."""
    exact, bare = folder / name, folder / name.strip()
    return bare if bare != exact and not os.path.lexists(exact) and os.path.isfile(bare) else exact


def _below(media: Path, folder: Path) -> bool:
    """Whether the path stays in the folder by its own words; links in it are the user's own."""
    return Path(os.path.normpath(media)).is_relative_to(folder)


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


def _used_columns(rows: Sequence[Row]) -> list[str]:
    named = {column for row in rows for column in row.labels} or {"label"}
    used = {"video", "start_s", "end_s", "speaker", "split", *named}
    if any(row.text for row in rows):
        used.add("text")
    if any(_own_context(row) for row in rows):
        used.add("context")
    return [column for column in COLUMNS if column in used]


def _cells(row: Row, folder: Path) -> dict[str, str]:
    return {
        "video": _shown_path(row.media, folder),
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


def _shown_path(media: Path, folder: Path) -> str:
    """The path as the manifest names it; links inside its folder keep their names."""
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
