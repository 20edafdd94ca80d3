"""How far a long step has come: one hook protocol for prediction, training and reports.

The code that works calls the hook and does not know what it does (a bar, a log line, nothing), so
nothing below the command line imports a terminal library.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one step of the work on one source has come.

    ``completed`` and ``total`` are seconds of presentation time for media, counts otherwise;
    ``total`` is None where the container does not state its duration.
    """

    step: str
    source: str
    completed: float
    total: float | None


ProgressHook: TypeAlias = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """The hook that does nothing."""
