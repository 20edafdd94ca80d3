"""``avsent report`` and ``avsent plot``: pages and figures of a result, a batch or a run."""

import re
from enum import StrEnum
from pathlib import Path

from avsent.cli import options, outcome, progress
from avsent.errors import InputError, MediaError, UsageError
from avsent.files import check_target, prepare_folder
from avsent.result.record import Result


def report(
    source: Path = options.argument(
        "RESULT.json|OUT",
        "A JSON result of avsent predict, or the OUT folder of avsent batch.",
    ),
    output: Path | None = options.option(
        "--output -o FILE.html",
        "The page. Default: the result's name with .html instead of .json, or index.html in the "
        "batch's folder.",
    ),
    video: Path | None = options.option(
        "--video PATH",
        "The result's media file. Default: the path in the result, relative to the result's "
        "folder or to the current one.",
    ),
    embed: bool = options.EMBED,
    pictures: bool | None = options.option(
        "--pictures/--no-pictures",
        "Read the video again to show faces and spectrograms. Default: for one result, but not "
        "for a batch.",
    ),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Write a page with the timeline, faces, spectrograms and attention of a result.

    For a batch: an overview of all utterances and files, and a page for each file beside its
    result. Pages work offline. The video is linked, not copied, except with --embed.
    """
    if source.is_dir():
        if video is not None or embed:
            raise UsageError("--video and --embed are for the page of one result")
        if output is not None:
            check_target(output, ())
        from avsent.batch.overview import write_overview

        with progress.progress_bar(source.name, quiet=quiet, counts=True) as bar:
            written = write_overview(
                source, output, pages=True, pictures=bool(pictures), on_progress=bar
            )
        outcome.say_wrote(written, quiet=quiet)
        return

    options.check_option_file("RESULT.json", source)
    if video is not None:
        options.check_file(video)
    is_json = source.suffix.lower() == ".json"
    target = output or source.with_name(f"{source.stem if is_json else source.name}.html")
    check_target(target, filter(None, [source, video]))
    result = Result.load(source)
    media = video or _find_media(source, result)
    if media is not None:
        check_target(target, [media])
    elif embed or not quiet:
        where = f"there is no {result.source} beside {source} or here"
        if embed:
            raise InputError(f"{where} to --embed; give --video PATH")
        outcome.warn(f"{where}; give --video PATH")

    # Imported here, so that mistakes above are reported at once.
    from avsent.views.report.page import write_report

    with progress.progress_bar((media or source).name, quiet=quiet) as bar:
        try:
            write_report(
                target,
                result,
                media=media,
                pictures=pictures is not False,
                embed=embed,
                on_progress=bar,
            )
        except MediaError as error:
            if video is not None or embed:
                raise
            # A file of that name is there, but it is no longer the result's media file.
            if not quiet:
                outcome.warn(f"{error}; the page is made without it")
            write_report(target, result, media=None)
    outcome.say_wrote(target, quiet=quiet)


def _find_media(source: Path, result: Result) -> Path | None:
    for path in (source.parent / result.source, Path(result.source)):
        try:
            if path.is_file() and path.stat().st_size:
                return path
        except (OSError, ValueError):  # a name that no file can have
            continue
    return None


FigureFormat = StrEnum("FigureFormat", ["png", "svg", "pdf"])


def plot(
    source: Path = options.argument(
        "RUN|RESULT.json", "The folder of a training run, or a JSON result of avsent predict."
    ),
    output: Path | None = options.option(
        "--output -o OUT",
        "A folder for the figures; for a result also a file. Default: RUN/plots, or beside the "
        "result.",
    ),
    format: FigureFormat | None = options.option(
        "--format -f",
        "Format of the figures. Default: the ending of OUT, or else png.",
        choices=FigureFormat,
    ),
    seed: int | None = options.option(
        "--seed N", "The seed of the run to plot. Default: the best one on validation.", min=0
    ),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Plot a training run, or the timeline of a result, for a paper.

    Of a run: the loss curves, the confusion matrix, and where source and target embed the same
    utterances before and after the transfer. Of a result: utterances, score, probabilities and
    the weights of voice and face over time.
    """
    if source.is_dir():
        drawn = _plot_run(source, output, format, seed, quiet=quiet)
    elif seed is not None:
        raise UsageError(f"--seed is for training runs; {source} is none")
    else:
        drawn = [_plot_result(source, output, format)]
    for target in drawn:
        outcome.say_wrote(target, quiet=quiet)


def _plot_run(
    source: Path, output: Path | None, format: FigureFormat | None, seed: int | None, *, quiet: bool
) -> list[Path]:
    from avsent.training.run_folder import RunFolder

    given = re.fullmatch(r"seed-(\d+)", source.name)
    if given and not (source / "config.json").exists():
        # The folder of one seed, inside that of the run.
        source, seed = source.parent, int(given[1]) if seed is None else seed
    if output is not None and _ending(output) is not None and not output.is_dir():
        raise UsageError(f"-o {output}: a run has several figures; name a folder")
    folder = RunFolder(source)
    best = folder.best()
    chosen = best if seed is None else seed
    target = output or (folder.plots if chosen == best else folder.seed(chosen) / "plots")

    # Imported here, so that mistakes above are reported at once.
    from avsent.training.plots import draw_figures, read_record

    record = read_record(folder, chosen)
    drawn = draw_figures(target, record, (format or FigureFormat.png).value)
    if not quiet:
        for line in record.missing:
            outcome.warn(f"{source}: {line}")
    return drawn


def _plot_result(source: Path, output: Path | None, format: FigureFormat | None) -> Path:
    options.check_option_file("RESULT.json", source)
    ending = None if output is None or output.is_dir() else _ending(output)
    if ending is not None and format not in (None, ending):
        raise UsageError(f"-o {output} and --format {format} name two formats; give one")
    name = f"{source.stem}.{format or FigureFormat.png}"
    if output is None:
        target = source.with_name(name)
    elif ending is not None:
        target = output
    else:
        prepare_folder(output)
        target = output / name
    check_target(target, [source])
    result = Result.load(source)

    from avsent.views.timeline import save_timeline

    save_timeline(target, result)
    return target


def _ending(path: Path) -> FigureFormat | None:
    ending = path.suffix.lower().removeprefix(".")
    return FigureFormat(ending) if ending in list(FigureFormat) else None
