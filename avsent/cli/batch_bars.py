"""A batch on a terminal: one bar for the whole, and a line for each worker below it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from avsent.batch.news import (
    Advanced,
    FileFailed,
    Finished,
    Looking,
    News,
    Planned,
    Retried,
    Started,
    Tables,
)
from avsent.cli.batch_display import Display, planned_text, state_text
from avsent.cli.progress import NAME_CELLS, shorten
from avsent.writers.text import clock, one_line


class BarDisplay(Display):
    """Bars on standard error, wiped at the end; failures stay above them."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}", markup=False),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._whole = self._bars.add_task("starting", total=None, state="")
        self._workers: dict[int, TaskID] = {}
        self._durations_s: dict[int, float | None] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def trouble(self, kind: str, text: str) -> None:
        self._console.print(Text(f"avsent: {kind}: {one_line(text)}"), soft_wrap=True)

    def show(self, news: News) -> None:
        match news:
            case Looking(files, total):
                self._bars.update(
                    self._whole, description="looking at files", completed=files, total=total
                )
            case Planned():
                self._console.print(Text(f"avsent: {planned_text(news)}"), soft_wrap=True)
            case Started(name, worker, duration_s):
                self._durations_s[worker] = duration_s
                self._worker(worker, name, 0.0)
            case Advanced(name, worker, completed_s):
                self._worker(worker, name, completed_s)
            case Finished(worker=worker) | FileFailed(worker=worker) | Retried(worker=worker):
                self._rest(worker)
            case Tables():
                self._bars.update(self._whole, description="bringing together")
        if self.tally.to_do:
            by_media = self.tally.to_do_s > 0
            self._bars.update(
                self._whole,
                description="all" if not isinstance(news, Tables) else "bringing together",
                total=self.tally.to_do_s if by_media else self.tally.to_do,
                completed=self.tally.reached_s if by_media else self.tally.done + self.tally.failed,
                state=state_text(self.tally),
            )

    def _worker(self, worker: int, name: str, completed_s: float) -> None:
        duration_s = self._durations_s.get(worker)
        state = clock(completed_s)
        if duration_s is not None:
            state = f"{state}/{clock(duration_s)}"
        if worker not in self._workers:
            self._workers[worker] = self._bars.add_task("", total=None, state="")
        self._bars.update(
            self._workers[worker],
            description=f"  {worker + 1} {shorten(one_line(name), NAME_CELLS)}",
            total=duration_s,
            completed=completed_s if duration_s is None else min(completed_s, duration_s),
            state=state,
        )

    def _rest(self, worker: int) -> None:
        task = self._workers.get(worker)
        if task is not None:
            self._bars.update(
                task, description=f"  {worker + 1} idle", total=1, completed=0, state=""
            )
