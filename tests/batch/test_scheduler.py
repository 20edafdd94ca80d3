"""The course of a batch, with an engine moved by hand: what is kept, and what is put back."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest
from batching import Walked

from avsent.batch import scheduler
from avsent.batch.engines.base import Answer, Done, Engine, Event, Failed, Job, Lost, Moved
from avsent.batch.events import Advanced, FileFailed, Finished, News, Retried, Started
from avsent.batch.journal import Journal, State
from avsent.errors import OutputError


class ByHand(Engine):
    """Tells what it was given to tell; ``now_s`` goes on by ``step_s`` at each look."""

    def __init__(
        self, workers: int, *script: list[Event] | BaseException, step_s: float = 1.0
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

    def wait(self, timeout_s: float) -> list[Event]:
        self.now_s += self._step_s
        assert self._script, f"nothing more happens to {list(self._busy)}"
        events = self._script.popleft()
        if isinstance(events, BaseException):
            raise events
        for event in events:
            if not isinstance(event, Moved):
                self._busy.pop(event.job, None)
        return events

    def abandon(self, job: Job) -> None:
        self.abandoned.append(job.name)
        self._busy.pop(job)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def walked(tmp_path: Path) -> Walked:
    return Walked(tmp_path, ["a", "b", "c"])


def done(job: Job, *, duration_s: float = 3.0) -> Done:
    return Done(job, Answer(f"sha of {job.name}", duration_s, 2, b"result", "[]"), 0.5)


def test_as_many_at_once_as_there_are_workers(walked: Walked) -> None:
    a, b, c = walked.jobs
    hand = ByHand(2, [Moved(a, 1.5)], [done(b)], [done(a), Failed(c, "c: empty", 3, 0.25)])
    entries = walked.run(hand)
    assert walked.news == [
        Started("a", 0, None),
        Started("b", 1, None),
        Advanced("a", 0, 1.5),
        Finished("b", 1, 3.0, 2, 0.5),
        Started("c", 1, None),
        Finished("a", 0, 3.0, 2, 0.5),
        FileFailed("c", 1, "c: empty", 3),
    ]
    assert (list(walked.finished), walked.failed) == (["b", "a"], ["c"])
    entry = entries["b"]
    assert (entry.state, entry.size, entry.mtime_ns) == (State.done, 2, 1001)
    assert (entry.duration_s, entry.utterances, entry.seconds) == (3.0, 2, 0.5)
    assert (entry.content_sha256, entry.config_sha256) == ("sha of b", "the configuration")
    entry = entries["c"]
    assert (entry.state, entry.size, entry.mtime_ns) == (State.failed, 3, 1002)
    assert (entry.error, entry.exit_code, entry.seconds) == ("c: empty", 3, 0.25)
    assert entry.config_sha256 == "the configuration"
    assert hand.closed


def test_an_unchanged_file_keeps_its_result(walked: Walked) -> None:
    a, b, c = walked.jobs
    walked.run(ByHand(3, [done(a, duration_s=7.0), done(b), done(c)]))
    walked.news.clear()
    walked.finished.clear()
    with Journal(walked.out, write=True) as journal:
        journal.touch("a", 99, 98)
        before = journal.stored("a")
    entries = walked.run(ByHand(3, [Done(a, Answer("sha of a"), 0.1), done(b), done(c)]))
    entry = entries["a"]
    assert (entry.state, entry.size, entry.mtime_ns) == (State.done, 1, 1000)
    assert (entry.duration_s, entry.utterances) == (7.0, 2)
    assert walked.of(Finished)[0] == Finished("a", 0, 0.0, 0, 0.1, unchanged=True)
    assert walked.finished["a"] == before  # so that its outputs can be made whole


def test_a_lost_worker_costs_one_retry_at_the_end(walked: Walked) -> None:
    a, b, c = walked.jobs
    hand = ByHand(1, [Lost(a, "gone")], [done(b)], [done(c)], [done(a)])
    assert {e.state for e in walked.run(hand).values()} == {State.done}
    assert walked.started() == ["a", "b", "c", "a"]
    assert walked.of(Retried) == [Retried("a", 0, "gone")]


def test_lost_twice_is_failed(walked: Walked) -> None:
    a, b, c = walked.jobs
    hand = ByHand(1, [Lost(a, "gone")], [done(b)], [done(c)], [Lost(a, "gone again")])
    entries = walked.run(hand)
    assert entries["a"].error == "a: gone again, 2 times; try fewer --workers and --retry-failed"
    assert (entries["a"].exit_code, entries["a"].attempts) == (1, 2)
    assert [n for n, e in entries.items() if e.state == State.done] == ["b", "c"]


@pytest.mark.parametrize(
    ("limit_s", "duration_s", "looks"),
    [(5.0, 1e6, 6), (None, 30.0, 1201), (None, 0.0, 601), (0.5, None, 1)],
)
def test_time_limits(
    walked: Walked,
    monkeypatch: pytest.MonkeyPatch,
    limit_s: float | None,
    duration_s: float | None,
    looks: int,
) -> None:
    """Ten minutes and twenty times the duration, where nothing else is said."""
    job = Job(0, "a", walked.files["a"].path, duration_s)
    walked.jobs = (job,)
    late = done(job)
    # What it says after that, as it may just then, is not heard.
    hand = ByHand(1, *[[Moved(job, 1.0)]] * (looks), [late])
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: hand.now_s)
    entries = walked.run(hand, time_limit_s=limit_s)
    assert hand.now_s == looks
    assert hand.abandoned == ["a"]
    assert entries["a"].state == State.failed
    assert (entries["a"].error or "").startswith("a: took longer than ")
    assert entries["a"].seconds == looks


def test_no_time_limit(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c = walked.jobs
    hand = ByHand(3, [], [], [done(a), done(b), done(c)], step_s=1e9)
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: hand.now_s)
    assert {e.state for e in walked.run(hand, time_limit_s=0.0).values()} == {State.done}


def test_news_of_a_job_that_was_cut_off_count_no_more(
    walked: Walked, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = walked.jobs
    hand = ByHand(1, [], [done(a), done(b)], [done(c)])
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: hand.now_s)
    entries = walked.run(hand, time_limit_s=0.9)
    assert hand.abandoned == ["a"]
    assert entries["a"].state == State.failed
    assert list(walked.finished) == ["b", "c"]


@pytest.mark.parametrize("error", [OutputError("the disk is full"), KeyboardInterrupt()])
def test_what_was_begun_is_put_back(walked: Walked, error: BaseException) -> None:
    a, _, _ = walked.jobs
    hand = ByHand(2, [done(a)], error)
    with pytest.raises(type(error)):
        walked.run(hand)
    states = {name: (entry.state, entry.attempts) for name, entry in walked.entries().items()}
    assert states == {"a": (State.done, 1), "b": (State.pending, 1), "c": (State.pending, 1)}
    assert hand.closed


def test_a_listener_that_raises_ends_the_batch(walked: Walked) -> None:
    """As where nobody reads standard output any more."""
    a, b, c = walked.jobs

    class Full(list[News]):
        def append(self, news: News) -> None:
            if isinstance(news, Finished):
                raise BrokenPipeError

    walked.news = Full()
    with pytest.raises(BrokenPipeError):
        walked.run(ByHand(2, [done(a)], [done(b)], [done(c)]))
    states = [entry.state for entry in walked.entries().values()]
    assert states == [State.done, State.pending, State.pending]


def test_outputs_go_before_the_journal_forgets_them(walked: Walked) -> None:
    """Killed between the two, what is left over would be found by nobody."""
    a, b, c = walked.jobs
    walked.run(ByHand(3, [done(a), done(b), done(c)]))
    with Journal(walked.out, write=True) as journal:
        journal.wrote("a", {"json": 1})

    class Told(list[str]):
        def append(self, name: str) -> None:
            with Journal(walked.out, write=False) as journal:
                known.extend(journal.outputs())

    known: list[tuple[str, str]] = []
    walked.removed = Told()
    walked.run(ByHand(3, [Failed(a, "a: empty", 3, 0.1), done(b), done(c)]))
    assert known == [("a", "json")]
    with Journal(walked.out, write=False) as journal:
        assert journal.outputs() == {}
