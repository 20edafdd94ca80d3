"""``avsent evaluate``: how good a checkpoint is on a labelled corpus."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.table import Table

from avsent.cli.options import CacheOption, DebugOption, DeviceOption, LabelOption, QuietOption
from avsent.cli.outcome import printing, say, warn
from avsent.errors import UsageError
from avsent.files import atomic_text, check_target
from avsent.training.checkpoint_evaluation import Judgement
from avsent.training.metrics import TITLES


def print_evaluation(judgement: Judgement, file: TextIO) -> None:
    """Figures with intervals and baseline, per class, per speaker, confusion."""
    found = judgement.evaluation
    level = f"{100 * found.level:.0f}% interval"
    whose = "mean" if found.baseline_value is not None else "commonest"
    _print(
        file,
        f"{found.count} utterances of {found.videos} videos, part {judgement.part}",
        ["figure", "value", level, f"always the {whose} of {judgement.baseline_from}"],
        [list(row) for row in found.table_rows()],
    )
    if found.per_class:
        _print(
            file,
            "per class",
            ["class", "precision", "recall", "F1", "utterances"],
            [
                [c.label, _number(c.precision), _number(c.recall), _number(c.f1), str(c.support)]
                for c in found.per_class
            ],
        )
    if found.confusion:
        _print(
            file,
            "confusion",
            ["truth \\ decision", *found.labels],
            [
                [label, *map(str, counts)]
                for label, counts in zip(found.labels, found.confusion, strict=True)
            ],
        )
    if len(found.per_speaker) > 1:
        names = list(found.per_speaker[0].metrics)
        _print(
            file,
            "per speaker",
            ["speaker", "utterances", *(TITLES[name] for name in names)],
            [
                [s.speaker, str(s.count), *(_number(s.metrics[name]) for name in names)]
                for s in found.per_speaker
            ],
        )


def _print(file: TextIO, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not file.isatty():
        for row in ([f"# {title}"], head, *rows, [""]):
            print("\t".join(row), file=file)
        return
    table = Table(title=title, title_justify="left")
    for column in head:
        table.add_column(column, justify="left" if column == head[0] else "right")
    for row in rows:
        table.add_row(*row)
    Console(file=file).print(table, markup=False)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


class Part(StrEnum):
    """Which part of the corpus is judged."""

    auto = "auto"
    train = "train"
    valid = "valid"
    test = "test"
    all = "all"


class EvaluationFormat(StrEnum):
    """Format of what is printed."""

    table = "table"
    json = "json"


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A checkpoint folder, or the name of a model that came along.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Labelled data, in any form that avsent train takes.",
            show_default=False,
        ),
    ],
    label: LabelOption = "label",
    split: Annotated[
        Part,
        typer.Option(
            "--split",
            metavar="|".join(Part),
            help="The part to judge; auto is test where the data names parts, else all.",
        ),
    ] = Part.auto,
    format: Annotated[
        EvaluationFormat,
        typer.Option(
            "--format", "-f", metavar="|".join(EvaluationFormat), help="Format of what is printed."
        ),
    ] = EvaluationFormat.table,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.json",
            help="Write all figures to a JSON file as well.",
            show_default=False,
        ),
    ] = None,
    confusion: Annotated[
        Path | None,
        typer.Option(
            "--confusion",
            metavar="FILE",
            help="Draw the confusion of classes (.png or .svg).",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option("--draws", min=100, max=100_000, help="Draws of the bootstrap over videos."),
    ] = 1000,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Judge a checkpoint on labelled data.

    Accuracy, balanced accuracy, F1 and AUC; for numbers also their error, correlation and MMSA's
    accuracies; per class and per speaker; 95% intervals by bootstrap over videos; beside always
    deciding for the commonest class.
    """
    for target, endings in ((output, (".json",)), (confusion, (".png", ".svg"))):
        if target is None:
            continue
        if target.suffix.lower() not in endings:
            raise UsageError(f"{target}: its name must end in {' or '.join(endings)}")
        check_target(target, [data])

    # Here, so that mistakes above are told at once: torch takes its time.
    from avsent.cli.train import open_data
    from avsent.machine import torch_device
    from avsent.model.checkpoint import load_config
    from avsent.training.checkpoint_evaluation import JudgeOptions, judge
    from avsent.training.plots import save_confusion

    where = torch_device(device)
    features = load_config(checkpoint).features
    corpus = open_data(data, cache=cache, quiet=quiet, features=features)
    options = JudgeOptions(label=label, part=split, draws=draws, device=where)
    judgement = judge(checkpoint, corpus, options)
    figures = {"checkpoint": checkpoint, "data": corpus.name, **_about(judgement)}
    if judgement.left_out and not quiet:
        warn(f"{judgement.left_out} utterances without a label, or without voice and face left out")
    if output is not None:
        with atomic_text(output) as file:
            file.write(_json(figures))
    if confusion is not None:
        counts, labels = judgement.evaluation.confusion, judgement.evaluation.labels
        save_confusion(confusion, counts, labels, f"{corpus.name}, {judgement.part}")
    with printing():
        if format is EvaluationFormat.json:
            print(_json(figures), end="")
        else:
            print_evaluation(judgement, sys.stdout)
    if not quiet and sys.stderr.isatty():
        for target in filter(None, (output, confusion)):
            say("", f"wrote {target}")


def _about(judgement: Judgement) -> dict[str, Any]:
    return {
        "part": judgement.part,
        "left_out": judgement.left_out,
        "baseline_from": judgement.baseline_from,
        **judgement.evaluation.to_dict(),
    }


def _json(figures: dict[str, Any]) -> str:
    return json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
