"""What ``avsent train`` shows: the way of a run on standard error, its figures at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from avsent.cli.counting import counting_bar
from avsent.cli.outcome import printing, say, warn
from avsent.data.corpus import Corpus
from avsent.data.open_corpus import CorpusOptions, open_corpus
from avsent.training.metrics import TITLES
from avsent.training.runs import Hooks

if TYPE_CHECKING:
    from avsent.features.config import FeatureConfig

_COLUMNS = (("target", "model"), ("no-transfer", "without transfer"), ("source", "source"))
_SHOWN = ("valid_balanced_accuracy", "valid_mae", "valid_loss")


def open_data(
    data: Path,
    *,
    cache: Path | None,
    quiet: bool,
    features: FeatureConfig | None = None,
    check: bool = True,
) -> Corpus:
    """The corpus in ``data``, with a bar while features are made and warnings after it;
    ``check``: without damaged modalities."""
    warnings: list[str] = []
    options = CorpusOptions(cache=cache, check=check)
    if features is not None:
        options = dataclasses.replace(options, features=features)
    with counting_bar(quiet=quiet) as hook:
        corpus = open_corpus(data, options=options, on_progress=hook, on_warning=warnings.append)
    if not quiet:
        for warning in warnings:
            warn(warning)
    return corpus


@contextlib.contextmanager
def training_view(epochs: int, *, quiet: bool) -> Iterator[Hooks]:
    """What a run calls: a bar of ``epochs`` where standard error is a terminal, else a line per
    stage."""
    if quiet:
        yield Hooks()
        return
    if not sys.stderr.isatty():
        yield Hooks(say=lambda line: say("", line))
        return
    with RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        expand=True,
    ) as bar:
        task = bar.add_task("starting", total=None, state="")

        def begin(line: str) -> None:
            bar.reset(task, description=line, total=epochs, state="")

        def show(seed: int, stage: str, measured: Mapping[str, float]) -> None:
            bar.update(task, completed=int(measured["epoch"]), state=_state(measured))

        yield Hooks(say=begin, on_epoch=show)


def _state(measured: Mapping[str, float]) -> str:
    """The validation figure of an epoch."""
    name = next((name for name in _SHOWN if name in measured), None)
    if name is None:
        return ""
    return f"{TITLES.get(name.removeprefix('valid_'), 'loss')} {measured[name]:.3f}"


def print_summary(summary: Mapping[str, Any]) -> None:
    """Figures of the test part (validation where there is none): a table on a terminal, else
    lines with tabs between the columns."""
    part = "test" if "test" in summary["target"] else "valid"
    columns = [(name, summary[m][part]) for m, name in _COLUMNS if part in summary.get(m, {})]
    head = [f"{part} part", *(name for name, _ in columns), "majority"]
    rows = []
    for metric, figure in columns[0][1].items():
        cells = [_cell(found.get(metric)) for _, found in columns]
        majority = None if figure is None else figure["majority"]
        rows.append([TITLES[metric], *cells, "–" if majority is None else f"{majority:.3f}"])
    with printing():
        if sys.stdout.isatty():
            table = Table(*head)
            for row in rows:
                table.add_row(*row)
            Console().print(table)
        else:
            for row in [head, *rows]:
                print("\t".join(row))


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{spread}"
