"""``avsent predict``: the sentiment of each utterance of one or several files."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from avsent.cli import options, outcome, progress
from avsent.errors import AvsentError, InputError, OutputError, PartialFailure, UsageError
from avsent.files import atomic_text, check_target, prepare_folder
from avsent.options import Adapt, FaceChoice, PredictOptions
from avsent.progress import ProgressHook
from avsent.result.record import Result
from avsent.result.writers import Format, format_of, make_writer
from avsent.result.writers.data import Writer

if TYPE_CHECKING:
    from avsent.predictor import Analysis, Predictor


def names_folder(out: str, *, several: bool) -> bool:
    """Whether ``-o OUT`` stands for a folder.

    It does if OUT is a folder, or ends with a slash; for several media files it also does unless
    OUT ends like a file (``.csv``), which then gets all results together.
    """
    if out.endswith((os.sep, os.altsep or os.sep)) or os.path.isdir(out):
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
        while (folded := unicodedata.normalize("NFC", name).casefold()) in taken:
            number += 1
            name = f"{source.name}.{number}.{extension}"
        taken.add(folded)
        targets.append(folder / name)
    return targets


@dataclass(frozen=True, slots=True)
class Destination:
    """A writer and the files it writes; without files, results are printed.

    ``targets``: if ``apart`` a file for each source, in order; else one file for all results.
    """

    writer: Writer
    targets: tuple[Path, ...] = ()
    apart: bool = False

    def check(self, inputs: Sequence[Path]) -> None:
        """Check before the work that everything can be written, and overwrites no input."""
        for target in self.targets:
            check_target(target, inputs, makes_folder=self.apart)

    def write(self, results: Iterable[tuple[int, Result]], *, quiet: bool) -> None:
        """Write each result, given with the number of its source, as soon as it is there.

        Unless ``quiet``, warnings are printed if the format does not hold them.
        """
        if not quiet and not self.writer.shows_warnings:
            results = warn_of(results)
        if self.apart:
            for number, result in results:
                target = self.targets[number]
                prepare_folder(target.parent)
                with atomic_text(target) as file:
                    self.writer.write([result], file)
                outcome.say_wrote(target, quiet=quiet)
            return
        bare = (result for _, result in results)
        if self.targets:
            with atomic_text(self.targets[0]) as file:
                self.writer.write(bare, file)
            outcome.say_wrote(self.targets[0], quiet=quiet)
        elif sys.stdout is None:
            raise OutputError("cannot write to standard output: it is closed; give -o FILE")
        else:
            with outcome.printing():
                self.writer.write(bare, sys.stdout)


def warn_of(results: Iterable[tuple[int, Result]]) -> Iterator[tuple[int, Result]]:
    """The results, whose warnings are printed."""
    for number, result in results:
        nothing = () if result.utterances else ("no utterances found",)
        for warning in result.warnings or nothing:
            outcome.warn(f"{result.source}: {warning}")
        yield number, result


def choose_destination(
    sources: Sequence[Path], format: Format | None, out: str | None, *, attention: bool
) -> Destination:
    """What ``--format`` and ``-o`` mean for these sources. Raises UsageError if the options
    contradict each other, or the format is unclear."""
    if out == "":
        raise UsageError("-o needs the name of a file or folder")
    out = None if out == "-" else out
    several = len(sources) > 1
    folder = out is not None and names_folder(out, several=several)
    if format is None:
        format = Format.table if out is None else Format.json if folder else format_of(out)
    if format is None:
        raise UsageError(
            f"cannot tell the format of {out}: give --format, or end the name in .json, .csv, …"
        )
    if attention and format not in {Format.table, Format.json, Format.jsonl}:
        raise UsageError(f"{format} cannot hold --attention; use table, json or jsonl")
    writer = make_writer(format, several=several and not folder, attention=attention)
    if several and not folder and not writer.combines:
        raise UsageError(f"{format} is for one video at a time: name a folder with -o FOLDER/")
    if out is None:
        return Destination(writer)
    if folder:
        targets = targets_in_folder(Path(out), sources, writer.extension)
        return Destination(writer, tuple(targets), apart=True)
    return Destination(writer, (Path(out),))


@dataclass(frozen=True, slots=True)
class Views:
    """Other files to make of one video, each None where it is not wanted."""

    report: Path | None = None
    embed: bool = False
    annotate: Path | None = None
    plot: Path | None = None

    @property
    def targets(self) -> list[Path]:
        """The files, in the order they are made."""
        return [path for path in (self.plot, self.report, self.annotate) if path is not None]

    def check(self, paths: Sequence[Path], inputs: Sequence[Path]) -> None:
        """Check before the work that all can be made of ``paths``, and overwrite no input."""
        if self.embed and self.report is None:
            raise UsageError("--embed goes with --report")
        if self.targets and len(paths) > 1:
            raise UsageError(
                "--report, --annotate and --plot are for one video at a time; for many use "
                "'avsent batch' and 'avsent report'"
            )
        options.check_ending("--annotate", self.annotate, (".mp4", ".mkv"))
        options.check_ending("--plot", self.plot, (".png", ".svg", ".pdf"))
        for target in self.targets:
            check_target(target, inputs)
        if len(set(self.targets)) < len(self.targets):
            raise UsageError("--report, --annotate and --plot need different names")

    def make(self, analysis: Analysis, result: Result, *, quiet: bool) -> None:
        """Make all of them of the video that was analysed."""
        path = Path(analysis.source)
        with progress.progress_bar(path.name, quiet=quiet) as bar:
            if self.plot is not None:
                from avsent.views.timeline import save_timeline

                save_timeline(self.plot, result)
                outcome.say_wrote(self.plot, quiet=quiet)
            if self.report is not None:
                from avsent.views.report.page import write_report

                write_report(
                    self.report,
                    result,
                    media=path,
                    sightings=analysis.sightings,
                    embed=self.embed,
                    on_progress=bar,
                )
                outcome.say_wrote(self.report, quiet=quiet)
            if self.annotate is not None:
                from avsent.views.annotate.video import annotate

                annotate(path, self.annotate, result, analysis.sightings, bar)
                outcome.say_wrote(self.annotate, quiet=quiet)


@dataclass(slots=True)
class Run:
    """Works through several files; a file that fails is reported, and the others go on.

    ``debug``: print the traceback of each failure. ``exit_codes``: of the failures so far.
    """

    paths: Sequence[Path]
    quiet: bool
    debug: bool
    exit_codes: list[int] = field(default_factory=list)

    def results(
        self,
        analyse: Callable[[Path, ProgressHook], Analysis],
        conclude: Callable[[Analysis, Sequence[Analysis]], Result],
        *,
        together: bool,
    ) -> Iterator[tuple[int, Result]]:
        """Each result with the number of its file.

        ``analyse`` is called with each file that exists. ``conclude`` turns its analysis into a
        result; if ``together``, it also gets the analyses of the other files. Raises typer.Exit if
        no file succeeded. Raised here, so that no empty output is written.
        """
        found = self._analyses(analyse)
        analyses = list(found) if together else found
        for number, own in analyses:
            others = [one for at, one in analyses if at != number] if together else []
            with self._reported():
                yield number, conclude(own, others)
        if self.exit_codes and len(self.exit_codes) == len(self.paths):
            raise typer.Exit(self.exit_codes[0])

    def _analyses(
        self, analyse: Callable[[Path, ProgressHook], Analysis]
    ) -> Iterator[tuple[int, Analysis]]:
        total = len(self.paths)
        for number, path in enumerate(self.paths):
            name = path.name if total == 1 else f"[{number + 1}/{total}] {path.name}"
            with self._reported():
                options.check_file(path)
                with progress.progress_bar(name, quiet=self.quiet) as bar:
                    analysis = analyse(path, bar)
                yield number, analysis

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Report the failure of one file; raise what would fail for every file."""
        try:
            yield
        except Exception as error:
            # A wrong option or a damaged checkpoint is the same for all of them.
            if isinstance(error, AvsentError) and not isinstance(error, InputError):
                raise
            self.exit_codes.append(outcome.report_error(error, debug=self.debug))

    def finish(self) -> None:
        """Raise PartialFailure where some files failed."""
        if self.exit_codes:
            failed = len(self.exit_codes)
            raise PartialFailure(f"{failed} of {len(self.paths)} files failed; the others are done")


