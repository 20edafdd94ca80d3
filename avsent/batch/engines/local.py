"""The local engine: worker processes, each with a pipe of its own.

No lock and no queue is shared between them, so one that is killed, at whatever moment, takes
nothing along but the job it had.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

from avsent.batch.engines.base import (
    Done,
    Engine,
    Event,
    Failed,
    Job,
    Lost,
    Moved,
    Work,
    WorkersError,
)
from avsent.batch.engines.worker import Ready, Unfit, serve

PRELOAD = ["avsent.batch.engines.preload"]
STILLBORN_LIMIT = 3
"""Workers in a row that may end before their model is loaded."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(slots=True)
class _Worker:
    number: int
    process: Any
    connection: Connection
    job: Job | None = None
    ready: bool = False
    began_s: float = field(default_factory=time.monotonic)


class LocalEngine(Engine):
    """``workers`` processes on this machine, started when first needed.

    ``target`` is what runs in each, by default :func:`avsent.batch.engines.worker.serve`.
    """

    def __init__(
        self, work: Work, workers: int, target: Callable[[Connection, Work], None] = serve
    ) -> None:
        self._work = work
        self._count = workers
        self._target = target
        self._living: dict[int, _Worker] = {}
        self._stillborn = 0
        self._context: BaseContext | None = None

    @property
    def workers(self) -> int:
        return self._count

    def free(self) -> int:
        return self._count - sum(worker.job is not None for worker in self._living.values())

    def start(self, job: Job) -> int:
        idle = [worker for worker in self._living.values() if worker.job is None]
        for worker in [worker for worker in idle if not worker.process.is_alive()]:
            self._remove(worker)  # since we looked last: a new one has both its tries
            idle.remove(worker)
        worker = idle[0] if idle else self._new_worker()
        worker.job, worker.began_s = job, time.monotonic()
        # Where the worker is gone already, waiting will find that out.
        with contextlib.suppress(OSError):
            worker.connection.send(job)
        return worker.number

    def wait(self, timeout_s: float) -> list[Event]:
        living = list(self._living.values())
        sources = [item for w in living for item in (w.connection, w.process.sentinel)]
        ready = set(wait(sources, timeout_s))
        events: list[Event] = []
        for worker in living:
            if worker.connection in ready or worker.process.sentinel in ready:
                # First what it said: it may have ended after its last word.
                alive = self._hear(worker, events)
                if not alive or worker.process.sentinel in ready:
                    self._bury(worker, events)
        return events

    def abandon(self, job: Job) -> None:
        for worker in list(self._living.values()):
            if worker.job == job:
                self._remove(worker)

    def close(self) -> None:
        for worker in list(self._living.values()):
            worker.process.kill()
        for worker in list(self._living.values()):
            self._remove(worker)

    def _new_worker(self) -> _Worker:
        context = self._context = self._context or _context()
        number = next(n for n in itertools.count() if n not in self._living)
        try:
            ours, theirs = context.Pipe()
            process = context.Process(  # type: ignore[attr-defined]
                target=self._target, args=(theirs, self._work), name=f"avsent-{number}", daemon=True
            )
            with _deaf_to_ctrl_c(), _one_thread_in_environment():
                process.start()
                worker = self._living[number] = _Worker(number, process, ours)
        except (OSError, EOFError) as error:
            raise WorkersError(
                f"cannot start worker {number + 1} of {self._count}: {error}; try fewer --workers"
            ) from error
        theirs.close()
        return worker

    def _hear(self, worker: _Worker, events: list[Event]) -> bool:
        """Take what a worker has sent; False where its pipe is broken."""
        try:
            while worker.connection.poll():
                self._take(worker, worker.connection.recv(), events)
        except (EOFError, OSError):
            return False
        return True

    def _take(self, worker: _Worker, message: object, events: list[Event]) -> None:
        match message:
            case Ready():
                worker.ready, self._stillborn = True, 0
            case Unfit(error):
                raise error
            case Done() | Failed():
                worker.job = None
                events.append(message)
            case Moved():
                events.append(message)

    def _bury(self, worker: _Worker, events: list[Event]) -> None:
        job = worker.job
        self._remove(worker)
        reason = ending(worker.process.exitcode)
        if not worker.ready:
            self._stillborn += 1
            if any(other.ready for other in self._living.values()):
                # There may be memory for so many, and no more.
                self._count = max(len(self._living), 1)
            elif self._stillborn >= STILLBORN_LIMIT:
                raise WorkersError(
                    f"workers end as they start ({reason}); try fewer --workers, and --debug"
                )
        if job is not None:
            events.append(Lost(job, reason, innocent=not worker.ready))

    def _remove(self, worker: _Worker) -> None:
        self._living.pop(worker.number, None)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


def ending(exit_code: int | None) -> str:
    """How a process ended, in words."""
    if exit_code is None or exit_code >= 0:
        return f"its worker ended with code {exit_code}"
    if -exit_code == signal.SIGKILL:
        return "its worker was killed, as the system does when memory runs out"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = str(-exit_code)
    return f"its worker crashed ({name})"


def prepare_workers() -> None:
    """Let the process that workers are forked from begin to import, where the system has such."""
    if _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with _deaf_to_ctrl_c(), _one_thread_in_environment():
            forkserver.ensure_running()


def _context() -> BaseContext:
    """Processes forked from one that has all imported, where the system can do that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process started inside never hears it, not even while it imports; we do afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # or starting it, in there, would let Ctrl-C in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _one_thread_in_environment() -> Iterator[None]:
    """For the process that workers are forked from: libraries read these when they are imported,
    and a fork would lose their threads. Workers set their own number later."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
