"""Worker processes of this machine: what is lost with one of them, and when none is left."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from batching import BIG, Walked, scripted
from conftest import ROOT, hear_ctrl_c

from avsent.batch.engines import local
from avsent.batch.engines.base import Job, Lost, Work, WorkersError
from avsent.batch.engines.local import LocalEngine, ending
from avsent.batch.events import Advanced, FileFailed, Finished, Retried
from avsent.batch.journal import State
from avsent.errors import CheckpointError

PATIENCE_S = 60.0
"""How long a busy machine may take for what should be there at once."""


@pytest.fixture(autouse=True)
def _lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """These workers need none of the libraries that others import."""
    monkeypatch.setattr(local, "PRELOAD", ["batching_workers"])


def engine(workers: int, checkpoint: str = "default") -> LocalEngine:
    return LocalEngine(Work(checkpoint=checkpoint), workers, scripted)


def worker_of(walked: Walked, name: str, attempt: int = 1) -> int:
    """The process that had the job."""
    return int((walked.files[name].path.parent / f"{name}.try{attempt}").read_text())


def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Processes that are nobody's children any more stay as zombies where init is a program."""
    deadline = time.monotonic() + PATIENCE_S
    while living := [p for p in processes if p.is_running() and not is_zombie(p)]:
        if time.monotonic() > deadline:
            for process in living:
                process.kill()
            raise AssertionError(f"still there: {living}")
        time.sleep(0.05)


def is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_every_way_a_job_can_end(tmp_path: Path) -> None:
    names = ["kill-a", "kill1-b", "fail-c", "move-d", "big-e", "crash-f", "exit-g", "ok-h", "ok-i"]
    walked = Walked(tmp_path, names)
    entries = walked.run(engine(2))

    states = {name: entry.state for name, entry in entries.items()}
    lost = {"kill-a", "crash-f", "exit-g"}
    assert {name for name in names if states[name] == State.failed} == {*lost, "fail-c"}
    assert {name for name in names if states[name] == State.done} == set(walked.finished)
    assert len(walked.finished[("big-e")].result) == BIG
    assert walked.finished["ok-h"].result == b"ok-h"
    assert sorted(walked.failed) == sorted([*lost, "fail-c"])

    # A retry each, at the end; what failed for its own fault is not tried again.
    assert walked.started()[:9] == names
    assert sorted(walked.started()[9:]) == sorted([*lost, "kill1-b"])
    assert {n.name for n in walked.of(Retried)} == {*lost, "kill1-b"}
    assert {name: entries[name].attempts for name in names} == {
        name: 2 if name in {*lost, "kill1-b"} else 1 for name in names
    }
    assert walked.of(Advanced) == [Advanced("move-d", 1, 1.25)] or walked.of(Advanced) == [
        Advanced("move-d", 0, 1.25)
    ]
    assert {n.name for n in walked.of(FileFailed)} == set(walked.failed)
    assert len(walked.of(Finished)) == 5

    killed = entries["kill-a"]
    assert killed.exit_code == 1
    assert killed.error == (
        "kill-a: its worker was killed, as the system does when memory runs out, 2 times; try "
        "fewer --workers and --retry-failed"
    )
    assert "its worker crashed (SIGTERM)" in (entries["crash-f"].error or "")
    assert "its worker ended with code 7" in (entries["exit-g"].error or "")
    assert (entries["fail-c"].error, entries["fail-c"].exit_code) == ("fail-c: not media", 3)
    assert not any(psutil.pid_exists(worker_of(walked, name)) for name in names)


def test_a_worker_serves_until_it_is_lost(tmp_path: Path) -> None:
    walked = Walked(tmp_path, ["ok-a", "fail-b", "kill1-c", "ok-d"])
    walked.run(engine(1))
    first = worker_of(walked, "ok-a")
    assert worker_of(walked, "fail-b") == worker_of(walked, "kill1-c") == first
    second = worker_of(walked, "ok-d")
    assert second == worker_of(walked, "kill1-c", attempt=2) != first


