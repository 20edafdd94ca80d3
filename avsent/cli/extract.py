"""``avsent extract``: the features of a corpus, once, as one file."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from avsent.cli.data_options import CacheOption
from avsent.cli.inputs import check_option_file
from avsent.cli.options import DebugOption, LandmarksOption, QuietOption
from avsent.cli.outcome import say, warn
from avsent.errors import UsageError
from avsent.faces.choice import FaceChoice
from avsent.writers.files import check_target

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
    from avsent.data.feature_files import write_features
    from avsent.data.open_corpus import CorpusOptions, open_corpus

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
