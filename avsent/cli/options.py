"""Options that several commands share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from avsent.adapt import Adapt
from avsent.faces.choice import FaceChoice


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
