"""What passes between a batch and its workers (plain values, which any pipe can carry), the
interface of an engine, and the choice of one. It imports nothing heavy: Ray's workers import it
before torch."""

import contextlib
import dataclasses
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self, TypeAlias

from avsent.batch.events import Advanced
from avsent.errors import AvsentError, UsageError
from avsent.machine import default_workers, usable_cores
from avsent.model.folders import shipped_names
from avsent.options import Adapt, PredictOptions

EXIT_INTERNAL = 1
"""Exit code of a file that failed by an internal error, a lost worker or the time limit."""
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
    """Message of a worker: its model is loaded."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """Message of a worker: no worker can process any file."""

    error: AvsentError


class WorkersError(AvsentError):
    """No worker can be started."""


class Engine(ABC):
    """Workers behind one interface; :mod:`avsent.batch.scheduler` decides on the order of jobs,
    retries and time limits. A context manager, which ends all workers."""

    retries: ClassVar[int] = 1
    """How often a job whose worker was lost is tried again."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """The number of workers once all have started."""

    @abstractmethod
    def free(self) -> int:
        """How many jobs can be started now: none waits inside the engine."""

    @abstractmethod
    def start(self, job: Job) -> int:
        """Give ``job`` to a free worker; returns the worker's number, from 0."""

    @abstractmethod
    def wait(self, timeout_s: float) -> Events:
        """Wait until something happens, at most ``timeout_s``, and return it.

        Raises:
            AvsentError: no worker can process any file: a model that cannot be loaded, say.
        """

    @abstractmethod
    def abandon(self, job: Job) -> None:
        """Stop the work on ``job`` at once; no event or outcome of it follows."""

    @abstractmethod
    def close(self) -> None:
        """End all workers at once; may be called again."""

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


_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Linux has one of these where there is a GPU that torch can use."""


def make_engine(
    work: Work, workers: int | None, jobs: int, name: str, ray_address: str | None
) -> Engine:
    """The engine ``name``: local or ray; never more workers than ``jobs``.

    Workers on this machine share its cores, so that there are no more threads than cores. On a
    cluster, whose nodes are unknown, each worker has one thread.

    Raises:
        UsageError: there is no such engine or device. WorkersError: the cluster is out of reach.
    """
    work = with_absolute_paths(work)
    if name == "ray":
        from avsent.batch.engines.ray_cluster import RayEngine

        return RayEngine(work, workers, ray_address, jobs=jobs)
    if name != "local":
        raise UsageError(f"there is no engine {name!r}; choose local or ray")
    count = min(workers or default_workers(), jobs)
    work = dataclasses.replace(work, threads=max(1, usable_cores() // count))
    may_have_gpu = sys.platform != "linux" or any(map(os.path.exists, _GPU_FILES))
    # torch takes seconds to import, so it is asked only where there may be a GPU. It also finds
    # wrong names of devices.
    if work.device != "cpu" and (work.device != "auto" or may_have_gpu):
        from avsent.machine import torch_device

        if torch_device(work.device).type != "cpu":
            from avsent.batch.engines.gpu import GpuEngine

            return GpuEngine(work, count)
    from avsent.batch.engines.local import LocalEngine

    return LocalEngine(work, count)


def prepare_engine(name: str) -> None:
    """Start what takes a while, before it is known how much there is to do."""
    if name == "local":
        from avsent.batch.engines.local import prepare_workers

        prepare_workers()


def with_absolute_paths(work: Work) -> Work:
    """``work`` for workers in other folders or on other machines. Names of shipped models and of
    checkpoints that do not exist stay as they are."""
    checkpoint, options = work.checkpoint, work.options
    if checkpoint not in shipped_names() and os.path.exists(checkpoint):
        checkpoint = os.path.abspath(checkpoint)
    if options.landmarks is not None:
        options = dataclasses.replace(options, landmarks=options.landmarks.absolute())
    return dataclasses.replace(work, checkpoint=checkpoint, options=options)
