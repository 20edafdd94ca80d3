"""How far a batch has come, counted from its news."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from avsent.batch.news import (
    Advanced,
    FileFailed,
    Finished,
    News,
    Planned,
    Retried,
    Started,
)

SURE_AFTER_S = 3.0
"""The first moments, in which workers start, say nothing about the speed."""


@dataclass(slots=True)
class Tally:
    """Counts of this run. ``…_s`` is seconds of media where it is not named otherwise.

    ``current_s``: by worker, how much of its file is done. ``clock``: tells seconds.
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

    def take(self, news: News) -> None:
        """Count one piece of news."""
        match news:
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
        """How much of ``to_do_s`` lies behind, also by files that failed or are at work."""
        return min(self.settled_s + sum(self.current_s.values()), self.to_do_s)

    @property
    def speed(self) -> float | None:
        """Times real time, None as long as nothing can be said."""
        if self.elapsed < SURE_AFTER_S:
            return None
        return (self.done_s + sum(self.current_s.values())) / self.elapsed

    @property
    def left(self) -> float | None:
        """Seconds of wall time still to go, None as long as nothing can be said."""
        if self.elapsed < SURE_AFTER_S:
            return None
        # By media where durations are known, else by files.
        share = self.reached_s / self.to_do_s if self.to_do_s > 0 else 0.0
        if not share and self.to_do:
            share = (self.done + self.failed) / self.to_do
        return self.elapsed * (1 - share) / share if share > 0 else None
