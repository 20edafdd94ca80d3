"""An evaluation as people read it: tables on a terminal, lines with tabs elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table

from avsent.training.judging import Judgement
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
