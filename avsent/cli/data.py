"""``avsent data``: look a training corpus over before training, and write manifests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from avsent.cli.data_options import LabelOption, LabelsOption, SplitBy, SplitByOption
from avsent.cli.options import DebugOption, QuietOption
from avsent.cli.outcome import printing, say
from avsent.cli.problems import ProblemFormat, print_problems
from avsent.errors import DatasetError, OutputError, UsageError

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
    from avsent.cli.counting import counting_bar
    from avsent.data.check import find_problems
    from avsent.data.check_labels import LabelCheck
    from avsent.data.listing import read_rows
    from avsent.data.probe import probe_files
    from avsent.data.summary import counted, summary

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
    from avsent.data.listing import read_rows
    from avsent.data.manifest import MANIFEST_NAME, write_manifest
    from avsent.data.summary import counted
    from avsent.writers.files import check_target

    if output.suffix.lower() != ".csv":
        raise UsageError(f"the manifest {output} needs a name that ends in .csv")
    rows = read_rows(data)
    check_target(output, [data, data / MANIFEST_NAME])
    if os.path.lexists(output) and not force:
        raise OutputError(f"{output} is there already; choose another name, or give --force")
    write_manifest(output, rows)
    if not quiet:
        say("", f"wrote {output}: {counted(len(rows), 'utterance')}")