def predict(
    paths: list[Path] = options.argument(
        "PATH", "Videos or sound files. After a lone -- a name may start with a dash."
    ),
    format: Format | None = options.option(
        "--format -f",
        "Format of the output. Default: the ending of OUT; json for a folder; a table if printed.",
        choices=Format,
    ),
    output: str | None = options.option(
        "--output -o OUT",
        "A file, or a folder that gets NAME.json (or another format) for each input. Default: "
        "print the results.",
    ),
    checkpoint: str = options.CHECKPOINT,
    utterances: Path | None = options.UTTERANCES,
    tier: str | None = options.TIER,
    face: FaceChoice = options.FACE,
    adapt: Adapt = options.ADAPT,
    audio_track: str | None = options.AUDIO_TRACK,
    video_track: int | None = options.VIDEO_TRACK,
    device: str = options.DEVICE,
    attention: bool = options.option(
        "--attention",
        "Add to the table how much each utterance contributed to every other one (always in json "
        "and jsonl).",
        False,
    ),
    rate: float | None = options.RATE,
    landmarks: Path | None = options.LANDMARKS,
    check: bool = options.CHECK,
    proxy: bool | None = options.PROXY,
    strict: bool = options.STRICT,
    report: Path | None = options.option(
        "--report FILE.html", "Also write a page with timeline, faces, spectrograms and attention."
    ),
    embed: bool = options.EMBED,
    annotate: Path | None = options.option(
        "--annotate FILE.mp4", "Also write the video with faces, sentiment and text drawn into it."
    ),
    plot: Path | None = options.option(
        "--plot FILE.png|svg|pdf", "Also draw the timeline as a figure."
    ),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Predict the sentiment of each utterance, with the attention weights behind it.

    Uses only voice and face. Results go to standard output or to -o OUT, progress and warnings to
    standard error.
    """
    destination = choose_destination(paths, format, output, attention=attention)
    options.check_utterances(utterances, tier, several=len(paths) > 1)
    options.check_option_file("--landmarks", landmarks)
    views = Views(report, embed, annotate, plot)
    inputs = [*paths, *filter(None, [utterances, landmarks])]
    destination.check(inputs)
    views.check(paths, [*inputs, *destination.targets])

    predict_options = PredictOptions(
        utterances=utterances,
        tier=tier,
        face=face,
        audio_track=audio_track,
        video_track=video_track,
        analysis_rate_hz=rate,
        strict=strict,
        landmarks=landmarks,
        adapt=adapt,
        sightings=report is not None or annotate is not None,
        check=check,
        proxy=proxy,
    )
    finished: list[tuple[Analysis, Result]] = []

    @functools.cache
    def loaded() -> Predictor:
        # Loaded with the first existing file, so that wrong options are reported without waiting.
        from avsent.predictor import Predictor

        return Predictor.load(checkpoint, device=device)

    def analyse(path: Path, on_progress: ProgressHook) -> Analysis:
        return loaded().analyse(path, options=predict_options, on_progress=on_progress)

    def conclude(analysis: Analysis, others: Sequence[Analysis]) -> Result:
        result = loaded().conclude(analysis, others)
        if views.targets:
            finished.append((analysis, result))
        return result

    run = Run(paths, quiet=quiet, debug=options.SESSION.debug)
    results = run.results(analyse, conclude, together=adapt is Adapt.corpus)
    destination.write(results, quiet=quiet)
    for analysis, result in finished:
        views.make(analysis, result, quiet=quiet)
    run.finish()
