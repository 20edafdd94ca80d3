"""What the user sees of a batch at work: bars on a terminal, else lines, or JSON for machines."""

from __future__ import annotations

import dataclasses
import json
import re
from types import TracebackType
from typing import Self

from avsent.batch.news import FileFailed, Finished, News, Planned, Retried
from avsent.cli.batch_tally import Tally
from avsent.cli.outcome import printing, say
from avsent.writers.text import clock


class Display:
    """The least of it: what goes wrong, as it comes. A context manager and a listener."""

    def __init__(self) -> None:
        self.tally = Tally()

    def __call__(self, news: News) -> None:
        """Take one piece of news."""
        self.tally.take(news)
        match news:
            case FileFailed(name, _, error):
                self.trouble("error", _naming(name, error))
            case Retried(name, _, reason):
                self.trouble("warning", f"{name}: {reason}; it is tried again")
        self.show(news)

    def show(self, news: News) -> None:
        """Show more than that."""

    def trouble(self, kind: str, text: str) -> None:
        """Print a line about a file."""
        say(kind, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put away."""


class PlainDisplay(Display):
    """A line for each file, for logs."""

    def show(self, news: News) -> None:
        match news:
            case Planned():
                say("", planned_text(news))
            case Finished(name, _, duration_s, utterances, seconds, unchanged):
                count = f"{self.tally.done + self.tally.failed}/{self.tally.to_do}"
                what = "unchanged" if unchanged else f"{_utterances(utterances)}"
                speed = f", {duration_s / seconds:.1f}x" if seconds > 0 and not unchanged else ""
                say("", f"[{count}] {name}: {what}{speed}")


class JsonDisplay(Display):
    """One JSON object a line on standard output for each piece of news, with the counts so far."""

    def trouble(self, kind: str, text: str) -> None:
        """It is among the news."""

    def show(self, news: News) -> None:
        tally = self.tally
        kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(news).__name__).lower()
        line = {
            "event": kind,
            **dataclasses.asdict(news),
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
    """What there is to do, in one line."""
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
        parts.append(f"{clock(tally.left).rpartition('.')[0]} left")
    return "  ".join(parts)


def _utterances(count: int) -> str:
    return "1 utterance" if count == 1 else f"{count} utterances"


def _naming(name: str, error: str) -> str:
    """An error with the name of its file, once."""
    return error if name in error else f"{name}: {error}"
