"""One thing looked at, and how a look that fails becomes a line instead of a traceback."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

LONGEST_REASON = 300
"""Characters of an error that are told."""


class State(StrEnum):
    """How a check ended; ``avsent predict`` cannot work where one ``failed``."""

    ok = "ok"
    warning = "warning"
    failed = "failed"
    absent = "absent"
    """Optional, and not installed."""
    skipped = "skipped"
    """Not looked at: it needs what failed before."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it: empty where nothing is."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A look at one thing, which gives one check or more.

    ``advice``: what to do where looking raises; ``needed``: by every prediction, otherwise a
    failure is a warning; ``needs``: names of steps without which this one cannot succeed.
    """

    name: str
    look: Callable[[], Iterable[Check]]
    advice: str
    needed: bool = True
    needs: tuple[str, ...] = ()

    def take(self, broken: Collection[str] = (), *, debug: bool = False) -> list[Check]:
        """The checks; ``broken``: names of steps that went wrong before."""
        missing = [name for name in self.needs if name in broken]
        if missing:
            told = " and ".join(missing)
            return [Check(self.name, State.skipped, f"needs {told}, see above")]
        checks: list[Check] = []
        try:
            checks.extend(self.look())
        except Exception as error:
            if debug:
                traceback.print_exception(error)
            checks.append(self.wrong(reason_of(error)))
        return checks

    def wrong(self, reason: str) -> Check:
        """The check that tells that looking failed."""
        return Check(self.name, State.failed if self.needed else State.warning, reason, self.advice)


def is_broken(checks: Collection[Check]) -> bool:
    """Whether what needs the step that gave ``checks`` cannot succeed either."""
    return any(check.state in {State.failed, State.skipped} for check in checks)


def reason_of(error: BaseException) -> str:
    """An error in one line, with its kind where the text alone says little."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    line = text if text and isinstance(error, ImportError) else f"{kind}: {text}".rstrip(": ")
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "…"
