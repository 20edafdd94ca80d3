"""A progress bar for work that is counted in files, not in seconds of media."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.writers.text import one_line


@contextlib.contextmanager
def counting_bar(*, quiet: bool) -> Iterator[ProgressHook]:
    """A hook that draws how many are done on standard error, and wipes it at the end; one that
    draws nothing where that is no terminal, or where the user wants quiet."""
    if quiet or not sys.stderr.isatty():
        yield ignore_progress
        return
    with RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        expand=True,
    ) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                description=one_line(progress.step),
                completed=progress.completed,
                total=progress.total,
            )

        yield show
