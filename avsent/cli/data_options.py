"""Options about labelled data, shared by the commands that read it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsent.labels import LABEL_COLUMNS


class SplitBy(StrEnum):
    """What may be in one part only."""

    speaker = "speaker"
    video = "video"


def _check_label(column: str) -> str:
    if column not in LABEL_COLUMNS:
        raise typer.BadParameter(f"{column!r} is none of {', '.join(LABEL_COLUMNS)}")
    return column


LabelOption = Annotated[
    str,
    typer.Option(
        "--label",
        metavar="|".join(LABEL_COLUMNS),
        help="The column to learn.",
        callback=_check_label,
    ),
]
LabelsOption = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="auto|2|3|7|real|NAMES",
        help="Sentiment in 2, 3 or 7 classes, numbers (a regression head), or names with commas "
        "between them; auto takes what occurs.",
    ),
]
SplitByOption = Annotated[
    SplitBy,
    typer.Option(
        "--split-by", metavar="|".join(SplitBy), help="What may be in one part of the data only."
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Keep the features of each media file there; by default in AVSENT_CACHE, or avsent's "
        "folder in the user's cache.",
        show_default=False,
    ),
]
