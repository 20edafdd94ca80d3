"""Options that several commands share, and checks of the paths they name."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from avsent.errors import InputError, MediaError, UsageError
from avsent.labels import LABEL_COLUMNS
from avsent.options import Adapt, FaceChoice


def check_media(path: Path) -> None:
    """Raise MediaError where the path cannot be a media file."""
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


def check_ending(option: str, path: Path | None, endings: Iterable[str]) -> None:
    """Raise UsageError where the name of an output has none of these endings."""
    if path is not None and path.suffix.lower() not in endings:
        raise UsageError(f"{option} {path}: its name must end in {' or '.join(endings)}")


@dataclass(slots=True)
class Session:
    """What the end of the program needs to know about the command that ran."""

    debug: bool = False
    context: typer.Context | None = None


SESSION = Session()


def _remember(context: typer.Context, debug: bool) -> bool:
    # Called for every command, whether or not the option is given.
    SESSION.debug = SESSION.debug or debug
    SESSION.context = context
    return debug


def _check_device(device: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise typer.BadParameter(f"{device!r} is none of auto, cpu, cuda and cuda:N")
    return device


def _check_label(column: str) -> str:
    if column not in LABEL_COLUMNS:
        raise typer.BadParameter(f"{column!r} is none of {', '.join(LABEL_COLUMNS)}")
    return column


def choice_option(choices: Iterable[str], *names: str, help: str) -> Any:
    """An option whose value is one of an enumeration."""
    return typer.Option(*names, metavar="|".join(choices), help=help)


def output_option(metavar: str, help: str) -> Any:
    """``--output``, ``-o``."""
    return typer.Option("--output", "-o", metavar=metavar, help=help)


# Of every command

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
        help="Where to compute; auto uses a GPU if there is one.",
        callback=_check_device,
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only, no progress and no warnings.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ReportFormat = StrEnum("ReportFormat", ["table", "json"])
ReportFormatOption = Annotated[
    ReportFormat, choice_option(ReportFormat, "--format", "-f", help="Format of what is printed.")
]

# Of prediction, one file or many

CheckpointOption = Annotated[
    str,
    typer.Option("--checkpoint", metavar="NAME|PATH", help="An included model, or your own."),
]
FaceOption = Annotated[
    FaceChoice,
    choice_option(
        FaceChoice,
        "--face",
        help="Which of several faces: the most likely speaker, the largest, or each.",
    ),
]
LandmarksOption = Annotated[
    Path | None,
    typer.Option("--landmarks", metavar="PATH", help="Your own dlib 68-point landmark model."),
]
AdaptOption = Annotated[
    Adapt,
    choice_option(
        Adapt,
        "--adapt",
        help="Compare each utterance with the mean of its speaker (face track), or of all files, "
        "instead of the mean of the training data. Needs at least 3 utterances.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="FPS",
        min=1.0,
        max=60.0,
        help="Frames per second in which faces are detected, 1 to 60. Default: as in the model's "
        "training (10).",
    ),
]
CheckOption = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="Leave out a voice or face that is damaged, or that contradicts the other one. "
        "--no-check disables all of these checks.",
    ),
]
ProxyOption = Annotated[
    bool | None,
    typer.Option(
        "--proxy/--no-proxy",
        help="Replace an unusable face by features predicted from the voice, and the other way "
        "round. Default: set by the model.",
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Treat a damaged file as an error, not a warning.")
]
EmbedOption = Annotated[
    bool, typer.Option("--embed", help="Put the video into the report, so that it can be shared.")
]

# Of corpora

LAYOUTS = "a folder: with manifest.csv, in the layout of MMSA or MELD, or with RAVDESS's files."
DataArgument = Annotated[
    Path,
    typer.Argument(metavar="DATA", help=f"A manifest, a feature file (.npz), or {LAYOUTS}"),
]
LabelOption = Annotated[
    str,
    typer.Option(
        "--label",
        metavar="|".join(LABEL_COLUMNS),
        help="The label column to use.",
        callback=_check_label,
    ),
]
LabelsOption = Annotated[
    str,
    typer.Option(
        "--labels",
        metavar="auto|2|3|7|real|NAMES",
        help="Sentiment in 2, 3 or 7 classes, real numbers (regression), or class names separated "
        "by commas; auto uses the labels that occur.",
    ),
]
SplitBy = StrEnum("SplitBy", ["speaker", "video"])
SplitByOption = Annotated[
    SplitBy, choice_option(SplitBy, "--split-by", help="What no two splits may share.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        help="Folder for the features of each media file. Default: AVSENT_CACHE, or avsent's "
        "folder in the user's cache.",
    ),
]
