"""``avsent data`` and ``avsent extract``: check a corpus, write its manifest, its features."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from avsent.cli import options, outcome, progress
from avsent.errors import DatasetError, OutputError, UsageError
from avsent.files import check_target
from avsent.options import FaceChoice
from avsent.text import counted

if TYPE_CHECKING:
    from avsent.training.data import check, corpus, feature_files

MEDIA = options.argument("DATA", f"A manifest, or {options.LAYOUTS}")

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def data(context: typer.Context, debug: bool = options.DEBUG) -> None:
    """Check a training corpus, or write a manifest of it.

    A manifest is a CSV file with one utterance per row. Its columns are video, start_s, end_s,
    speaker, split, and label, emotion or sentiment; text and context are optional. Paths are
    relative to the manifest.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("check", short_help="List everything that is wrong with a corpus.")
def check_(
    data: Path = MEDIA,
    label: str = options.LABEL,
    labels: str = options.LABELS,
    label_range: tuple[float, float] | None = options.LABEL_RANGE,
    label_map: Path | None = options.LABEL_MAP,
    split_by: options.SplitBy = options.SPLIT_BY,
    format: options.ReportFormat = options.REPORT_FORMAT,
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """List every item that is missing, unreadable, too short, duplicate, without a label or with
    a wrong one, beyond the end of its file, or of a speaker who is in two splits.

    The list goes to standard output, tab-separated if that is no terminal, and a summary to
    standard error. Exits with code 3 if anything is wrong. Utterances without text are only noted.
    """
    from avsent.training.data import check, manifest

    scale = options.label_scale(label_range, label_map)
    rows = manifest.read_rows(data, functools.partial(outcome.warn, quiet=quiet))
    with progress.progress_bar(quiet=quiet, counts=True) as bar:
        files = check.probe_files((row.media for row in rows), bar)
    label_check = check.LabelCheck(rows, label, labels, scale)
    problems = check.find_problems(rows, files, label_check, split_by)
    with outcome.printing():
        if format is options.ReportFormat.json:
            # ASCII, which any pipe or terminal takes.
            print(json.dumps([dataclasses.asdict(problem) for problem in problems], indent=1))
        else:
            styles: dict[str, str] = {p.kind: "dim" if p.is_note else "yellow" for p in problems}
            table = [(problem.where, problem.kind, problem.detail) for problem in problems]
            outcome.print_table(table, ("where", "kind", "what"), styles=styles)
    notes = sum(problem.is_note for problem in problems)
    wrong = len(problems) - notes
    if not quiet:
        found = [counted(wrong, "problem") if wrong else "nothing wrong"]
        found += [counted(notes, "note")] if notes else []
        outcome.say("", f"{check.summary(rows, files, label_check)}; {', '.join(found)}")
    if wrong:
        raise typer.Exit(DatasetError.exit_code)


@app.command("import", short_help="Write a manifest of a corpus.")
def import_(
    data: Path = MEDIA,
    output: Path = options.option(
        "--output -o FILE.csv",
        "The manifest to write. Paths of files below its folder are relative to it.",
        ...,
    ),
    force: bool = options.option("--force", "Overwrite an existing manifest.", False),
    skip_broken: bool = options.SKIP_BROKEN,
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Write a manifest of a corpus in any of the layouts, to view, change or share.

    The media files stay where they are; they are only checked with --skip-broken.
    """
    from avsent.training.data import check, manifest

    options.check_ending("-o", output, (".csv",))
    warn = functools.partial(outcome.warn, quiet=quiet)
    rows = manifest.read_rows(data, warn)
    check_target(output, [data, data / manifest.MANIFEST_NAME])
    if os.path.lexists(output) and not force:
        raise OutputError(f"{output} is there already; choose another name, or give --force")
    if skip_broken:
        with progress.progress_bar(quiet=quiet, counts=True) as bar:
            facts = check.probe_files((row.media for row in rows), bar)
        rows, _ = check.leave_out(rows, facts, True, warn)
    manifest.write_manifest(output, rows)
    if not quiet:
        outcome.say("", f"wrote {output}: {counted(len(rows), 'utterance')}")


def extract(
    data: Path = options.DATA,
    output: Path = options.option("--output -o FEATURES.npz", "The feature file to write.", ...),
    cache: Path | None = options.CACHE,
    face: FaceChoice = options.option(
        "--face",
        "Which of several faces: the most likely speaker, or the largest.",
        FaceChoice.speaking,
        choices=[FaceChoice.speaking, FaceChoice.largest],
    ),
    landmarks: Path | None = options.LANDMARKS,
    label_range: tuple[float, float] | None = options.LABEL_RANGE,
    label_map: Path | None = options.LABEL_MAP,
    skip_broken: bool = options.SKIP_BROKEN,
    pictures: bool = options.option(
        "--pictures",
        "Keep small grey images of the faces, in which people can be recognised. The included "
        "models are slightly better with them.",
        False,
    ),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Write the features of all utterances of a corpus to one file.

    The file holds labels, transcripts and features, but no sound and, without --pictures, no
    images. avsent train accepts it instead of the videos. The same command resumes after Ctrl-C.
    """
    options.check_ending("-o", output, (".npz",))
    if face is FaceChoice.all:
        raise UsageError("--face all is for prediction; for training give speaking or largest")
    options.check_option_file("--landmarks", landmarks)
    check_target(output, [data, *filter(None, [landmarks])])

    # Imported here, so that mistakes above are reported at once.
    from avsent.training.data import feature_files

    scale = options.label_scale(label_range, label_map)
    corpus_options = feature_files.CorpusOptions(
        cache=cache, face=face, landmarks=landmarks, scale=scale, skip_broken=skip_broken
    )
    corpus = open_data(data, corpus_options, quiet=quiet)
    if not pictures:
        corpus = corpus.subset(
            dataclasses.replace(sample, pictures=None) for sample in corpus.samples
        )
    feature_files.write_features(output, corpus)
    videos = len({sample.video for sample in corpus.samples})
    outcome.say_wrote(f"{output}: {len(corpus.samples)} utterances of {videos} videos", quiet=quiet)


def open_data(
    data: Path,
    corpus_options: feature_files.CorpusOptions,
    *,
    quiet: bool,
    accept: Callable[[corpus.Corpus, check.OnWarning], object] = lambda *_: None,
) -> corpus.Corpus:
    """The corpus in ``data``, behind a progress bar, with its warnings printed; ``accept``: as for
    ``open_corpus``."""
    from avsent.training.data.open import open_corpus

    warn = functools.partial(outcome.warn, quiet=quiet)
    with progress.progress_bar(quiet=quiet) as bar:
        return open_corpus(data, corpus_options, bar, warn, accept)
