"""The course of a batch: jobs handed out, retried, cut off, and what became of them kept."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from avsent.batch.engines.base import Answer, Done, Engine, Failed, Job, Lost, Moved
from avsent.batch.events import Advanced, FileFailed, Finished, Listener, Retried, Started
from avsent.batch.folders import SourceFile
from avsent.batch.journal import Ending, Journal, State, Stored
from avsent.batch.plan import Plan
from avsent.errors import OutputError

WAIT_S = 0.5
LIMIT_BASE_S = 600.0
LIMIT_PER_S = 20.0
"""By default a file may take ten minutes and twenty times its duration: far more than any needs,
even with the start of its worker and on a busy machine."""
UNKNOWN_DURATION_S = 4 * 3600.0
EXIT_INTERNAL = 1


@dataclass(slots=True)
class _Running:
    worker: int
    began_s: float


class Course:
    """Works through a plan.

    ``finished``: called with the name of each file whose result is in the journal, and with the
    result: it gives the error where just this one cannot be written; ``remove``: with a name
    before the journal forgets which outputs of an older result there are.
    ``time_limit_s``: for each file; None for the default, 0 for none.
    """

    def __init__(
        self,
        plan: Plan,
        files: dict[str, SourceFile],
        journal: Journal,
        config_sha256: str,
        *,
        listener: Listener,
        finished: Callable[[str, Stored], OutputError | None],
        remove: Callable[[str], None],
        time_limit_s: float | None = None,
    ) -> None:
        self._queue = deque(plan.jobs)
        self._files = files
        self._journal = journal
        self._config_sha256 = config_sha256
        self._listener = listener
        self._finished = finished
        self._remove = remove
        self._time_limit_s = time_limit_s
        self._running: dict[Job, _Running] = {}
        self._losses: dict[Job, int] = {}
        self._retries = 0

    def run(self, engine: Engine) -> None:
        """Until nothing is left; what was begun and not ended when this raises is put back.

        Raises:
            AvsentError: no file can be done, or nothing can be written.
        """
        self._retries = engine.retries
        try:
            while self._queue or self._running:
                while self._queue and engine.free() > 0:
                    self._start(engine, self._queue.popleft())
                for event in engine.wait(WAIT_S):
                    self._take(event)
                self._cut_off(engine)
        except BaseException:
            self._put_back()
            raise

    def _start(self, engine: Engine, job: Job) -> None:
        # First, so that it is put back if Ctrl-C comes while a worker is started for it.
        running = self._running[job] = _Running(-1, time.monotonic())
        self._journal.begin(job.name)
        running.worker = engine.start(job)
        running.began_s = time.monotonic()
        self._listener(Started(job.name, running.worker, job.duration_s))

    def _take(self, event: Done | Failed | Lost | Moved) -> None:
        running = self._running.get(event.job)
        if running is None:
            return  # of a job that was cut off
        match event:
            case Moved(job, completed_s):
                self._listener(Advanced(job.name, running.worker, completed_s))
            case Done(job, answer, seconds):
                del self._running[job]
                self._succeed(job, answer, seconds, running.worker)
            case Failed(job, error, exit_code, seconds):
                del self._running[job]
                self._fail(job, error, exit_code, seconds, running.worker)
            case Lost(job, reason, innocent):
                del self._running[job]
                if innocent:
                    self._journal.put_back(job.name)
                    self._queue.appendleft(job)
                    self._listener(Retried(job.name, running.worker, reason))
                else:
                    self._lose(job, reason, running)

    def _succeed(self, job: Job, answer: Answer, seconds: float, worker: int) -> None:
        file = self._files[job.name]
        unchanged = answer.result is None or answer.rows is None
        if answer.result is None or answer.rows is None:
            self._journal.touch(job.name, file.size, file.mtime_ns)
            # Its outputs may be missing all the same, or of a format not asked for before.
            error = self._finished(job.name, self._journal.stored(job.name))
        else:
            stored = Stored(answer.result, answer.rows, answer.representations)
            ending = Ending(
                name=job.name,
                state=State.done,
                config_sha256=self._config_sha256,
                size=file.size,
                mtime_ns=file.mtime_ns,
                seconds=seconds,
                duration_s=answer.duration_s,
                content_sha256=answer.content_sha256,
                utterances=answer.utterances,
            )
            self._remove(job.name)
            self._journal.succeed(ending, stored)
            error = self._finished(job.name, stored)
        if error is not None:
            self._fail(job, str(error), error.exit_code, seconds, worker)
            return
        duration_s = answer.duration_s or job.duration_s or 0.0
        self._listener(
            Finished(job.name, worker, duration_s, answer.utterances or 0, seconds, unchanged)
        )

    def _fail(self, job: Job, error: str, exit_code: int, seconds: float, worker: int) -> None:
        file = self._files[job.name]
        ending = Ending(
            name=job.name,
            state=State.failed,
            config_sha256=self._config_sha256,
            size=file.size,
            mtime_ns=file.mtime_ns,
            seconds=seconds,
            error=error,
            exit_code=exit_code,
        )
        self._remove(job.name)
        self._journal.fail(ending)
        self._listener(FileFailed(job.name, worker, error, exit_code))

    def _lose(self, job: Job, reason: str, running: _Running) -> None:
        losses = self._losses[job] = self._losses.get(job, 0) + 1
        if losses <= self._retries:
            self._journal.put_back(job.name)
            # Last: what took the memory this time may be done by then.
            self._queue.append(job)
            self._listener(Retried(job.name, running.worker, reason))
            return
        error = f"{job.name}: {reason}, {losses} times; try fewer --workers and --retry-failed"
        seconds = time.monotonic() - running.began_s
        self._fail(job, error, EXIT_INTERNAL, seconds, running.worker)

    def _cut_off(self, engine: Engine) -> None:
        """End what takes longer than it may."""
        now_s = time.monotonic()
        for job, running in list(self._running.items()):
            limit_s = self._limit_s(job)
            if limit_s and now_s - running.began_s > limit_s:
                engine.abandon(job)
                del self._running[job]
                error = (
                    f"{job.name}: took longer than {limit_s:.0f} s; give more with --time-limit "
                    "and --retry-failed"
                )
                self._fail(job, error, EXIT_INTERNAL, now_s - running.began_s, running.worker)

    def _limit_s(self, job: Job) -> float:
        if self._time_limit_s is not None:
            return self._time_limit_s
        duration_s = UNKNOWN_DURATION_S if job.duration_s is None else job.duration_s
        return LIMIT_BASE_S + LIMIT_PER_S * duration_s

    def _put_back(self) -> None:
        for job in list(self._running):
            try:
                self._journal.put_back(job.name)
            except OutputError:
                return  # the next run will find them running, and know
