"""``avsent plot``: pictures of a training run, or the timeline of a result, drawn anew."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avsent.cli.inputs import check_option_file
from avsent.cli.options import DebugOption, QuietOption
from avsent.cli.outcome import say, warn
from avsent.errors import UsageError
from avsent.writers.files import check_target, prepare_folder


class PictureFormat(StrEnum):
    """Format of pictures."""

    png = "png"
    svg = "svg"
    pdf = "pdf"


def plot(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RESULT.json",
            help="The folder of a training run, or what avsent predict wrote as json.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A folder for the pictures; for a result also a file. By default RUN/plots, or "
            "beside the result.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        PictureFormat | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(PictureFormat),
            help="Format of the pictures. By default what the name after -o ends in, else png.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            min=0,
            help="The seed of the run to draw; by default the one that is best on validation.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw the pictures of a training run, or the timeline of a result, for a paper.

    Of a run: its loss curves, the confusion of classes, and where source and target place the
    same utterances before and after the transfer. Of a result: utterances, score, probabilities
    and the shares of voice and face over time.
    """
    if source.is_dir():
        drawn = _draw_run(source, output, format, seed, quiet=quiet)
    else:
        if seed is not None:
            raise UsageError(f"--seed is for training runs; {source} is none")
        drawn = [_draw_result(source, output, format)]
    if not quiet and sys.stderr.isatty():
        for target in drawn:
            say("", f"wrote {target}")


def _draw_run(
    source: Path,
    output: Path | None,
    format: PictureFormat | None,
    seed: int | None,
    *,
    quiet: bool,
) -> list[Path]:
    from avsent.training.run_folder import RunFolder

    given = re.fullmatch(r"seed-(\d+)", source.name)
    if given and not (source / "config.json").exists():
        # One seed's folder, as it stands in that of the run.
        source, seed = source.parent, int(given[1]) if seed is None else seed
    if output is not None and _ending(output) is not None and not output.is_dir():
        raise UsageError(f"-o {output}: a run has several pictures; name a folder")
    folder = RunFolder(source)
    best = folder.best()
    chosen = best if seed is None else seed
    target = output or (folder.plots if chosen == best else folder.seed(chosen) / "plots")

    # Here, so that mistakes above are told at once: torch takes its time.
    from avsent.training.run_plots import draw, read_drawable

    what = read_drawable(folder, chosen)
    drawn = draw(target, what, (format or PictureFormat.png).value)
    if not quiet:
        for line in what.missing:
            warn(f"{source}: {line}")
    return drawn


def _draw_result(source: Path, output: Path | None, format: PictureFormat | None) -> Path:
    check_option_file("RESULT.json", source)
    ending = None if output is None or output.is_dir() else _ending(output)
    if ending is not None and format not in (None, ending):
        raise UsageError(f"-o {output} and --format {format} name two formats; give one")
    name = f"{source.stem}.{format or PictureFormat.png}"
    if output is None:
        target = source.with_name(name)
    elif ending is not None:
        target = output
    else:
        prepare_folder(output)
        target = output / name
    check_target(target, [source])

    from avsent.results import Result

    result = Result.load(source)

    from avsent.report.timeline import save_timeline

    save_timeline(target, result)
    return target


def _ending(path: Path) -> PictureFormat | None:
    ending = path.suffix.lower().removeprefix(".")
    return PictureFormat(ending) if ending in list(PictureFormat) else None
