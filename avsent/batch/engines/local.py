"""The local engine: worker processes, each with a pipe of its own.

They share no lock and no queue, so a worker that is killed at any moment takes nothing along but
its job.
"""

import contextlib
import itertools
import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

from avsent.batch.engines import base
from avsent.batch.engines.worker import FileWorker, PredictWorker, serve
from avsent.batch.events import Advanced
from avsent.errors import AvsentError

PRELOAD = ["avsent.batch.engines.preload"]
_ONE_THREAD = dict.fromkeys(base.THREAD_VARIABLES, "1")
"""For the process that workers are forked from, as a fork would lose the threads of libraries.
Workers set their own number later."""


@dataclass(slots=True)
class _Worker:
    number: int
    process: Any
    connection: Connection
    job: base.Job | None = None
    ready: bool = False


class LocalEngine(base.Engine):
    """``workers`` processes on this machine, started when first needed; ``load`` makes what
    processes the jobs in each of them."""

    def __init__(
        self, work: base.Work, workers: int, load: Callable[[base.Work], FileWorker] = PredictWorker
    ) -> None:
        self._work = work
        self.workers = workers
        self._load = load
        self._living: dict[int, _Worker] = {}
        self._failed_starts = 0

    def free(self) -> int:
        return self.workers - sum(worker.job is not None for worker in self._living.values())

    def start(self, job: base.Job) -> int:
        idle = [worker for worker in self._living.values() if worker.job is None]
        for worker in [worker for worker in idle if not worker.process.is_alive()]:
            self._remove(worker)  # it died while idle: the job keeps both its tries
            idle.remove(worker)
        worker = idle[0] if idle else self._new_worker()
        worker.job = job
        # If the worker is dead already, wait() will find out.
        with contextlib.suppress(OSError):
            worker.connection.send(job)
        return worker.number

    def wait(self, timeout_s: float) -> base.Events:
        living = list(self._living.values())
        sources = [item for w in living for item in (w.connection, w.process.sentinel)]
        ready = set(wait(sources, timeout_s))
        events: base.Events = []
        for worker in living:
            if worker.connection in ready or worker.process.sentinel in ready:
                # The pipe first: a worker may die after its last message.
                connected = self._receive(worker, events)
                if not connected or worker.process.sentinel in ready:
                    self._lose(worker, events)
        return events

    def close(self) -> None:
        for worker in self._living.values():
            worker.process.kill()  # all of them before any is waited for
        super().close()

    def _new_worker(self) -> _Worker:
        number = next(n for n in itertools.count() if n not in self._living)
        try:
            context = _context()
            ours, theirs = context.Pipe()
            process = context.Process(  # type: ignore[attr-defined]
                target=serve,
                args=(theirs, self._load, self._work),
                name=f"avsent-{number}",
                daemon=True,
            )
            with _ctrl_c_ignored(), base.environment(_ONE_THREAD):
                process.start()
                worker = self._living[number] = _Worker(number, process, ours)
        except (OSError, EOFError) as error:
            raise base.WorkersError(
                f"cannot start worker {number + 1} of {self.workers}: {error}; try fewer --workers"
            ) from error
        theirs.close()
        return worker

    def _receive(self, worker: _Worker, events: base.Events) -> bool:
        """Take what a worker has sent; False where its pipe is broken."""
        try:
            while worker.connection.poll():
                self._take(worker, worker.connection.recv(), events)
        except (EOFError, OSError):
            return False
        return True

    def _take(self, worker: _Worker, message: object, events: base.Events) -> None:
        match message:
            case base.Ready():
                worker.ready, self._failed_starts = True, 0
            case AvsentError():
                raise message
            case base.Done() | base.Failed():
                worker.job = None
                events.append(message)
            case int() | float() if worker.job is not None:
                events.append(Advanced(worker.job.name, worker.number, message))

    def _lose(self, worker: _Worker, events: base.Events) -> None:
        self._remove(worker)
        reason = reason_of_exit(worker.process.exitcode)
        if not worker.ready:
            self._failed_starts += 1
            if any(other.ready for other in self._living.values()):
                # The memory may not be enough for more workers.
                self.workers = max(len(self._living), 1)
            elif self._failed_starts >= base.FAILED_STARTS_LIMIT:
                raise base.WorkersError(
                    f"workers end as they start ({reason}); try fewer --workers, and --debug"
                )
        if worker.job is not None:
            events.append(base.Lost(worker.job, reason, before_start=not worker.ready))

    def _remove(self, worker: _Worker) -> None:
        self._living.pop(worker.number, None)
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


def reason_of_exit(exit_code: int | None) -> str:
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
    """Start the process that workers are forked from, which takes a while to import everything."""
    if _context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with _ctrl_c_ignored(), base.environment(_ONE_THREAD):
            forkserver.ensure_running()


def _context() -> BaseContext:
    """Fork workers from a process that has imported everything, where the system can do that."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


@contextlib.contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    """A process started inside never receives Ctrl-C, not even while it imports; this one does,
    after the block."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # starting it inside would unblock Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
