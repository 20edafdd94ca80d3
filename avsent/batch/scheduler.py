"""The scheduler of a batch: it hands out jobs, tries lost ones again, enforces the time limit and
records how each job ended."""

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from avsent.batch.engines.base import EXIT_INTERNAL, Done, Engine, Failed, Job, Lost, Outcome
from avsent.batch.events import Advanced, FileFailed, Finished, Listener, Retried, Started
from avsent.batch.folders import SourceFile
from avsent.batch.journal import Journal
from avsent.batch.plan import Plan
from avsent.errors import OutputError

WAIT_S = 0.5
LIMIT_BASE_S = 600.0
LIMIT_PER_S = 20.0
"""By default a file may take ten minutes and twenty times its duration: far more than any needs,
even with the start of its worker and on a busy machine."""
UNKNOWN_DURATION_S = 4 * 3600.0


@dataclass(slots=True)
class _Running:
    job: Job
    worker: int
    began_s: float

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began_s


@dataclass(slots=True)
class Scheduler:
    """Works through a plan.

    ``write``: called with the name and the result of each file that is done, once the journal has
    the result; returns the error if only this result cannot be written. ``remove``: called with a
    name to remove older outputs, before the journal forgets which there are.
    ``time_limit_s``: for each file; None for the default, 0 for none.
    """

    plan: Plan
    files: dict[str, SourceFile]
    journal: Journal
    config_sha256: str
    listener: Listener
    write: Callable[[str, bytes], OutputError | None]
    remove: Callable[[str], None]
    time_limit_s: float | None = None
    _queue: deque[Job] = field(init=False, default_factory=deque)
    _running: dict[str, _Running] = field(init=False, default_factory=dict)
    _losses: Counter[str] = field(init=False, default_factory=Counter)

    def run(self, engine: Engine) -> None:
        """Process all jobs. If this raises, unfinished jobs are pending again. Raises AvsentError
        if no file can be processed, or nothing can be written."""
        self._queue.extend(self.plan.jobs)
        try:
            while self._queue or self._running:
                while self._queue and engine.free() > 0:
                    self._start(engine, self._queue.popleft())
                for event in engine.wait(WAIT_S):
                    if not isinstance(event, Advanced):
                        self._end(event, engine.retries)
                    elif event.name in self._running:
                        self.listener(event)
                self._enforce_time_limit(engine)
        except BaseException:
            self._put_back()
            raise

    def _start(self, engine: Engine, job: Job) -> None:
        # First, so that it is put back if Ctrl-C comes while a worker is started for it.
        running = self._running[job.name] = _Running(job, -1, time.monotonic())
        self.journal.begin(job.name)
        running.worker = engine.start(job)
        running.began_s = time.monotonic()
        self.listener(Started(job.name, running.worker, job.duration_s))

    def _end(self, outcome: Outcome, retries: int) -> None:
        running = self._running.pop(outcome.job.name, None)
        if running is None:
            return  # the time limit has ended this job
        match outcome:
            case Done():
                self._succeed(outcome, running.worker)
            case Failed(job, error, exit_code, seconds):
                self._fail(job, error, exit_code, seconds, running.worker)
            case Lost():
                self._retry(outcome, running, retries)

    def _succeed(self, done: Done, worker: int) -> None:
        name, result = done.job.name, done.result
        if result is None:
            self.journal.touch(self.files[name])
            # Its outputs may be missing all the same, or of a format that is new.
            error = self.write(name, self.journal.stored(name).result)
        else:
            self.remove(name)
            self.journal.succeed(self.files[name], self.config_sha256, result, done.seconds)
            error = self.write(name, result.result)
        if error is not None:
            self._fail(done.job, str(error), error.exit_code, done.seconds, worker)
            return
        duration_s = (result.duration_s if result else None) or done.job.duration_s or 0.0
        utterances = result.utterances if result else 0
        self.listener(
            Finished(name, worker, duration_s, utterances, done.seconds, unchanged=result is None)
        )

    def _fail(self, job: Job, error: str, exit_code: int, seconds: float, worker: int) -> None:
        self.remove(job.name)
        file = self.files[job.name]
        self.journal.fail(file, self.config_sha256, error, exit_code, seconds)
        self.listener(FileFailed(job.name, worker, error, exit_code))

    def _retry(self, lost: Lost, running: _Running, retries: int) -> None:
        job = lost.job
        if not lost.before_start:
            self._losses[job.name] += 1
            if (losses := self._losses[job.name]) > retries:
                error = (
                    f"{job.name}: {lost.reason}, {losses} times; try fewer --workers and "
                    "--retry-failed"
                )
                self._fail(job, error, EXIT_INTERNAL, running.seconds, running.worker)
                return
        self.journal.put_back(job.name)
        if lost.before_start:
            self._queue.appendleft(job)
        else:
            # Last: what took the memory this time may be done by then.
            self._queue.append(job)
        self.listener(Retried(job.name, running.worker, lost.reason))

    def _enforce_time_limit(self, engine: Engine) -> None:
        for running in list(self._running.values()):
            job, seconds = running.job, running.seconds
            limit_s = self.time_limit_s
            if limit_s is None:
                duration_s = UNKNOWN_DURATION_S if job.duration_s is None else job.duration_s
                limit_s = LIMIT_BASE_S + LIMIT_PER_S * duration_s
            if limit_s and seconds > limit_s:
                engine.abandon(job)
                del self._running[job.name]
                error = (
                    f"{job.name}: took longer than {limit_s:.0f} s; give more with --time-limit "
                    "and --retry-failed"
                )
                self._fail(job, error, EXIT_INTERNAL, seconds, running.worker)

    def _put_back(self) -> None:
        for name in list(self._running):
            try:
                self.journal.put_back(name)
            except OutputError:
                return  # the next run finds them running and makes them pending
