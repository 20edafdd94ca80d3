"""How a batch stands, read from its journal alone: also while it is at work."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from avsent.batch.entries import Entry, State
from avsent.batch.journal import Journal
from avsent.batch.lock import is_held


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of the files in the folder by state, and what was done so far.

    ``gone``: files of earlier runs that are no longer in the folder. ``work_s``: seconds of wall
    time that the files done took, in all workers together; ``media_s``: their duration.
    """

    files: int
    states: dict[State, int]
    gone: int
    at_work: bool
    media_s: float
    work_s: float
    utterances: int
    running: tuple[str, ...]
    failures: tuple[Entry, ...]

    @property
    def speed(self) -> float | None:
        """Times real time of one worker."""
        return self.media_s / self.work_s if self.work_s > 0 else None


def status_of(out: Path) -> Status:
    """The status of the batch in ``out``.

    Raises:
        OutputError: there is none, or its journal cannot be read.
    """
    at_work = is_held(out)
    with Journal(out, write=False) as journal:
        entries = journal.entries()
    here = [entry for entry in entries if entry.present]
    counts = Counter(entry.state for entry in here)
    done = [entry for entry in here if entry.state == State.done]
    return Status(
        files=len(here),
        states={state: counts[state] for state in State},
        gone=len(entries) - len(here),
        at_work=at_work,
        media_s=sum(entry.duration_s or 0.0 for entry in done),
        work_s=sum(entry.seconds or 0.0 for entry in done),
        utterances=sum(entry.utterances or 0 for entry in done),
        running=tuple(e.name for e in here if e.state == State.running) if at_work else (),
        failures=tuple(entry for entry in here if entry.state == State.failed),
    )
