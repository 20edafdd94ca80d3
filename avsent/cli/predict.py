"""``avsent predict``: the sentiment of each utterance of one or several files."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeAlias, TypeVar

import typer

from avsent.cli.options import (
    SESSION,
    AdaptOption,
    CheckOption,
    CheckpointOption,
    DebugOption,
    DeviceOption,
    FaceOption,
    LandmarksOption,
    ProxyOption,
    QuietOption,
    RateOption,
    StrictOption,
    check_media,
    check_option_file,
)
from avsent.cli.outcome import printing, report, say, warn
from avsent.cli.progress import ProgressBar
from avsent.errors import AvsentError, InputError, OutputError, PartialFailure, UsageError
from avsent.files import atomic_text, check_target, prepare_folder
from avsent.options import Adapt, FaceChoice
from avsent.progress import ProgressHook
from avsent.result.record import Result
from avsent.result.writers import Format, format_of, make_writer
from avsent.result.writers.base import Writer

if TYPE_CHECKING:
    from avsent.extraction.faces.types import Sighting
    from avsent.options import PredictOptions
    from avsent.predictor import Analysis, Predictor


def names_folder(out: str, *, several: bool) -> bool:
    """Whether ``-o OUT`` stands for a folder.

    It does if OUT is a folder, or ends with a slash; for several media files it also does unless
    OUT ends like a file (``.csv``), which then gets all results together.
    """
    separators = tuple(mark for mark in (os.sep, os.altsep) if mark)
    if out.endswith(separators) or os.path.isdir(out):
        return True
    return several and format_of(out) is None


def targets_in_folder(folder: Path, sources: Sequence[Path], extension: str) -> list[Path]:
    """One file per source: ``talk.mp4`` gives ``talk.mp4.json``, apart from ``talk.wav.json``.

    A name that is taken by an earlier source gets a number: ``talk.mp4.2.json``. Names that
    differ in case or in Unicode form alone count as taken, because some file systems mix them up.
    """
    taken: set[str] = set()
    targets = []
    for source in sources:
        name, number = f"{source.name}.{extension}", 1
        while _folded(name) in taken:
            number += 1
            name = f"{source.name}.{number}.{extension}"
        taken.add(_folded(name))
        targets.append(folder / name)
    return targets


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@dataclass(frozen=True, slots=True)
class Destination:
    """A writer and its files; without any, results are printed."""

    writer: Writer
    together: Path | None = None
    """The one file for all results."""
    apart: tuple[Path, ...] = ()
    """A file for each source, in the order of the sources."""

    @property
    def targets(self) -> list[Path]:
        """All files that will be written."""
        return [*self.apart, *([self.together] if self.together is not None else [])]

    def check(self, inputs: Sequence[Path]) -> None:
        """Find out before the work whether everything can be written, and overwrites no input."""
        if self.together is not None:
            check_target(self.together, inputs)
        for target in self.apart:
            check_target(target, inputs, makes_folder=True)

    def write(self, results: Iterable[tuple[int, Result]], wrote: Callable[[Path], None]) -> None:
        """Write each result, which comes with the number of its source, as soon as it comes.

        Parameters
        ----------
        wrote
            Called with each file that is complete.
        """
        if self.apart:
            for number, result in results:
                target = self.apart[number]
                prepare_folder(target.parent)
                with atomic_text(target) as file:
                    self.writer.write([result], file)
                wrote(target)
        elif self.together is not None:
            with atomic_text(self.together) as file:
                self.writer.write(_bare(results), file)
            wrote(self.together)
        elif sys.stdout is None:
            raise OutputError("cannot write to standard output: it is closed; give -o FILE")
        else:
            with printing():
                self.writer.write(_bare(results), sys.stdout)


def choose_destination(
    sources: Sequence[Path], format: Format | None, out: str | None, *, attention: bool
) -> Destination:
    """What ``--format`` and ``-o`` mean for these sources.

    Raises
    ------
    UsageError
        For a combination that makes no sense.
    """
    several = len(sources) > 1
    printed = out is None or out == "-"
    if out == "":
        raise UsageError("-o needs the name of a file or folder")
    folder = out is not None and not printed and names_folder(out, several=several)
    if format is None:
        format = Format.table if printed else Format.json if folder else format_of(out or "")
    if format is None:
        raise UsageError(
            f"cannot tell the format of {out}: give --format, or end the name in .json, .csv, …"
        )
    if attention and format not in {Format.table, Format.json, Format.jsonl}:
        raise UsageError(f"--attention has no place in {format}; use table, json or jsonl")
    writer = make_writer(format, several=several and not folder, attention=attention)
    if several and not folder and not writer.combines:
        raise UsageError(f"{format} is for one video at a time: name a folder with -o FOLDER/")
    if out is None or printed:
        return Destination(writer)
    if folder:
        targets = targets_in_folder(Path(out), sources, writer.extension)
        return Destination(writer, apart=tuple(targets))
    return Destination(writer, together=Path(out))


def _bare(results: Iterable[tuple[int, Result]]) -> Iterator[Result]:
    return (result for _, result in results)


ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Also write a page to look at: timeline, faces, spectrograms, attention.",
        show_default=False,
    ),
]
EmbedOption = Annotated[
    bool,
    typer.Option("--embed", help="Put the video into the report, so that it can be passed on."),
]
AnnotateOption = Annotated[
    Path | None,
    typer.Option(
        "--annotate",
        metavar="FILE.mp4",
        help="Also write the video with faces, sentiment and text drawn into it.",
        show_default=False,
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="FILE.png|svg|pdf",
        help="Also draw the timeline, for a paper.",
        show_default=False,
    ),
]
PLOT_ENDINGS = (".png", ".svg", ".pdf")


@dataclass(frozen=True, slots=True)
class Products:
    """Files to be made of one video, each None where it was not asked for."""

    report: Path | None = None
    embed: bool = False
    annotate: Path | None = None
    plot: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """The files, in the order they are made."""
        return [path for path in (self.plot, self.report, self.annotate) if path is not None]

    @property
    def need_faces(self) -> bool:
        """Whether it must be known where each face was."""
        return self.report is not None or self.annotate is not None

    def check(self, paths: Sequence[Path], inputs: Sequence[Path]) -> None:
        """Find out before the work whether all can be made, and overwrites no input.

        Raises
        ------
        UsageError, OutputError
            They cannot.
        """
        if self.embed and self.report is None:
            raise UsageError("--embed goes with --report")
        if self.targets and len(paths) > 1:
            raise UsageError(
                "--report, --annotate and --plot are for one video at a time; for many use "
                "'avsent batch' and 'avsent report'"
            )
        if self.annotate is not None and self.annotate.suffix.lower() not in {".mp4", ".mkv"}:
            raise UsageError(f"--annotate {self.annotate}: end the name in .mp4 or .mkv")
        if self.plot is not None and self.plot.suffix.lower() not in PLOT_ENDINGS:
            raise UsageError(f"--plot {self.plot}: end the name in {', '.join(PLOT_ENDINGS)}")
        for target in self.targets:
            check_target(target, inputs)
        if len(set(self.targets)) < len(self.targets):
            raise UsageError("--report, --annotate and --plot need names of their own")

    def make(
        self,
        path: Path,
        result: Result,
        sightings: Sequence[Sighting],
        on_progress: ProgressHook,
        wrote: Callable[[Path], None],
    ) -> None:
        """Make all of them of the video ``path``; ``wrote`` is called with each file."""
        if self.plot is not None:
            from avsent.views.timeline import save_timeline

            save_timeline(self.plot, result)
            wrote(self.plot)
        if self.report is not None:
            from avsent.views.report.page import write_report

            write_report(
                self.report,
                result,
                media=path,
                sightings=sightings,
                embed=self.embed,
                on_progress=on_progress,
            )
            wrote(self.report)
        if self.annotate is not None:
            from avsent.views.annotate.video import annotate

            annotate(path, self.annotate, result, sightings, on_progress)
            wrote(self.annotate)


T = TypeVar("T")
PredictOne: TypeAlias = Callable[[Path, ProgressHook], Result]


@dataclass(frozen=True, slots=True)
class Together(Generic[T]):
    """Results that need all files: each is analysed, then each is concluded with the others."""

    analyse: Callable[[Path, ProgressHook], T]
    conclude: Callable[[T, Sequence[T]], Result]


class Run:
    """The results of several files, one after the other, and what became of each.

    Parameters
    ----------
    predict
        Makes the result of one file, or of all together; called only for files that are there.
    warns
        Whether to print the warnings on each file (for outputs that do not hold them).
    quiet
        Whether to draw no progress bar.
    debug
        Whether to print the traceback of each failure.
    """

    def __init__(
        self,
        predict: PredictOne | Together[Any],
        *,
        warns: bool = True,
        quiet: bool,
        debug: bool,
    ) -> None:
        self._predict = predict
        self._warns = warns
        self._quiet = quiet
        self._debug = debug
        self._exit_codes: list[int] = []

    def results(self, paths: Sequence[Path]) -> Iterator[tuple[int, Result]]:
        """Each result with the number of its file; a failure is printed when its turn comes.

        Raises
        ------
        typer.Exit
            At the end, with the exit code of the first failure, where no file succeeded: before
            the consumer completes an output in which nothing would be.
        """
        if isinstance(self._predict, Together):
            results = self._together(paths, self._predict)
        else:
            results = self._each(paths, self._predict)
        for number, result in results:
            if self._warns:
                for warning in result.warnings or _remarks(result):
                    warn(f"{result.source}: {warning}")
            yield number, result
        if self._exit_codes and len(self._exit_codes) == len(paths):
            raise typer.Exit(self._exit_codes[0])

    def _each(
        self, paths: Sequence[Path], work: Callable[[Path, ProgressHook], T]
    ) -> Iterator[tuple[int, T]]:
        """What ``work`` makes of each file, behind a progress bar."""
        for number, path in enumerate(paths):
            name = path.name if len(paths) == 1 else f"[{number + 1}/{len(paths)}] {path.name}"
            try:
                check_media(path)
                with ProgressBar(name, quiet=self._quiet) as bar:
                    done = work(path, bar)
            except Exception as error:
                self._failed(error)
                continue
            yield number, done

    def _together(self, paths: Sequence[Path], work: Together[T]) -> Iterator[tuple[int, Result]]:
        analysed = list(self._each(paths, work.analyse))
        for place, (number, own) in enumerate(analysed):
            others = [other for at, (_, other) in enumerate(analysed) if at != place]
            try:
                result = work.conclude(own, others)
            except Exception as error:
                self._failed(error)
                continue
            yield number, result

    def _failed(self, error: Exception) -> None:
        """Print what became of a file; raise what would become of every file."""
        # A wrong option or a damaged checkpoint is the same for all of them.
        if isinstance(error, AvsentError) and not isinstance(error, InputError):
            raise error
        self._exit_codes.append(report(error, debug=self._debug))

    def finish(self, count: int) -> None:
        """Raise PartialFailure where some of so many files failed."""
        if self._exit_codes:
            failed = len(self._exit_codes)
            raise PartialFailure(f"{failed} of {count} files failed; the others are done")


def _remarks(result: Result) -> tuple[str, ...]:
    """What an empty output does not tell."""
    return () if result.utterances else ("no utterances found",)


def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="Videos or sound files. After a lone -- a name may start with a dash.",
            show_default=False,
        ),
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(Format),
            help="Format of the output. By default what the name after -o ends in; json for a "
            "folder; a table on the terminal.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="A file, or a folder that gets NAME.json (or another format) for each input. "
            "By default results are printed.",
            show_default=False,
        ),
    ] = None,
    checkpoint: CheckpointOption = "default",
    utterances: Annotated[
        Path | None,
        typer.Option(
            "--utterances",
            metavar="FILE",
            help="Use the utterances of this .srt, .vtt or .csv file instead of finding them.",
            show_default=False,
        ),
    ] = None,
    face: FaceOption = FaceChoice.speaking,
    adapt: AdaptOption = Adapt.none,
    device: DeviceOption = "auto",
    attention: Annotated[
        bool,
        typer.Option(
            "--attention",
            help="Add to the table how much each utterance contributed to each other one "
            "(always in json and jsonl).",
        ),
    ] = False,
    rate: RateOption = None,
    landmarks: LandmarksOption = None,
    check: CheckOption = True,
    proxy: ProxyOption = None,
    strict: StrictOption = False,
    report: ReportOption = None,
    embed: EmbedOption = False,
    annotate: AnnotateOption = None,
    plot: PlotOption = None,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell the sentiment of each utterance, with the attention weights behind it.

    Works on the voice and the face alone. Results go to standard output or to -o OUT; progress
    and warnings go to standard error.
    """
    if utterances is not None and len(paths) > 1:
        raise UsageError("--utterances is for one video at a time")
    destination = choose_destination(paths, format, output, attention=attention)
    check_option_file("--utterances", utterances)
    check_option_file("--landmarks", landmarks)
    products = Products(report, embed, annotate, plot)
    inputs = [*paths, *filter(None, [utterances, landmarks])]
    destination.check(inputs)
    products.check(paths, [*inputs, *destination.targets])

    # Here, so that mistakes above are told at once: rich and torch take their time.
    from avsent.cli.progress import ProgressBar

    predictor: Predictor | None = None

    def ready() -> tuple[Predictor, PredictOptions]:
        nonlocal predictor
        from avsent.options import PredictOptions
        from avsent.predictor import Predictor

        # The first file that is there loads the model, the others use it.
        predictor = predictor or Predictor.load(checkpoint, device=device)
        return predictor, PredictOptions(
            utterances=utterances,
            face=face,
            analysis_rate_hz=rate,
            strict=strict,
            landmarks=landmarks,
            adapt=adapt,
            sightings=products.need_faces,
            check=check,
            proxy=proxy,
        )

    seen: list[tuple[Path, Result, Sequence[Sighting]]] = []

    def analyse(path: Path, on_progress: ProgressHook) -> Analysis:
        loaded, options = ready()
        return loaded.analyse(path, options=options, on_progress=on_progress)

    def conclude(analysis: Analysis, others: Sequence[Analysis] = ()) -> Result:
        result = ready()[0].conclude(analysis, others)
        if products.targets:
            seen.append((Path(analysis.source), result, analysis.sightings))
        return result

    def predict_one(path: Path, on_progress: ProgressHook) -> Result:
        return conclude(analyse(path, on_progress))

    def wrote(target: Path) -> None:
        if sys.stderr.isatty() and not quiet:
            say("", f"wrote {target}")

    warns = not quiet and not destination.writer.shows_warnings
    work = Together(analyse, conclude) if adapt is Adapt.corpus else predict_one
    run = Run(work, warns=warns, quiet=quiet, debug=SESSION.debug)
    destination.write(run.results(paths), wrote)
    for path, result, sightings in seen:
        with ProgressBar(path.name, quiet=quiet) as bar:
            products.make(path, result, sightings, bar, wrote)
    run.finish(len(paths))
