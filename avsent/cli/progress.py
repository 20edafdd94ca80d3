"""The progress bar on standard error."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.text import clock, one_line


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


NAME_CELLS = 30


class ProgressBar:
    """A progress hook that draws one bar for one media file, and removes it at the end.

    Draws nothing where standard error is no terminal, or where the user wants quiet.

    Parameters
    ----------
    name
        What to call the file.
    """

    def __init__(self, name: str, *, quiet: bool) -> None:
        self._name = shorten(one_line(name), NAME_CELLS)
        self._bar: RichProgress | None = None
        self._task = TaskID(0)
        self._step = ""
        self._began = time.monotonic()
        if not quiet and sys.stderr.isatty():
            self._bar = RichProgress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[state]}", markup=False),
                console=Console(stderr=True, highlight=False),
                transient=True,
                expand=True,
            )

    def __enter__(self) -> ProgressBar:
        if self._bar is not None:
            self._task = self._bar.add_task(self._name, total=None, state="starting")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show how far the work has come."""
        if self._bar is None:
            return
        now = time.monotonic()
        if progress.step != self._step:
            self._step, self._began = progress.step, now
        self._bar.update(
            self._task,
            description=f"{self._name}  {one_line(progress.step)}",
            total=progress.total,
            completed=progress.completed,
            state=describe(progress, now - self._began),
        )


def describe(progress: Progress, elapsed: float) -> str:
    """Time done of time in all, and the speed against real time: ``0:05.0/0:59.6 2.1x``."""
    done = clock(progress.completed)
    state = done if progress.total is None else f"{done}/{clock(progress.total)}"
    # The first moments say nothing about the speed.
    if elapsed < 0.5 or progress.completed <= 0:
        return state
    return f"{state} {progress.completed / elapsed:.1f}x"


def shorten(name: str, cells: int) -> str:
    """Cut a long name in the middle, so that its extension stays."""
    if len(name) <= cells:
        return name
    head = (cells - 3) // 2
    return f"{name[:head]}...{name[len(name) - (cells - 3 - head) :]}"
