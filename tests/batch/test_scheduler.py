"""The scheduler of a batch, with an engine that follows a script."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from batching import SchedulerRun, source_file

from avsent.batch import scheduler
from avsent.batch.engines.base import Done, Engine, Failed, FileResult, Job, Lost, Outcome
from avsent.batch.events import Advanced, Event, FileFailed, Finished, Retried, Started
from avsent.batch.journal import FileState, Journal
from avsent.errors import OutputError


class ScriptedEngine(Engine):
    """Returns the events of ``script``; ``now_s`` grows by ``step_s`` with each."""

    def __init__(
        self, workers: int, *script: list[Advanced | Outcome] | BaseException, step_s: float = 1.0
    ) -> None:
        self._workers = workers
        self._script = deque(script)
        self._step_s = step_s
        self._busy: dict[Job, int] = {}
        self.now_s = 0.0
        self.abandoned: list[str] = []
        self.closed = False

    @property
    def workers(self) -> int:
        return self._workers

    def free(self) -> int:
        return self._workers - len(self._busy)

    def start(self, job: Job) -> int:
        number = next(n for n in range(self._workers) if n not in self._busy.values())
        self._busy[job] = number
        return number

    def wait(self, timeout_s: float) -> list[Advanced | Outcome]:
        self.now_s += self._step_s
        assert self._script, f"nothing more happens to {list(self._busy)}"
        events = self._script.popleft()
        if isinstance(events, BaseException):
            raise events
        for event in events:
            if not isinstance(event, Advanced):
                self._busy.pop(event.job, None)
        return events

    def abandon(self, job: Job) -> None:
        self.abandoned.append(job.name)
        self._busy.pop(job)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def run(tmp_path: Path) -> SchedulerRun:
    return SchedulerRun(tmp_path, ["a", "b", "c"])


def done(job: Job, *, duration_s: float = 3.0) -> Done:
    return Done(job, FileResult(f"sha of {job.name}", duration_s, 2, b"result", "[]"), 0.5)


def test_each_worker_has_one_job_at_a_time(run: SchedulerRun) -> None:
    a, b, c = run.jobs
    engine = ScriptedEngine(
        2, [Advanced("a", 0, 1.5)], [done(b)], [done(a), Failed(c, "c: empty", 3, 0.25)]
    )
    entries = run.run(engine)
    assert run.events == [
        Started("a", 0, None),
        Started("b", 1, None),
        Advanced("a", 0, 1.5),
        Finished("b", 1, 3.0, 2, 0.5),
        Started("c", 1, None),
        Finished("a", 0, 3.0, 2, 0.5),
        FileFailed("c", 1, "c: empty", 3),
    ]
    assert (list(run.written), run.failed) == (["b", "a"], ["c"])
    entry = entries["b"]
    assert (entry.state, entry.size, entry.mtime_ns) == (FileState.done, 2, 1001)
    assert (entry.duration_s, entry.utterances, entry.seconds) == (3.0, 2, 0.5)
    assert (entry.content_sha256, entry.config_sha256) == ("sha of b", "the configuration")
    entry = entries["c"]
    assert (entry.state, entry.size, entry.mtime_ns) == (FileState.failed, 3, 1002)
    assert (entry.error, entry.exit_code, entry.seconds) == ("c: empty", 3, 0.25)
    assert entry.config_sha256 == "the configuration"
    assert engine.closed


def test_an_unchanged_file_keeps_its_result(run: SchedulerRun) -> None:
    a, b, c = run.jobs
    run.run(ScriptedEngine(3, [done(a, duration_s=7.0), done(b), done(c)]))
    run.events.clear()
    run.written.clear()
    with Journal(run.out, write=True) as journal:
        journal.touch(source_file("a", 99, 98))
        before = journal.stored("a")
    entries = run.run(ScriptedEngine(3, [Done(a, None, 0.1), done(b), done(c)]))
    entry = entries["a"]
    assert (entry.state, entry.size, entry.mtime_ns) == (FileState.done, 1, 1000)
    assert (entry.duration_s, entry.utterances) == (7.0, 2)
    assert run.events_of(Finished)[0] == Finished("a", 0, 0.0, 0, 0.1, unchanged=True)
    assert run.written["a"] == before.result  # so that missing outputs can be written


def test_a_lost_worker_costs_one_retry_at_the_end(run: SchedulerRun) -> None:
    a, b, c = run.jobs
    engine = ScriptedEngine(1, [Lost(a, "gone")], [done(b)], [done(c)], [done(a)])
    assert {e.state for e in run.run(engine).values()} == {FileState.done}
    assert run.started() == ["a", "b", "c", "a"]
    assert run.events_of(Retried) == [Retried("a", 0, "gone")]


def test_a_job_lost_twice_has_failed(run: SchedulerRun) -> None:
    a, b, c = run.jobs
    engine = ScriptedEngine(1, [Lost(a, "gone")], [done(b)], [done(c)], [Lost(a, "gone again")])
    entries = run.run(engine)
    assert entries["a"].error == "a: gone again, 2 times; try fewer --workers and --retry-failed"
    assert (entries["a"].exit_code, entries["a"].attempts) == (1, 2)
    assert [n for n, e in entries.items() if e.state == FileState.done] == ["b", "c"]


@pytest.mark.parametrize(
    ("limit_s", "duration_s", "steps"),
    [(5.0, 1e6, 6), (None, 30.0, 1201), (None, 0.0, 601), (0.5, None, 1)],
)
def test_time_limits(
    run: SchedulerRun,
    monkeypatch: pytest.MonkeyPatch,
    limit_s: float | None,
    duration_s: float | None,
    steps: int,
) -> None:
    """The default is ten minutes and twenty times the duration."""
    job = Job(0, "a", run.files["a"].path, duration_s)
    run.jobs = (job,)
    late = done(job)
    # An outcome that comes just after the limit is ignored.
    engine = ScriptedEngine(1, *[[Advanced("a", 0, 1.0)]] * steps, [late])
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: engine.now_s)
    entries = run.run(engine, time_limit_s=limit_s)
    assert engine.now_s == steps
    assert engine.abandoned == ["a"]
    assert entries["a"].state == FileState.failed
    assert (entries["a"].error or "").startswith("a: took longer than ")
    assert entries["a"].seconds == steps


def test_no_time_limit(run: SchedulerRun, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = run.jobs
    engine = ScriptedEngine(3, [], [], [done(a), done(b), done(c)], step_s=1e9)
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: engine.now_s)
    assert {e.state for e in run.run(engine, time_limit_s=0.0).values()} == {FileState.done}


def test_events_of_a_job_that_was_cut_off_are_ignored(
    run: SchedulerRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = run.jobs
    engine = ScriptedEngine(1, [], [done(a), done(b)], [done(c)])
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: engine.now_s)
    entries = run.run(engine, time_limit_s=0.9)
    assert engine.abandoned == ["a"]
    assert entries["a"].state == FileState.failed
    assert list(run.written) == ["b", "c"]


@pytest.mark.parametrize("error", [OutputError("the disk is full"), KeyboardInterrupt()])
def test_unfinished_jobs_are_pending_again(run: SchedulerRun, error: BaseException) -> None:
    a, _, _ = run.jobs
    engine = ScriptedEngine(2, [done(a)], error)
    with pytest.raises(type(error)):
        run.run(engine)
    states = {name: (entry.state, entry.attempts) for name, entry in run.entries().items()}
    assert states == {
        "a": (FileState.done, 1),
        "b": (FileState.pending, 1),
        "c": (FileState.pending, 1),
    }
    assert engine.closed


def test_a_listener_that_raises_ends_the_batch(run: SchedulerRun) -> None:
    """For example when standard output is closed."""
    a, b, c = run.jobs

    class Closed(list[Event]):
        def append(self, event: Event) -> None:
            if isinstance(event, Finished):
                raise BrokenPipeError

    run.events = Closed()
    with pytest.raises(BrokenPipeError):
        run.run(ScriptedEngine(2, [done(a)], [done(b)], [done(c)]))
    states = [entry.state for entry in run.entries().values()]
    assert states == [FileState.done, FileState.pending, FileState.pending]


def test_outputs_are_removed_before_the_journal_forgets_them(run: SchedulerRun) -> None:
    """If the batch were killed between the two, nothing would find the old outputs."""
    a, b, c = run.jobs
    run.run(ScriptedEngine(3, [done(a), done(b), done(c)]))
    with Journal(run.out, write=True) as journal:
        journal.wrote("a", {"json": 1})

    class Removed(list[str]):
        def append(self, name: str) -> None:
            with Journal(run.out, write=False) as journal:
                known.extend(journal.outputs())

    known: list[tuple[str, str]] = []
    run.removed = Removed()
    run.run(ScriptedEngine(3, [Failed(a, "a: empty", 3, 0.1), done(b), done(c)]))
    assert known == [("a", "json")]
    with Journal(run.out, write=False) as journal:
        assert journal.outputs() == {}