def test_time_limit_ends_what_hangs(tmp_path: Path) -> None:
    walked = Walked(tmp_path, ["ok-a", "sleep-b", "ok-c"])
    entries = walked.run(engine(1), time_limit_s=2.0)
    assert entries["sleep-b"].error == (
        "sleep-b: took longer than 2 s; give more with --time-limit and --retry-failed"
    )
    assert entries["sleep-b"].state == State.failed
    assert entries["ok-c"].state == State.done
    assert worker_of(walked, "sleep-b") != worker_of(walked, "ok-c")
    assert not psutil.pid_exists(worker_of(walked, "sleep-b"))


def test_workers_that_end_as_they_start(tmp_path: Path) -> None:
    walked = Walked(tmp_path, ["ok-a", "ok-b"])
    with pytest.raises(WorkersError, match=r"as they start .*code 3.*--workers") as told:
        walked.run(engine(2, "stillborn"))
    assert "\n" not in str(told.value)
    assert {entry.state for entry in walked.entries().values()} == {State.pending}


def test_one_that_ended_as_it_started_costs_no_file_a_try(tmp_path: Path) -> None:
    bad_start = tmp_path / "bad-start"
    bad_start.touch()
    walked = Walked(tmp_path, ["ok-a", "kill1-b"])
    entries = walked.run(engine(1, str(bad_start)))
    assert not bad_start.exists()
    assert [entry.state for entry in entries.values()] == [State.done] * 2
    # Both were begun twice; but what was lost before its worker had begun keeps both its tries.
    assert [news.name for news in walked.of(Retried)] == ["ok-a", "kill1-b"]


def test_where_others_work_one_that_cannot_start_is_one_less(tmp_path: Path) -> None:
    """Memory may reach for so many, and no more."""
    (tmp_path / "once").touch()
    walked = Walked(tmp_path, ["wait-a", "ok-b", "ok-c", "ok-d"])
    entries = walked.run(engine(2, f"second:{tmp_path / 'once'}"))
    assert {entry.state for entry in entries.values()} == {State.done}
    assert len({news.worker for news in walked.of(Finished)}) == 1


def test_a_broken_installation_is_told_in_a_line(tmp_path: Path) -> None:
    walked = Walked(tmp_path, ["ok-a"])
    with pytest.raises(WorkersError, match="a worker cannot start: ImportError: no module named"):
        walked.run(engine(1, "broken"))


@pytest.mark.parametrize(
    ("names", "checkpoint", "message"),
    [
        (["ok-a", "ok-b"], "unfit", "unknown checkpoint 'unfit'"),
        (["ok-a", "unfit-b", "ok-c"], "default", "the model is damaged"),
    ],
)
def test_what_no_worker_could_do(
    tmp_path: Path, names: list[str], checkpoint: str, message: str
) -> None:
    walked = Walked(tmp_path, names)
    with pytest.raises(CheckpointError, match=message):
        walked.run(engine(1, checkpoint))
    states = [entry.state for entry in walked.entries().values()]
    assert State.running not in states
    assert State.failed not in states
    assert walked.of(Retried) == []


