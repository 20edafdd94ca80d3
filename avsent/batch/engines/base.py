"""What passes between a batch and its workers (plain values, which any pipe can carry), and the
interface of an engine. It imports nothing heavy: Ray's workers import it before torch."""

import contextlib
import dataclasses
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

from avsent.batch.events import Advanced
from avsent.errors import AvsentError
from avsent.options import Adapt, PredictOptions

EXIT_INTERNAL = 1
"""Exit code of a file that failed by an internal error, a lost worker or the time limit."""
FAILED_STARTS_LIMIT = 3  # workers in a row that may end before their model is loaded
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Libraries read these when they are imported."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with every file: the model, the device and the options of ``avsent predict``.

    ``threads``: of each worker; it replaces that of ``options``.
    """

    checkpoint: str = "default"
    device: str = "auto"
    options: PredictOptions = field(default_factory=PredictOptions)
    threads: int = 1
    debug: bool = False

    @property
    def represent(self) -> bool:
        """Whether the journal also keeps the representation of each utterance, for the adaptation
        to the corpus."""
        return self.options.adapt is Adapt.corpus

    @property
    def file_options(self) -> PredictOptions:
        """For one file; the adaptation to the corpus needs all files, so it comes later."""
        adapt = Adapt.none if self.represent else self.options.adapt
        return dataclasses.replace(self.options, threads=self.threads, adapt=adapt)


@dataclass(frozen=True, slots=True)
class Job:
    """One file to process.

    ``name``: relative to the folder, with ``/``. ``known_sha256``: of the content for which the
    journal has a valid result; a file that still has this content is not processed again.
    """

    number: int
    name: str
    path: Path
    duration_s: float | None = None
    known_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file.

    ``result``: compressed JSON of schema avsent/1; ``rows``: JSON of its rows in the table of all
    utterances; ``representations``: see :class:`Work`.
    """

    content_sha256: str
    duration_s: float
    utterances: int
    result: bytes
    rows: str
    representations: bytes | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """A job is done, in ``seconds`` of wall time; ``result`` is None where the content of the file
    is the known one."""

    job: Job
    result: FileResult | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The file cannot be processed: another try would end the same."""

    job: Job
    error: str
    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker has died; its file may be fine. ``before_start``: the worker had not begun it."""

    job: Job
    reason: str
    before_start: bool = False


Outcome: TypeAlias = Done | Failed | Lost
Events: TypeAlias = list[Advanced | Outcome]


@dataclass(frozen=True, slots=True)
class Ready:
    """Message of a worker: its model is loaded. It sends an AvsentError instead, or later, if no
    worker can process any file."""


class WorkersError(AvsentError):
    """No worker can be started."""


class Engine(ABC):
    """Workers behind one interface; :mod:`avsent.batch.scheduler` decides on the order of jobs,
    retries and time limits. A context manager, which ends all workers."""

    retries: ClassVar[int] = 1
    """How often a job whose worker was lost is tried again."""
    workers: int
    """The number of workers once all have started."""
    _living: dict[int, Any]
    """Workers by their number, each with its ``job``."""

    @abstractmethod
    def free(self) -> int:
        """How many jobs can be started now: none waits inside the engine."""

    @abstractmethod
    def start(self, job: Job) -> int:
        """Give ``job`` to a free worker; returns the worker's number, from 0."""

    @abstractmethod
    def wait(self, timeout_s: float) -> Events:
        """Wait until something happens, at most ``timeout_s``, and return it. Raises AvsentError if
        no worker can process any file: a model that cannot be loaded, say."""

    def _remove(self, worker: Any) -> None:
        """End one of the living workers at once, and forget it."""
        raise NotImplementedError

    def abandon(self, job: Job) -> None:
        """Stop the work on ``job`` at once; no event or outcome of it follows."""
        for worker in list(self._living.values()):
            if worker.job == job:
                self._remove(worker)

    def close(self) -> None:
        """End all workers at once; may be called again."""
        for worker in list(self._living.values()):
            self._remove(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables inside the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
