"""The progress of one step, and of a batch: bars on a terminal, lines in a log, or JSON.

rich is imported only where a bar is drawn.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from avsent.batch import events
from avsent.cli.outcome import printing, say
from avsent.progress import Progress
from avsent.text import clock, one_line

if TYPE_CHECKING:
    from rich import progress as rich_progress

NAME_CELLS = 30
SURE_AFTER_S = 3.0  # before that, workers are still starting, and no speed is given


def make_bars() -> rich_progress.Progress:
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


@contextlib.contextmanager
def progress_bar(
    name: str = "", *, quiet: bool, counts: bool = False
) -> Iterator[Callable[..., None]]:
    """A progress hook that draws one bar, and removes it at the end.

    Draws nothing if standard error is no terminal, or if ``quiet``. ``name``: the file at work, if
    any; ``counts``: the progress counts items instead of seconds of media. The hook takes a
    :class:`Progress` and a note to show behind it.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda progress, note="": None
        return
    name = shorten(one_line(name), NAME_CELLS)
    bars = make_bars()
    task = bars.add_task(name or "starting", total=None, state="")
    step, began_s = "", 0.0

    def show(progress: Progress, note: str = "") -> None:
        nonlocal step, began_s
        now_s = time.monotonic()
        if progress.step != step:
            step, began_s = progress.step, now_s
        state = (describe_count if counts else describe)(progress, now_s - began_s)
        bars.update(
            task,
            description="  ".join(filter(None, [name, one_line(step)])),
            total=progress.total,
            completed=progress.completed,
            state="  ".join(filter(None, [state, note])),
        )

    with bars:
        yield show


def describe(progress: Progress, elapsed_s: float) -> str:
    """Time done of time in all, and the speed against real time: ``0:05.0/0:59.6 2.1x``."""
    state = _clocks(progress.completed, progress.total)
    # The first moments say nothing about the speed.
    if elapsed_s < 0.5 or progress.completed <= 0:
        return state
    return f"{state} {progress.completed / elapsed_s:.1f}x"


def _clocks(done_s: float, total_s: float | None) -> str:
    return clock(done_s) if total_s is None else f"{clock(done_s)}/{clock(total_s)}"


def describe_count(progress: Progress, elapsed_s: float) -> str:
    """How many are done of how many, and the time left: ``3/20  0:12 left``."""
    if not progress.total:
        return f"{progress.completed:.0f}"
    state = f"{progress.completed:.0f}/{progress.total:.0f}"
    left_s = estimate_left_s(elapsed_s, progress.completed / progress.total)
    return state if left_s is None else f"{state}  {left_text(left_s)}"


def estimate_left_s(elapsed_s: float, share: float) -> float | None:
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


# --- Batches ---


