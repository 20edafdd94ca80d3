"""The events of a batch, for whoever shows them; ``--json-progress`` prints each as one line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from avsent.batch.folders import LeftOut


@dataclass(frozen=True, slots=True)
class Looking:
    """Before the work: the durations of ``files`` of ``total`` files have been read."""

    files: int
    total: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan; ``to_do_s``: seconds of media, of the files that state their duration.

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
    """A worker has started a file."""

    name: str
    worker: int
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Advanced:
    """A worker has processed ``completed_s`` seconds of media of its file."""

    name: str
    worker: int
    completed_s: float


@dataclass(frozen=True, slots=True)
class Finished:
    """A file is done; ``seconds`` of work. ``unchanged``: its earlier result is still valid."""

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
    """A file cannot be processed."""

    name: str
    worker: int
    error: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of all files are being written."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The batch has ended and everything is written.

    ``did``: files done in this run; ``kept``: done by earlier runs; ``failed``: without a result;
    ``gone``: files of earlier runs that are no longer in the folder. ``utterances`` and
    ``duration_s``: of all files done.
    """

    did: int
    kept: int
    failed: int
    gone: int
    utterances: int
    duration_s: float
    left_out: LeftOut


Event: TypeAlias = (
    Looking | Planned | Started | Advanced | Finished | Retried | FileFailed | Tables | Ended
)
Listener: TypeAlias = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """The listener that does nothing."""
