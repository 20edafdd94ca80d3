"""What a batch tells about itself while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Looking:
    """Durations of files are being found out, before the work."""

    files: int
    total: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What there is to do; ``…_s`` in seconds of media, as far as it is known.

    ``done``, ``failed``: by earlier runs; these files are left alone.
    """

    files: int
    to_do: int
    done: int
    failed: int
    to_do_s: float
    workers: int


@dataclass(frozen=True, slots=True)
class Started:
    """A worker has taken a file."""

    name: str
    worker: int
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Advanced:
    """How far a worker has come with its file."""

    name: str
    worker: int
    completed_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A file is done; ``seconds`` of work. ``unchanged``: its earlier result still holds."""

    name: str
    worker: int
    duration_s: float
    utterances: int
    seconds: float
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Retried:
    """A worker was lost; its file will be tried again."""

    name: str
    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class FileFailed:
    """A file cannot be done."""

    name: str
    worker: int
    error: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The results of all files are being brought together."""


@dataclass(frozen=True, slots=True)
class Ended:
    """All is written: files done in this run, and before it; those without a result; those of
    earlier runs that are gone; then what was found in all that are done, and what was left out:
    files of other kinds, links out of the folder, folders that cannot be read."""

    did: int
    kept: int
    failed: int
    gone: int
    utterances: int
    duration_s: float
    others: int
    links_out: int
    unread: tuple[str, ...]


News: TypeAlias = (
    Looking | Planned | Started | Advanced | Finished | Retried | FileFailed | Tables | Ended
)
Listener: TypeAlias = Callable[[News], None]


def ignore_news(news: News) -> None:
    """The listener that does nothing."""
