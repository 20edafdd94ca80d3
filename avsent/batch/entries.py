"""What the journal of a batch says of a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a file stands."""

    pending = "pending"
    running = "running"
    done = "done"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file as the journal knows it; ``seconds``: of work, in its last attempt."""

    name: str
    stem: str
    size: int | None
    mtime_ns: int | None
    duration_s: float | None
    content_sha256: str | None
    config_sha256: str | None
    state: State
    attempts: int
    seconds: float | None
    utterances: int | None
    error: str | None
    exit_code: int | None
    present: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How the work on a file ended: done, or failed with an error."""

    name: str
    state: State
    config_sha256: str
    size: int
    mtime_ns: int
    seconds: float
    duration_s: float | None = None
    content_sha256: str | None = None
    utterances: int | None = None
    error: str | None = None
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """A result in the journal."""

    result: bytes
    rows: str
    representations: bytes | None = None