@dataclass(slots=True)
class Tally:
    """Counts of this run. ``…_s``: seconds of media.

    ``current_s``: by worker, how much of its file is done. ``expected_s``: by name of a file at
    work, its duration if known. ``clock``: gives seconds of wall time.
    """

    clock: Callable[[], float] = time.monotonic
    to_do: int = 0
    to_do_s: float = 0.0
    done: int = 0
    failed: int = 0
    done_s: float = 0.0
    settled_s: float = 0.0
    current_s: dict[int, float] = field(default_factory=dict)
    began: float | None = None
    expected_s: dict[str, float | None] = field(default_factory=dict)

    def take(self, event: events.Event) -> None:
        """Count one event."""
        match event:
            case events.Planned(to_do=to_do, to_do_s=to_do_s):
                self.to_do, self.to_do_s = to_do, to_do_s
            case events.Started(name, worker, duration_s):
                if self.began is None:
                    self.began = self.clock()
                self.current_s[worker] = 0.0
                self.expected_s[name] = duration_s
            case events.Advanced(_, worker, completed_s):
                self.current_s[worker] = completed_s
            case events.Finished(name, worker, duration_s, unchanged=unchanged):
                self.done += 1
                # A file that was only compared says nothing about the speed.
                self.done_s += 0.0 if unchanged else duration_s
                self._settle(name, worker)
            case events.FileFailed(name, worker):
                self.failed += 1
                self._settle(name, worker)
            case events.Retried(_, worker):
                self.current_s.pop(worker, None)

    def _settle(self, name: str, worker: int) -> None:
        self.current_s.pop(worker, None)
        self.settled_s += self.expected_s.pop(name, None) or 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds of wall time since the first file was begun."""
        return 0.0 if self.began is None else self.clock() - self.began

    @property
    def reached_s(self) -> float:
        """How much of ``to_do_s`` is done, files that failed or are at work included."""
        return min(self.settled_s + sum(self.current_s.values()), self.to_do_s)

    @property
    def speed(self) -> float | None:
        """Times real time; None before :data:`SURE_AFTER_S`."""
        if self.elapsed_s < SURE_AFTER_S:
            return None
        return (self.done_s + sum(self.current_s.values())) / self.elapsed_s

    @property
    def left_s(self) -> float | None:
        """Seconds of wall time still to go; None as long as they are unknown."""
        if self.elapsed_s < SURE_AFTER_S:
            return None
        # By media where durations are known, else by files.
        share = self.reached_s / self.to_do_s if self.to_do_s > 0 else 0.0
        if not share and self.to_do:
            share = (self.done + self.failed) / self.to_do
        return estimate_left_s(self.elapsed_s, share)


class Display:
    """A listener that prints failures as they come; the base of the others."""

    def __init__(self) -> None:
        self.tally = Tally()

    def __call__(self, event: events.Event) -> None:
        """Count an event, and print what belongs to it."""
        self.tally.take(event)
        match event:
            case events.FileFailed(name, _, error):
                self.print_trouble("error", error_with_name(name, error))
            case events.Retried(name, _, reason):
                self.print_trouble("warning", f"{name}: {reason}; it is tried again")
        self.show(event)

    def show(self, event: events.Event) -> None:
        """Show other events; by default none."""

    def print_trouble(self, kind: str, text: str) -> None:
        """Print a line about a file."""
        say(kind, text)


class PlainDisplay(Display):
    """Prints a line for each file, for logs."""

    def show(self, event: events.Event) -> None:
        match event:
            case events.Planned():
                say("", planned_text(event))
            case events.Finished(name, _, duration_s, utterances, seconds, unchanged):
                count = f"{self.tally.done + self.tally.failed}/{self.tally.to_do}"
                what = f"{utterances} utterance{'' if utterances == 1 else 's'}"
                if seconds > 0:
                    what += f", {duration_s / seconds:.1f}x"
                say("", f"[{count}] {name}: {'unchanged' if unchanged else what}")


TALLIED = ("done", "failed", "to_do", "reached_s", "to_do_s", "elapsed_s", "speed", "left_s")


def rounded(value: float | None) -> float | None:
    """A figure as JSON holds it."""
    return None if value is None else round(value, 3)


class JsonDisplay(Display):
    """Prints one JSON object per event on standard output, with the counts so far."""

    def print_trouble(self, kind: str, text: str) -> None:
        """The event itself tells."""

    def show(self, event: events.Event) -> None:
        line = {
            "event": re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower(),
            **asdict(event),
            "batch": {name: rounded(getattr(self.tally, name)) for name in TALLIED},
        }
        with printing():
            print(json.dumps(line), flush=True)


def planned_text(planned: events.Planned) -> str:
    """What is to do, in one line."""
    parts = [f"{planned.to_do} of {planned.files} files to do"]
    if planned.to_do_s:
        parts[0] += f", {clock(planned.to_do_s)} of media"
    if planned.workers:
        parts.append(f"{planned.workers} worker{'s' if planned.workers > 1 else ''}")
    if planned.done:
        parts.append(f"{planned.done} done before")
    if planned.failed:
        parts.append(f"{planned.failed} failed before (--retry-failed tries them again)")
    return "; ".join(parts)


def state_text(tally: Tally) -> str:
    """Files, media, speed and time left, for the end of a bar."""
    parts = [f"{tally.done + tally.failed}/{tally.to_do} files"]
    if tally.to_do_s:
        parts.append(_clocks(tally.reached_s, tally.to_do_s))
    if tally.speed is not None:
        parts.append(f"{tally.speed:.1f}x")
    if tally.left_s is not None:
        parts.append(left_text(tally.left_s))
    return "  ".join(parts)


def error_with_name(name: str, error: str) -> str:
    """An error with the name of its file, once."""
    return error if name in error else f"{name}: {error}"


class BarDisplay(Display):
    """Draws ``bars`` on standard error, removed at the end; failures stay above them."""

    def __init__(self, bars: rich_progress.Progress) -> None:
        super().__init__()
        self._bars = bars
        self._whole = self._bars.add_task("starting", total=None, state="")
        self._workers: dict[int, rich_progress.TaskID] = {}

    def print_trouble(self, kind: str, text: str) -> None:
        line = ": ".join(filter(None, ["avsent", kind, one_line(text)]))
        self._bars.console.print(line, soft_wrap=True, markup=False, emoji=False)

    def show(self, event: events.Event) -> None:
        match event:
            case events.Looking(files, total):
                self._bars.update(
                    self._whole, description="looking at files", completed=files, total=total
                )
            case events.Planned():
                self.print_trouble("", planned_text(event))
            case events.Started(name, worker) | events.Advanced(name, worker):
                if worker not in self._workers:
                    self._workers[worker] = self._bars.add_task("", total=None, state="")
                done_s, total_s = self.tally.current_s[worker], self.tally.expected_s.get(name)
                self._bars.update(
                    self._workers[worker],
                    description=f"  {worker + 1} {shorten(one_line(name), NAME_CELLS)}",
                    total=total_s,
                    completed=done_s if total_s is None else min(done_s, total_s),
                    state=_clocks(done_s, total_s),
                )
            case events.Finished() | events.FileFailed() | events.Retried():
                if (task := self._workers.get(event.worker)) is not None:
                    idle = f"  {event.worker + 1} idle"
                    self._bars.update(task, description=idle, total=1, completed=0, state="")
            case events.Tables():
                self._bars.update(self._whole, description="writing tables")
        tally = self.tally
        if tally.to_do:
            by_media = tally.to_do_s > 0
            self._bars.update(
                self._whole,
                description="writing tables" if isinstance(event, events.Tables) else "all",
                total=tally.to_do_s if by_media else tally.to_do,
                completed=tally.reached_s if by_media else tally.done + tally.failed,
                state=state_text(tally),
            )


@contextlib.contextmanager
def make_display(*, quiet: bool, as_json: bool) -> Iterator[Display]:
    """The display that the options and standard error ask for."""
    if as_json or quiet or not sys.stderr.isatty():
        yield JsonDisplay() if as_json else Display() if quiet else PlainDisplay()
        return
    bars = make_bars()
    display = BarDisplay(bars)
    with bars:
        yield display
