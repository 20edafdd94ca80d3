"""The progress of a batch: bars on a terminal, lines in a log, or JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from avsent.batch.events import (
    Advanced,
    Event,
    FileFailed,
    Finished,
    Looking,
    Planned,
    Retried,
    Started,
    Tables,
)
from avsent.cli.outcome import printing, say
from avsent.cli.progress import NAME_CELLS, left_s, left_text, make_bars, shorten
from avsent.text import clock, one_line

if TYPE_CHECKING:
    from rich.progress import TaskID

SURE_AFTER_S = 3.0
"""Before that, workers are still starting, and no speed is given."""


@dataclass(slots=True)
class Tally:
    """Counts of this run. ``…_s``: seconds of media.

    ``current_s``: by worker, how much of its file is done. ``clock``: gives seconds of wall time.
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
    _expected_s: dict[str, float] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Planned(to_do=to_do, to_do_s=to_do_s):
                self.to_do, self.to_do_s = to_do, to_do_s
            case Started(name, worker, duration_s):
                if self.began is None:
                    self.began = self.clock()
                self.current_s[worker] = 0.0
                self._expected_s[name] = duration_s or 0.0
            case Advanced(_, worker, completed_s):
                self.current_s[worker] = completed_s
            case Finished(name, worker, duration_s, unchanged=unchanged):
                self.done += 1
                # A file that was only compared says nothing about the speed.
                self.done_s += 0.0 if unchanged else duration_s
                self._settle(name, worker)
            case FileFailed(name, worker):
                self.failed += 1
                self._settle(name, worker)
            case Retried(_, worker):
                self.current_s.pop(worker, None)

    def _settle(self, name: str, worker: int) -> None:
        self.current_s.pop(worker, None)
        self.settled_s += self._expected_s.pop(name, 0.0)

    @property
    def elapsed(self) -> float:
        """Seconds of wall time since the first file was begun."""
        return 0.0 if self.began is None else self.clock() - self.began

    @property
    def reached_s(self) -> float:
        """How much of ``to_do_s`` is done, files that failed or are at work included."""
        return min(self.settled_s + sum(self.current_s.values()), self.to_do_s)

    @property
    def speed(self) -> float | None:
        """Times real time; None before :data:`SURE_AFTER_S`."""
        if self.elapsed < SURE_AFTER_S:
            return None
        return (self.done_s + sum(self.current_s.values())) / self.elapsed

    @property
    def left(self) -> float | None:
        """Seconds of wall time still to go; None as long as they are unknown."""
        if self.elapsed < SURE_AFTER_S:
            return None
        # By media where durations are known, else by files.
        share = self.reached_s / self.to_do_s if self.to_do_s > 0 else 0.0
        if not share and self.to_do:
            share = (self.done + self.failed) / self.to_do
        return left_s(self.elapsed, share)


class Display:
    """Prints failures as they come. A context manager and a listener; the base of the others."""

    def __init__(self) -> None:
        self.tally = Tally()

    def __call__(self, event: Event) -> None:
        """Count an event, and print what belongs to it."""
        self.tally.take(event)
        match event:
            case FileFailed(name, _, error):
                self.print_trouble("error", error_with_name(name, error))
            case Retried(name, _, reason):
                self.print_trouble("warning", f"{name}: {reason}; it is tried again")
        self.show(event)

    def show(self, event: Event) -> None:
        """Show other events; by default none."""

    def print_trouble(self, kind: str, text: str) -> None:
        """Print a line about a file."""
        say(kind, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to close."""


class PlainDisplay(Display):
    """Prints a line for each file, for logs."""

    def show(self, event: Event) -> None:
        match event:
            case Planned():
                say("", planned_text(event))
            case Finished(name, _, duration_s, utterances, seconds, unchanged):
                count = f"{self.tally.done + self.tally.failed}/{self.tally.to_do}"
                what = f"{utterances} utterance{'' if utterances == 1 else 's'}"
                if seconds > 0:
                    what += f", {duration_s / seconds:.1f}x"
                say("", f"[{count}] {name}: {'unchanged' if unchanged else what}")


class JsonDisplay(Display):
    """Prints one JSON object per event on standard output, with the counts so far."""

    def print_trouble(self, kind: str, text: str) -> None:
        """The event itself tells."""

    def show(self, event: Event) -> None:
        tally = self.tally
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        line = {
            "event": kind,
            **dataclasses.asdict(event),
            "batch": {
                "done": tally.done,
                "failed": tally.failed,
                "to_do": tally.to_do,
                "reached_s": round(tally.reached_s, 3),
                "to_do_s": round(tally.to_do_s, 3),
                "elapsed_s": round(tally.elapsed, 3),
                "speed": None if tally.speed is None else round(tally.speed, 3),
                "left_s": None if tally.left is None else round(tally.left, 3),
            },
        }
        with printing():
            print(json.dumps(line), flush=True)


def planned_text(planned: Planned) -> str:
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
        parts.append(f"{clock(tally.reached_s)}/{clock(tally.to_do_s)}")
    if tally.speed is not None:
        parts.append(f"{tally.speed:.1f}x")
    if tally.left is not None:
        parts.append(left_text(tally.left))
    return "  ".join(parts)


def error_with_name(name: str, error: str) -> str:
    """An error with the name of its file, once."""
    return error if name in error else f"{name}: {error}"


class BarDisplay(Display):
    """Draws bars on standard error, removed at the end; failures stay above them."""

    def __init__(self) -> None:
        super().__init__()
        self._bars = make_bars()
        self._whole = self._bars.add_task("starting", total=None, state="")
        self._workers: dict[int, TaskID] = {}
        self._durations_s: dict[int, float | None] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def print_trouble(self, kind: str, text: str) -> None:
        self._print(f"{kind}: {one_line(text)}")

    def _print(self, line: str) -> None:
        self._bars.console.print(f"avsent: {line}", soft_wrap=True, markup=False, emoji=False)

    def show(self, event: Event) -> None:
        match event:
            case Looking(files, total):
                self._bars.update(
                    self._whole, description="looking at files", completed=files, total=total
                )
            case Planned():
                self._print(planned_text(event))
            case Started(name, worker, duration_s):
                self._durations_s[worker] = duration_s
                self._worker(worker, name, 0.0)
            case Advanced(name, worker, completed_s):
                self._worker(worker, name, completed_s)
            case Finished(worker=worker) | FileFailed(worker=worker) | Retried(worker=worker):
                self._rest(worker)
            case Tables():
                self._bars.update(self._whole, description="writing tables")
        tally = self.tally
        if tally.to_do:
            by_media = tally.to_do_s > 0
            self._bars.update(
                self._whole,
                description="writing tables" if isinstance(event, Tables) else "all",
                total=tally.to_do_s if by_media else tally.to_do,
                completed=tally.reached_s if by_media else tally.done + tally.failed,
                state=state_text(tally),
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


def make_display(*, quiet: bool, as_json: bool) -> Display:
    """The display that the options and standard error ask for."""
    if as_json:
        return JsonDisplay()
    if quiet:
        return Display()
    if not sys.stderr.isatty():
        return PlainDisplay()
    return BarDisplay()
