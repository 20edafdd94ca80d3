"""``avsent predict``: the sentiment of each utterance of one or several files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsent.adapt import Adapt
from avsent.cli.destination import choose_destination
from avsent.cli.inputs import check_option_file
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
)
from avsent.cli.outcome import say
from avsent.cli.products import (
    AnnotateOption,
    EmbedOption,
    PlotOption,
    Products,
    ReportOption,
)
from avsent.errors import UsageError
from avsent.faces.choice import FaceChoice
from avsent.progress import ProgressHook
from avsent.results import Result
from avsent.writers import Format

if TYPE_CHECKING:
    from avsent.faces.types import Sighting
    from avsent.pipeline import Analysis, PredictOptions, Predictor


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
    from avsent.cli.running import Run, Together

    predictor: Predictor | None = None

    def ready() -> tuple[Predictor, PredictOptions]:
        nonlocal predictor
        from avsent.pipeline import PredictOptions, Predictor

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
