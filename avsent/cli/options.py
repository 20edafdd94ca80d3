"""Options that several commands share, and checks of the paths they name."""

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

from avsent.errors import InputError, MediaError, UsageError
from avsent.labels import LABEL_COLUMNS, LabelScale
from avsent.options import Adapt, FaceChoice


def check_option_file(option: str, path: Path | None) -> None:
    """Raise InputError where the file given to an option cannot be read."""
    if path is not None:
        check_file(path, InputError, f"{option}: ")


def check_file(path: Path, error_class: type[InputError] = MediaError, prefix: str = "") -> None:
    """Raise ``error_class`` where the file cannot be read, before anything heavy is loaded."""
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


def check_utterances(path: Path | None, tier: str | None, *, several: bool) -> None:
    """Raise UsageError where ``--utterances`` and ``--tier`` do not go with each other, or with
    several videos; InputError where the file cannot be read."""
    check_option_file("--utterances", path)
    if tier is not None and path is None:
        raise UsageError("--tier goes with --utterances")
    if several and path is not None:
        from avsent.extraction.utterances.boundaries import names_videos

        if not names_videos(path):
            raise UsageError("--utterances: for several videos give a table with a column video")


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


def _check_audio_track(track: str | None) -> str | None:
    if track is not None and not re.fullmatch(r"all|0*[1-9]\d{0,3}", track):
        raise typer.BadParameter(f"{track!r} is neither a number from 1 on nor all")
    return track


def _check_label(column: str | None) -> str:
    if column is not None and column not in LABEL_COLUMNS:
        raise typer.BadParameter(f"{column!r} is none of {', '.join(LABEL_COLUMNS)}")
    return column or ""


def option(
    names: str, help: str, default: Any = None, *, choices: Iterable[str] = (), **more: Any
) -> Any:
    """A Typer option, ``names`` with its metavar: ``option("--output -o FILE", "The result.")``.

    ``default``: ``...`` if the option is required; ``choices``: the values that it may have, as
    metavar, by default those of the enum of ``default``; ``more``: other arguments of Typer.
    """
    if isinstance(default, StrEnum):
        choices = choices or type(default)
    words = names.split()
    metavar = "|".join(choices) or " ".join(word for word in words if word[0] != "-") or None
    declared = [word for word in words if word[0] == "-"]
    return typer.Option(default, *declared, metavar=metavar, help=help, **more)


def argument(metavar: str, help: str, default: Any = ...) -> Any:
    """A Typer argument, by default a required one."""
    return typer.Argument(default, metavar=metavar, help=help)


# Of every command

DEBUG = option(
    "--debug", "Print the traceback of an error.", False, callback=_remember, is_eager=True
)
DEVICE = option(
    "--device auto|cpu|cuda[:N]",
    "Where to compute; auto uses a GPU if there is one.",
    "auto",
    callback=_check_device,
)
QUIET = option("--quiet -q", "Print errors only, no progress and no warnings.", False)
JSON = option("--json", "Print JSON.", False)
ReportFormat = StrEnum("ReportFormat", ["table", "json"])
REPORT_FORMAT = option("--format -f", "Format of what is printed.", ReportFormat.table)

# Of prediction, one file or many

CHECKPOINT = option("--checkpoint NAME|PATH", "An included model, or your own.", "default")
UTTERANCES = option(
    "--utterances FILE",
    "Use the utterances of this file instead of detecting them: .srt, .vtt, a table (.csv, .tsv, "
    ".txt), .eaf or .TextGrid. For several videos a table with a column video.",
)
TIER = option("--tier NAME", "The tier of the file of --utterances, where it has several.")
FACE = option(
    "--face",
    "Which of several faces: the most likely speaker, the largest, or each.",
    FaceChoice.speaking,
)
AUDIO_TRACK = option(
    "--audio-track N|all",
    "Which of several sound tracks, counted from 1, or all of them mixed. Default: the first "
    "default track; another one if only that one has speech.",
    callback=_check_audio_track,
)
VIDEO_TRACK = option(
    "--video-track N", "Which of several picture tracks. Default: the first default track.", min=1
)
LANDMARKS = option("--landmarks PATH", "Your own dlib 68-point landmark model.")
ADAPT = option(
    "--adapt",
    "Compare each utterance with the mean of its speaker (face track), or of all files, instead "
    "of the mean of the training data. Needs at least 3 utterances.",
    Adapt.none,
)
RATE = option(
    "--rate FPS",
    "Frames per second in which faces are detected, 1 to 60. Default: as in the model's training "
    "(10).",
    min=1.0,
    max=60.0,
)
CHECK = option(
    "--check/--no-check",
    "Leave out a voice or face that is damaged, or that contradicts the other one. --no-check "
    "disables all of these checks.",
    True,
)
PROXY = option(
    "--proxy/--no-proxy",
    "Replace an unusable face by features predicted from the voice, and the other way round. "
    "Default: set by the model.",
)
STRICT = option("--strict", "Treat a damaged file as an error, not a warning.", False)
EMBED = option("--embed", "Put the video into the report, so that it can be shared.", False)

# Of corpora

LAYOUTS = "a folder: with manifest.csv, in the layout of MMSA or MELD, or with RAVDESS's files."
DATA_HELP = f"A manifest, a feature file (.npz), or {LAYOUTS}"
DATA = argument("DATA", DATA_HELP)
LABEL = option(
    "--label",
    "The label column to use. Default: the only one there is, else label.",
    choices=LABEL_COLUMNS,
    callback=_check_label,
)
LABELS = option(
    "--labels auto|2|3|7|real|NAMES",
    "Sentiment in 2, 3 or 7 classes, real numbers (regression), or class names separated by "
    "commas; auto uses the labels that occur.",
    "auto",
)
LABEL_RANGE = option(
    "--label-range LOW HIGH",
    "The labels' most negative and most positive number, such as 1 5; a model keeps this choice.",
)
LABEL_MAP = option(
    "--label-map FILE",
    "What the labels mean: a CSV file of value,label, or a JSON object; a model keeps this choice.",
)
SKIP_BROKEN = option(
    "--skip-broken", "Leave out media files that are missing or cannot be read.", False
)
SplitBy = StrEnum("SplitBy", ["speaker", "video"])
SPLIT_BY = option("--split-by", "What no two splits may share.", SplitBy.speaker)
CACHE = option(
    "--cache DIR",
    "Folder for the features of each media file. Default: AVSENT_CACHE, or avsent's folder in the "
    "user's cache.",
)


def label_scale(
    label_range: tuple[float, float] | None, label_map: Path | None
) -> LabelScale | None:
    """The scale that the options name. Raises UsageError, DatasetError."""
    if label_range is not None and label_map is not None:
        raise UsageError("--label-range and --label-map exclude each other; give one")
    try:
        if label_map is None:
            return None if label_range is None else LabelScale(*label_range)
        from avsent.training.data.manifest import read_label_map

        return read_label_map(label_map)
    except ValueError as error:
        raise UsageError(str(error)) from error
