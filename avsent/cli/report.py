"""``avsent report``: a page to look at, of a result or of a whole batch."""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsent.cli.options import DebugOption, QuietOption, check_media, check_option_file
from avsent.cli.outcome import say, warn
from avsent.cli.predict import EmbedOption
from avsent.errors import InputError, MediaError, UsageError
from avsent.files import check_target, prepare_folder

if TYPE_CHECKING:
    from avsent.result.record import Result


def report(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RESULT.json|OUT",
            help="What avsent predict wrote as json, or the folder of an avsent batch.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.html",
            help="The page. By default the result's name with .html in place of .json, or "
            "index.html in the folder of the batch.",
            show_default=False,
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            "--video",
            metavar="PATH",
            help="The media file of the result; by default where the result says it is, seen from "
            "the result's folder or from the current one.",
            show_default=False,
        ),
    ] = None,
    embed: EmbedOption = False,
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures",
            help="Look for faces and sound in the video again, to show them. By default for a "
            "result, but not for all files of a batch.",
            show_default=False,
        ),
    ] = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a page to look at: timeline, faces, spectrograms and attention of a result.

    Of a batch: an overview of all utterances and files, and a page for each file beside its
    result. Pages need no network; the video is linked, not copied, unless you --embed it.
    """
    if source.is_dir():
        if video is not None or embed:
            raise UsageError("--video and --embed are for the page of one result")
        written = _overview(source, output, pictures=bool(pictures), quiet=quiet)
    else:
        written = _page(
            source, output, video, embed=embed, pictures=pictures is not False, quiet=quiet
        )
    if not quiet and sys.stderr.isatty():
        say("", f"wrote {written}")


def _overview(out: Path, output: Path | None, *, pictures: bool, quiet: bool) -> Path:
    if output is not None:
        check_target(output, ())
    from avsent.batch.overview import write_overview
    from avsent.cli.progress import ProgressBar

    with ProgressBar(out.name, quiet=quiet) as bar:
        return write_overview(out, output, pages=True, pictures=pictures, on_progress=bar)


def _page(
    source: Path,
    output: Path | None,
    video: Path | None,
    *,
    embed: bool,
    pictures: bool,
    quiet: bool,
) -> Path:
    check_option_file("RESULT.json", source)
    if video is not None:
        check_media(video)
    target = output or _default_target(source)
    check_target(target, [source, *([video] if video is not None else [])])
    from avsent.result.record import Result

    result = Result.load(source)
    media = video or _find(source, result)
    if media is None:
        if embed:
            raise InputError(
                f"there is no {result.source} beside {source} or here to --embed; give --video PATH"
            )
        if not quiet:
            warn(f"there is no {result.source} beside {source} or here; give --video PATH")
    else:
        check_target(target, [media])

    # Here, so that mistakes above are told at once: what draws pictures takes its time.
    from avsent.cli.progress import ProgressBar
    from avsent.views.report.page import write_report

    with ProgressBar((media or source).name, quiet=quiet) as bar:
        try:
            write_report(
                target, result, media=media, pictures=pictures, embed=embed, on_progress=bar
            )
        except MediaError as error:
            if video is not None or embed:
                raise
            # It is where the result says, but is no longer what it was.
            if not quiet:
                warn(f"{error}; the page is made without it")
            write_report(target, result, media=None)
    return target


def _default_target(source: Path) -> Path:
    if source.suffix.lower() == ".json":
        return source.with_suffix(".html")
    return source.with_name(f"{source.name}.html")


def _find(source: Path, result: Result) -> Path | None:
    """Where the media file of a result is, if it is there."""
    for path in (source.parent / result.source, Path(result.source)):
        try:
            if path.is_file() and path.stat().st_size:
                return path
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


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
    from avsent.training.plots import draw, read_drawable

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

    from avsent.result.record import Result

    result = Result.load(source)

    from avsent.views.timeline import save_timeline

    save_timeline(target, result)
    return target


def _ending(path: Path) -> PictureFormat | None:
    ending = path.suffix.lower().removeprefix(".")
    return PictureFormat(ending) if ending in list(PictureFormat) else None
