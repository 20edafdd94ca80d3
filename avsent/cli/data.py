"""``avsent data``: look a training corpus over before training, and write manifests."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from avsent.cli.options import (
    CacheOption,
    DebugOption,
    LabelOption,
    LabelsOption,
    LandmarksOption,
    QuietOption,
    SplitBy,
    SplitByOption,
    check_option_file,
)
from avsent.cli.outcome import printing, say, warn
from avsent.errors import DatasetError, OutputError, UsageError
from avsent.files import check_target
from avsent.options import FaceChoice

if TYPE_CHECKING:
    from avsent.training.data.check import Problem


class ProblemFormat(StrEnum):
    """How problems are printed."""

    table = "table"
    json = "json"


def print_problems(problems: Sequence[Problem], format: ProblemFormat, file: TextIO) -> None:
    """Print them; nothing, or an empty list of JSON, where there are none."""
    if format is ProblemFormat.json:
        # ASCII: any text comes through any pipe or terminal.
        json.dump([asdict(problem) for problem in problems], file, indent=1)
        file.write("\n")
    elif file.isatty():
        _print_table(problems, file)
    else:
        from avsent.text import one_line

        for problem in problems:
            cells = (problem.where, problem.kind, problem.detail)
            file.write("\t".join(map(one_line, cells)) + "\n")


def _print_table(problems: Sequence[Problem], file: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from avsent.text import one_line

    if not problems:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("where", overflow="fold", max_width=40)
    table.add_column("kind", no_wrap=True)
    table.add_column("what", overflow="fold")
    for problem in problems:
        style = "dim" if problem.is_note else "yellow"
        kind = Text(problem.kind, style=style)
        table.add_row(Text(one_line(problem.where)), kind, Text(one_line(problem.detail)))
    Console(file=file, markup=False, emoji=False, highlight=False).print(table)


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A manifest, or a folder: with manifest.csv, in the layout of MMSA or MELD, or with "
        "RAVDESS's files.",
        show_default=False,
    ),
]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def data(context: typer.Context, debug: DebugOption = False) -> None:
    """Look a training corpus over, or write a manifest of it.

    A manifest is a CSV file with one utterance per row. Its columns are video, start_s, end_s,
    speaker, split and label, or emotion or sentiment, and where wanted text and context. Paths
    are relative to it.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("check", short_help="Name everything that is wrong with a corpus.")
def check(
    data: DataArgument,
    label: LabelOption = "label",
    labels: LabelsOption = "auto",
    split_by: SplitByOption = SplitBy.speaker,
    format: Annotated[
        ProblemFormat,
        typer.Option("--format", "-f", metavar="|".join(ProblemFormat), help="Format of the list."),
    ] = ProblemFormat.table,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Name every item that is missing, unreadable, too short, without a label or with a wrong
    one, there twice, beyond the end of its file, or of a speaker who is in two splits.

    The list goes to standard output, with tabs between the columns where that is no terminal; a
    summary goes to standard error. Ends with code 3 where anything is wrong; utterances without
    a text are only noted.
    """
    from avsent.cli.progress import counting_bar
    from avsent.training.data.check import LabelCheck, counted, find_problems, probe_files, summary
    from avsent.training.data.layouts import read_rows

    rows = read_rows(data)
    with counting_bar(quiet=quiet) as hook:
        files = probe_files((row.media for row in rows), hook)
    label_check = LabelCheck(rows, label, labels)
    problems = find_problems(rows, files, label_check, split_by)
    with printing():
        print_problems(problems, format, sys.stdout)
    notes = sum(problem.is_note for problem in problems)
    wrong = len(problems) - notes
    if not quiet:
        found = [counted(wrong, "problem") if wrong else "nothing wrong"]
        found += [counted(notes, "note")] if notes else []
        say("", f"{summary(rows, files, label, label_check.label_set)}; {', '.join(found)}")
    if wrong:
        raise typer.Exit(DatasetError.exit_code)


@app.command("import", short_help="Write a manifest of a corpus.")
def import_(
    data: DataArgument,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.csv",
            help="The manifest to write. Files below its folder are named relative to it.",
            show_default=False,
        ),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite a manifest that is there.")
    ] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Write a manifest of a corpus in any of the layouts, to look at, change or pass on.

    The media files stay where they are; nothing is checked but the lists themselves.
    """
    from avsent.files import check_target
    from avsent.training.data.check import counted
    from avsent.training.data.layouts import read_rows
    from avsent.training.data.manifest import MANIFEST_NAME, write_manifest

    if output.suffix.lower() != ".csv":
        raise UsageError(f"the manifest {output} needs a name that ends in .csv")
    rows = read_rows(data)
    check_target(output, [data, data / MANIFEST_NAME])
    if os.path.lexists(output) and not force:
        raise OutputError(f"{output} is there already; choose another name, or give --force")
    write_manifest(output, rows)
    if not quiet:
        say("", f"wrote {output}: {counted(len(rows), 'utterance')}")


FILE_ENDING = ".npz"


def extract(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A manifest, a folder with manifest.csv, the folder of a known corpus, or a "
            "feature file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FEATURES",
            help="The feature file to write; its name ends in .npz.",
            show_default=False,
        ),
    ],
    cache: CacheOption = None,
    face: Annotated[
        FaceChoice,
        typer.Option(
            "--face",
            metavar=f"{FaceChoice.speaking}|{FaceChoice.largest}",
            help="Of several faces: the one most likely speaking, or the largest.",
        ),
    ] = FaceChoice.speaking,
    landmarks: LandmarksOption = None,
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures",
            help="Keep small grey pictures of the faces: people can be recognised in them. The "
            "shipped models judge a little better with them.",
        ),
    ] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Analyse the videos of a corpus and write the features of its utterances to one file.

    The file holds labels, transcripts and features, no sound and, without --pictures, no pictures.
    avsent train takes it instead of the videos. What is done is kept: after Ctrl-C the same command
    goes on where it stopped.
    """
    if output.suffix.lower() != FILE_ENDING:
        raise UsageError(f"{output}: name the feature file with the ending {FILE_ENDING}")
    if face is FaceChoice.all:
        raise UsageError("--face all is for prediction; for training give speaking or largest")
    check_option_file("--landmarks", landmarks)
    check_target(output, [data, *filter(None, [landmarks])])

    # Here, so that mistakes above are told at once: torch and rich take their time.
    from avsent.cli.progress import ProgressBar
    from avsent.training.data.feature_files import write_features
    from avsent.training.data.open import CorpusOptions, open_corpus

    warnings: list[str] = []
    with ProgressBar(data.resolve().name, quiet=quiet) as bar:
        corpus = open_corpus(
            data,
            options=CorpusOptions(cache=cache, face=face, landmarks=landmarks),
            on_progress=bar,
            on_warning=warnings.append,
        )
        if not pictures:
            samples = (dataclasses.replace(sample, pictures=None) for sample in corpus.samples)
            corpus = corpus.subset(samples)
        write_features(output, corpus)
    if quiet:
        return
    for warning in warnings:
        warn(warning)
    if sys.stderr.isatty():
        videos = len({sample.video for sample in corpus.samples})
        say("", f"wrote {output}: {len(corpus.samples)} utterances of {videos} videos")
