"""What passes between a batch and its workers: plain values, which any pipe can carry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TypeAlias

from avsent.errors import AvsentError
from avsent.options import FaceChoice


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with every file: model, place and options of ``avsent predict``.

    ``threads``: of each worker. ``represent``: also give what the encoders made of each
    utterance, which the adaptation to a corpus needs.
    """

    checkpoint: str = "default"
    device: str = "auto"
    face: FaceChoice = FaceChoice.speaking
    adapt_speaker: bool = False
    represent: bool = False
    analysis_rate_hz: float | None = None
    strict: bool = False
    landmarks: Path | None = None
    check: bool = True
    proxy: bool | None = None
    threads: int = 1
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One file to be done.

    ``name``: relative to the folder, with ``/``. ``known_sha256``: of the content that the
    journal has a valid result for; a file that still has it is not done again.
    """

    number: int
    name: str
    path: Path
    duration_s: float | None = None
    known_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found in one file; all None but the first where its content is the known one.

    ``result``: compressed JSON of schema avsent/1; ``rows``: JSON of the rows of the table of
    all utterances; ``representations``: see :class:`Work`.
    """

    content_sha256: str
    duration_s: float | None = None
    utterances: int | None = None
    result: bytes | None = None
    rows: str | None = None
    representations: bytes | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a job has come, in seconds of media."""

    job: Job
    completed_s: float


@dataclass(frozen=True, slots=True)
class Done:
    """A job is done; ``seconds`` of wall time on worker ``worker``."""

    job: Job
    answer: Answer
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The file cannot be done: trying again would end the same."""

    job: Job
    error: str
    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker is gone; its file may be all right.

    ``innocent``: the file had nothing to do with it, as the worker had not even begun.
    """

    job: Job
    reason: str
    innocent: bool = False


Event: TypeAlias = Moved | Done | Failed | Lost


class WorkersError(AvsentError):
    """No worker can be started."""


class Engine(ABC):
    """Workers behind one interface; the order of jobs, retries and time limits are the
    business of :mod:`avsent.batch.scheduler`. A context manager: leaving it ends all workers."""

    retries: ClassVar[int] = 1
    """How often a job whose worker was lost is tried again."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many there are, or will be when all are up."""

    @abstractmethod
    def free(self) -> int:
        """How many jobs can be started now: none waits inside the engine."""

    @abstractmethod
    def start(self, job: Job) -> int:
        """Give ``job`` to a free worker; returns the worker's number, from 0."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Event]:
        """What happened, as soon as something did, or nothing after ``timeout_s``.

        Raises:
            AvsentError: no worker can do any file: a model that cannot be loaded, say.
        """

    @abstractmethod
    def abandon(self, job: Job) -> None:
        """End the work on ``job``, whatever it takes; no event of it follows."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once; may be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
