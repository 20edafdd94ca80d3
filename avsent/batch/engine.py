"""What an engine is: workers that take one job each, and tell what becomes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from avsent.batch.jobs import Event, Job


class Engine(ABC):
    """Workers behind one interface; the order of jobs, retries and time limits are the
    business of :mod:`avsent.batch.course`. A context manager: leaving it ends all workers."""

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
