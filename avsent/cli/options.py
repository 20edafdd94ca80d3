"""Options that several commands share."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsent.errors import InputError, MediaError
from avsent.labels import LABEL_COLUMNS
from avsent.options import Adapt, FaceChoice


def check_media(path: Path) -> None:
    """Raise MediaError where the path is, at first sight, no media file."""
    _check(path, MediaError)


def check_option_file(option: str, path: Path | None) -> None:
    """Raise InputError where the file given to an option cannot be read."""
    if path is not None:
        _check(path, InputError, f"{option}: ")


def _check(path: Path, error_class: type[InputError], prefix: str = "") -> None:
    try:
        found = path.stat()
    except OSError as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise error_class(f"{prefix}cannot read {path}: {reason}; check the name") from error
    if stat.S_ISDIR(found.st_mode):
        raise error_class(f"{prefix}{path} is a folder; name the files in it")
    # Pipes have no size.
    if stat.S_ISREG(found.st_mode) and found.st_size == 0:
        raise error_class(f"{prefix}{path} is empty; copy it again from its source")
    if not os.access(path, os.R_OK):
        raise error_class(f"{prefix}cannot read {path}: no permission; ask its owner for it")


@dataclass(slots=True)
class Session:
    """What the end of the program needs to know about the command that ran."""

    debug: bool = False
    context: typer.Context | None = None


SESSION = Session()

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def _remember(context: typer.Context, debug: bool) -> bool:
    # Called for every command, whether or not the option is given.
    SESSION.debug = SESSION.debug or debug
    SESSION.context = context
    return debug


def _check_device(device: str) -> str:
    if not _DEVICE.fullmatch(device):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda and cuda:N")
    return device


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", help="Print the traceback of an error.", callback=_remember, is_eager=True
    ),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]",
        help="Where to compute; auto takes a GPU if there is one.",
        callback=_check_device,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print no progress and no warnings, only errors.")
]
LandmarksOption = Annotated[
    Path | None,
    typer.Option(
        "--landmarks",
        metavar="PATH",
        help="Your own file of dlib's 68-point landmark model.",
        show_default=False,
    ),
]
CheckpointOption = Annotated[
    str,
    typer.Option("--checkpoint", metavar="NAME|PATH", help="A model that came along, or your own."),
]
FaceOption = Annotated[
    FaceChoice,
    typer.Option(
        "--face",
        metavar="|".join(FaceChoice),
        help="Of several faces: the one most likely speaking, the largest, or each.",
    ),
]
AdaptOption = Annotated[
    Adapt,
    typer.Option(
        "--adapt",
        metavar="|".join(Adapt),
        help="Judge each utterance against the others of its speaker (track), or of all files, "
        "from 3 utterances on.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="FPS",
        min=1.0,
        max=60.0,
        help="Pictures per second in which faces are looked for, 1 to 60; by default as many "
        "as the model was trained with (10).",
        show_default=False,
    ),
]
CheckOption = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="Leave out a voice or a face that is damaged, or that contradicts the other and all "
        "that the model knows; without, all that is there counts.",
    ),
]
ProxyOption = Annotated[
    bool | None,
    typer.Option(
        "--proxy/--no-proxy",
        help="Let features made from the voice stand in for a face that cannot be used, and the "
        "other way round; by default where the model was found better with it.",
        show_default=False,
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Take a damaged file for an error, not for a warning.")
]


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
