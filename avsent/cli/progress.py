"""The progress bars on standard error; rich is imported only where one is drawn."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from avsent.progress import Progress
from avsent.text import clock, one_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

NAME_CELLS = 30


def make_bars() -> RichProgress:
    """Bars with a description before and a state behind them, removed at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[state]}", markup=False),
        console=Console(stderr=True, highlight=False),
        transient=True,
        expand=True,
    )


class ProgressBar:
    """A progress hook that draws one bar, and removes it at the end.

    Draws nothing if standard error is no terminal, or if ``quiet``. ``name``: the file at work, if
    any; ``counts``: the progress counts items instead of seconds of media.
    """

    def __init__(self, name: str = "", *, quiet: bool, counts: bool = False) -> None:
        self._name = shorten(one_line(name), NAME_CELLS)
        self._state = describe_count if counts else describe
        self._bars = None if quiet or not sys.stderr.isatty() else make_bars()
        self._step = ""
        self._began_s = 0.0

    def __enter__(self) -> ProgressBar:
        if self._bars is not None:
            self._task = self._bars.add_task(self._name or "starting", total=None, state="")
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: Progress, note: str = "") -> None:
        """Show how far the work has come, with a ``note`` behind it."""
        if self._bars is None:
            return
        now_s = time.monotonic()
        if progress.step != self._step:
            self._step, self._began_s = progress.step, now_s
        state = self._state(progress, now_s - self._began_s)
        self._bars.update(
            self._task,
            description="  ".join(filter(None, [self._name, one_line(progress.step)])),
            total=progress.total,
            completed=progress.completed,
            state="  ".join(filter(None, [state, note])),
        )


def describe(progress: Progress, elapsed_s: float) -> str:
    """Time done of time in all, and the speed against real time: ``0:05.0/0:59.6 2.1x``."""
    done = clock(progress.completed)
    state = done if progress.total is None else f"{done}/{clock(progress.total)}"
    # The first moments say nothing about the speed.
    if elapsed_s < 0.5 or progress.completed <= 0:
        return state
    return f"{state} {progress.completed / elapsed_s:.1f}x"


def describe_count(progress: Progress, elapsed_s: float) -> str:
    """How many are done of how many, and the time left: ``3/20  0:12 left``."""
    if not progress.total:
        return f"{progress.completed:.0f}"
    state = f"{progress.completed:.0f}/{progress.total:.0f}"
    left = left_s(elapsed_s, progress.completed / progress.total)
    return state if left is None else f"{state}  {left_text(left)}"


def left_s(elapsed_s: float, share: float) -> float | None:
    """Seconds still to go after ``share`` of the work; None before any of it is done."""
    return elapsed_s * (1 - share) / share if share > 0 else None


def left_text(seconds: float) -> str:
    """The time left, in whole seconds: ``0:12 left``."""
    return f"{clock(seconds).rpartition('.')[0]} left"


def shorten(name: str, cells: int) -> str:
    """Cut a long name in the middle, so that its extension stays."""
    if len(name) <= cells:
        return name
    head = (cells - 3) // 2
    return f"{name[:head]}...{name[len(name) - (cells - 3 - head) :]}"
