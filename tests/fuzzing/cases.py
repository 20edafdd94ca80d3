"""What one case is, and how it may end."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile file and what reads it.

    ``arguments``: of the command ``avsent``, run in ``folder``; or of the function ``call`` of
    ``readers``. ``what``: the file and how it was spoilt, for people. ``outputs``: files that
    must be whole or absent.
    """

    number: int
    kind: str
    folder: Path
    arguments: tuple[str, ...]
    call: str = ""
    what: str = ""
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended; ``failures``: what must not happen, empty where all is well.

    ``code``: exit code, negative for a signal; ``memory_mb``: the most that was resident,
    including the 300 MB or so of libraries that the child shares with its parent.
    """

    number: int
    kind: str
    what: str
    code: int
    seconds: float
    memory_mb: float
    failures: tuple[str, ...] = ()
    stderr: str = field(default="", repr=False)
