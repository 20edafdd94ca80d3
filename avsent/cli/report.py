"""``avsent report``: a page to look at, of a result or of a whole batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsent.cli.inputs import check_media, check_option_file
from avsent.cli.options import DebugOption, QuietOption
from avsent.cli.outcome import say, warn
from avsent.cli.products import EmbedOption
from avsent.errors import InputError, MediaError, UsageError
from avsent.writers.files import check_target

if TYPE_CHECKING:
    from avsent.results import Result


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
    from avsent.results import Result

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
    from avsent.report.page import write_report

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
