"""Corpora in the layout of MMSA (Mao et al. 2022): CMU-MOSI, CMU-MOSEI, CH-SIMS.

``label.csv`` with the columns video_id, clip_id, text, label[, label_T, label_A, label_V],
annotation, mode, and beside it ``Raw/<video_id>/<clip_id>.mp4``.
"""

from __future__ import annotations

import os
from pathlib import Path

from avsent.errors import DatasetError
from avsent.text import printable, quoted
from avsent.training.data.corpus import Row
from avsent.training.data.manifest import split_of
from avsent.training.data.table import TableRow, read_table

LABEL_FILE = "label.csv"
NEEDED = ("video_id", "clip_id", "label", "mode")

_EXAMPLE = "video_id,clip_id,text,label,annotation,mode"


def is_mmsa(folder: Path) -> bool:
    """Whether the folder has a ``label.csv``."""
    return os.path.isfile(folder / LABEL_FILE)


def read_mmsa(label_file: Path) -> list[Row]:
    """One row for each clip, in the order of ``label_file``; the clips need not be there.

    Raises DatasetError where the file cannot be read or there is no folder ``Raw`` beside it.
    """
    table = read_table(label_file, needed=NEEDED, known=(*NEEDED, "text"), example=_EXAMPLE)
    raw = Path(os.path.realpath(label_file)).parent / "Raw"
    if not os.path.isdir(raw):
        raise DatasetError(
            f"{printable(str(label_file))}: no folder Raw beside it; put the clips in "
            "Raw/<video_id>/<clip_id>.mp4"
        )
    return [_row(cells, raw) for cells in table]


def _row(cells: TableRow, raw: Path) -> Row:
    video, clip = _name(cells, "video_id"), _name(cells, "clip_id")
    return Row(
        media=raw / video / f"{clip}.mp4",
        # The file names no speakers. In CMU-MOSI and MOSEI a video is one person talking to the
        # camera, so keeping videos together is the nearest to keeping speakers together.
        speaker=video,
        split=split_of(cells["mode"], cells.place),
        # The column annotation only repeats the sign of the number.
        labels={"label": cells["label"], "sentiment": cells["label"]},
        text=cells.cells.get("text", ""),
        context=video,
        where=cells.where,
    )


def _name(cells: TableRow, column: str) -> str:
    """An id as the name of a file or folder."""
    name = cells[column]
    if name in {"", ".", ".."} or any(mark in name for mark in "/\\"):
        raise DatasetError(
            f"{cells.place}: {column} {quoted(name)} is no name of a file or folder; correct it"
        )
    return name
