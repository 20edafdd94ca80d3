"""One progress-hook protocol for everything that takes long.

The pipeline calls a hook; what a hook does with it (a bar, a log line, nothing) is not the
pipeline's business, so no part below the command line imports a terminal library.
"""

from __future__ import annotations

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