def test_too_many_workers_for_this_machine(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from batching_workers import scripted
from avsent.batch import local
from avsent.batch.engines.base import Job, Work, WorkersError
local.PRELOAD[:] = ["batching_workers"]
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
with local.LocalEngine(Work(), 60, scripted) as engine:
    try:
        for n in range(60):
            engine.start(Job(n, "sleep-%d" % n, Path(sys.argv[1]) / str(n)))
    except WorkersError as error:
        print(error)
"""
    with in_own_process(code, tmp_path) as running:
        out, _ = running.communicate(timeout=PATIENCE_S)
    assert out.startswith("cannot start worker ")
    assert out.endswith("of 60: [Errno 24] Too many open files; try fewer --workers\n")


def test_order_and_places(tmp_path: Path) -> None:
    jobs = [Job(n, name, tmp_path / name) for n, name in enumerate(["sleep-a", "ok-b", "kill-c"])]
    with engine(2) as pool:
        assert (pool.workers, pool.free()) == (2, 2)
        assert [pool.start(jobs[0]), pool.start(jobs[1])] == [0, 1]
        assert pool.free() == 0
        assert [type(e).__name__ for e in until_events(pool)] == ["Done"]
        assert pool.free() == 1
        assert pool.start(jobs[2]) == 1
        (lost,) = until_events(pool)
        assert isinstance(lost, Lost)
        assert lost.job == jobs[2]
        pool.abandon(jobs[0])
        assert pool.free() == 2
        assert pool.wait(0.0) == []
    pool.close()  # again


def until_events(pool: LocalEngine) -> list[object]:
    deadline = time.monotonic() + PATIENCE_S
    while not (events := pool.wait(1.0)):
        assert time.monotonic() < deadline
    return list(events)


def test_reasons() -> None:
    assert ending(-signal.SIGSEGV) == "its worker crashed (SIGSEGV)"
    assert ending(-63) == "its worker crashed (63)"
    assert ending(None) == "its worker ended with code None"


# What becomes of workers whose batch ends otherwise

PARENT = """
import sys, time
from pathlib import Path
from batching_workers import scripted
from avsent.batch.engines.base import Job, Work
from avsent.batch import local
if sys.argv[2:]:
    local.PRELOAD[:] = sys.argv[2:]
with local.LocalEngine(Work(), 2, scripted) as engine:
    for name in ("sleep-a", "sleep-b"):
        engine.start(Job(0, name, Path(sys.argv[1]) / name))
    print("started", flush=True)
    while True:
        engine.wait(1.0)
"""


def in_own_process(code: str, folder: Path, *preload: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *preload],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        process_group=0,
        preexec_fn=hear_ctrl_c,
    )


def test_no_worker_outlives_a_killed_batch(tmp_path: Path) -> None:
    with in_own_process(PARENT, tmp_path, "batching_workers") as parent:
        deadline = time.monotonic() + PATIENCE_S
        while not all((tmp_path / f"sleep-{name}.try1").exists() for name in "ab"):
            assert time.monotonic() < deadline
            assert parent.poll() is None
            time.sleep(0.05)
        children = psutil.Process(parent.pid).children(recursive=True)
        workers = {int((tmp_path / f"sleep-{name}.try1").read_text()) for name in "ab"}
        assert workers <= {child.pid for child in children}
        parent.kill()
        wait_until_gone(children)


@pytest.mark.parametrize("at_work", [False, True], ids=["while it imports", "at work"])
def test_ctrl_c_is_told_by_the_batch_alone(tmp_path: Path, at_work: bool) -> None:
    """The terminal sends it to all processes; a traceback of each would be no clear end."""
    # With what batches import where that is interrupted.
    preload = ["batching_workers"] if at_work else []
    with in_own_process(PARENT, tmp_path, *preload) as parent:
        watched = psutil.Process(parent.pid)
        deadline = time.monotonic() + PATIENCE_S
        while not ((tmp_path / "sleep-b.try1").exists() if at_work else serves_forks(watched)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = watched.children(recursive=True)
        os.killpg(parent.pid, signal.SIGINT)
        _, err = parent.communicate(timeout=PATIENCE_S)
        assert err.count("Traceback") == 1, err  # that of the batch, which has no command line here
        assert err.rstrip().endswith("KeyboardInterrupt")
        wait_until_gone(children)


def serves_forks(parent: psutil.Process) -> bool:
    """Whether the process is there that workers are forked from, or about to import."""
    for child in parent.children():
        with contextlib.suppress(psutil.Error):
            if "forkserver" in " ".join(child.cmdline()):
                return True
    return False
