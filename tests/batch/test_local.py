"""The local engine: lost workers, workers that cannot start, and how its processes end."""

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
from batching import BIG, SchedulerRun, ScriptedWorker
from conftest import HANG_S, ROOT, hear_ctrl_c

from avsent.batch.engines import local
from avsent.batch.engines.base import Job, Lost, Work, WorkersError
from avsent.batch.engines.local import LocalEngine, reason_of_exit
from avsent.batch.events import Advanced, FileFailed, Finished, Retried
from avsent.batch.journal import FileState
from avsent.errors import CheckpointError

"""How long a busy machine may take for what should be there at once."""


@pytest.fixture(autouse=True)
def _small_preload(monkeypatch: pytest.MonkeyPatch) -> None:
    """These workers need none of the libraries of real ones."""
    monkeypatch.setattr(local, "PRELOAD", ["batching"])


def engine(workers: int, checkpoint: str = "default") -> LocalEngine:
    return LocalEngine(Work(checkpoint=checkpoint), workers, ScriptedWorker)


def process_of(run: SchedulerRun, name: str, attempt: int = 1) -> int:
    """The process that tried the job."""
    return int((run.files[name].path.parent / f"{name}.try{attempt}").read_text())


def wait_until_gone(processes: list[psutil.Process]) -> None:
    """Orphans stay as zombies where process 1 is a plain program."""
    deadline = time.monotonic() + HANG_S
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
    run = SchedulerRun(tmp_path, names)
    entries = run.run(engine(2))

    states = {name: entry.state for name, entry in entries.items()}
    lost = {"kill-a", "crash-f", "exit-g"}
    assert {name for name in names if states[name] == FileState.failed} == {*lost, "fail-c"}
    assert {name for name in names if states[name] == FileState.done} == set(run.written)
    assert len(run.written["big-e"]) == BIG
    assert run.written["ok-h"] == b"ok-h"
    assert sorted(run.failed) == sorted([*lost, "fail-c"])

    # One retry each, at the end; a file that failed by itself is not tried again.
    assert run.started()[:9] == names
    assert sorted(run.started()[9:]) == sorted([*lost, "kill1-b"])
    assert {n.name for n in run.events_of(Retried)} == {*lost, "kill1-b"}
    assert {name: entries[name].attempts for name in names} == {
        name: 2 if name in {*lost, "kill1-b"} else 1 for name in names
    }
    assert run.events_of(Advanced) == [Advanced("move-d", 1, 1.25)] or run.events_of(Advanced) == [
        Advanced("move-d", 0, 1.25)
    ]
    assert {n.name for n in run.events_of(FileFailed)} == set(run.failed)
    assert len(run.events_of(Finished)) == 5

    killed = entries["kill-a"]
    assert killed.exit_code == 1
    assert killed.error == (
        "kill-a: its worker was killed, as the system does when memory runs out, 2 times; try "
        "fewer --workers and --retry-failed"
    )
    assert "its worker crashed (SIGTERM)" in (entries["crash-f"].error or "")
    assert "its worker ended with code 7" in (entries["exit-g"].error or "")
    assert (entries["fail-c"].error, entries["fail-c"].exit_code) == ("fail-c: not media", 3)
    assert not any(psutil.pid_exists(process_of(run, name)) for name in names)


def test_a_worker_serves_until_it_is_lost(tmp_path: Path) -> None:
    run = SchedulerRun(tmp_path, ["ok-a", "fail-b", "kill1-c", "ok-d"])
    run.run(engine(1))
    first = process_of(run, "ok-a")
    assert process_of(run, "fail-b") == process_of(run, "kill1-c") == first
    second = process_of(run, "ok-d")
    assert second == process_of(run, "kill1-c", attempt=2) != first


def test_time_limit_ends_what_hangs(tmp_path: Path) -> None:
    run = SchedulerRun(tmp_path, ["ok-a", "sleep-b", "ok-c"])
    entries = run.run(engine(1), time_limit_s=2.0)
    assert entries["sleep-b"].error == (
        "sleep-b: took longer than 2 s; give more with --time-limit and --retry-failed"
    )
    assert entries["sleep-b"].state == FileState.failed
    assert entries["ok-c"].state == FileState.done
    assert process_of(run, "sleep-b") != process_of(run, "ok-c")
    assert not psutil.pid_exists(process_of(run, "sleep-b"))


def test_workers_that_end_as_they_start(tmp_path: Path) -> None:
    run = SchedulerRun(tmp_path, ["ok-a", "ok-b"])
    with pytest.raises(WorkersError, match=r"as they start .*code 3.*--workers") as error:
        run.run(engine(2, "stillborn"))
    assert "\n" not in str(error.value)
    assert {entry.state for entry in run.entries().values()} == {FileState.pending}


def test_a_worker_that_ends_as_it_starts_costs_no_file_a_try(tmp_path: Path) -> None:
    bad_start = tmp_path / "bad-start"
    bad_start.touch()
    run = SchedulerRun(tmp_path, ["ok-a", "kill1-b"])
    entries = run.run(engine(1, f"all but first:{bad_start}"))
    assert not bad_start.exists()
    assert [entry.state for entry in entries.values()] == [FileState.done] * 2
    # Both were started twice, but a job lost before its worker began keeps both its tries.
    assert [event.name for event in run.events_of(Retried)] == ["ok-a", "kill1-b"]


def test_a_worker_that_cannot_start_beside_others_is_not_replaced(tmp_path: Path) -> None:
    """The memory may not be enough for more."""
    (tmp_path / "once").touch()
    run = SchedulerRun(tmp_path, ["wait-a", "ok-b", "ok-c", "ok-d"])
    entries = run.run(engine(2, f"first only:{tmp_path / 'once'}"))
    assert {entry.state for entry in entries.values()} == {FileState.done}
    assert len({event.worker for event in run.events_of(Finished)}) == 1


def test_a_broken_installation_ends_in_one_line(tmp_path: Path) -> None:
    run = SchedulerRun(tmp_path, ["ok-a"])
    with pytest.raises(WorkersError, match="a worker cannot start: ImportError: no module named"):
        run.run(engine(1, "broken"))


@pytest.mark.parametrize(
    ("names", "checkpoint", "message"),
    [
        (["ok-a", "ok-b"], "unfit", "unknown checkpoint 'unfit'"),
        (["ok-a", "unfit-b", "ok-c"], "default", "the model is damaged"),
    ],
)
def test_errors_that_no_worker_can_avoid(
    tmp_path: Path, names: list[str], checkpoint: str, message: str
) -> None:
    run = SchedulerRun(tmp_path, names)
    with pytest.raises(CheckpointError, match=message):
        run.run(engine(1, checkpoint))
    states = [entry.state for entry in run.entries().values()]
    assert FileState.running not in states
    assert FileState.failed not in states
    assert run.events_of(Retried) == []


def test_too_many_workers_for_this_machine(tmp_path: Path) -> None:
    code = """
import resource, sys
from pathlib import Path
from batching import ScriptedWorker
from avsent.batch.engines import local
from avsent.batch.engines.base import Job, Work, WorkersError
local.PRELOAD[:] = ["batching"]
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
with local.LocalEngine(Work(), 60, ScriptedWorker) as engine:
    try:
        for n in range(60):
            engine.start(Job(n, "sleep-%d" % n, Path(sys.argv[1]) / str(n)))
    except WorkersError as error:
        print(error)
"""
    with in_own_process(code, tmp_path) as running:
        out, _ = running.communicate(timeout=HANG_S)
    assert out.startswith("cannot start worker ")
    assert out.endswith("of 60: [Errno 24] Too many open files; try fewer --workers\n")


def test_worker_numbers_and_free_workers(tmp_path: Path) -> None:
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
    deadline = time.monotonic() + HANG_S
    while not (events := pool.wait(1.0)):
        assert time.monotonic() < deadline
    return list(events)


def test_reasons_of_exits_in_words() -> None:
    assert reason_of_exit(-signal.SIGSEGV) == "its worker crashed (SIGSEGV)"
    assert reason_of_exit(-63) == "its worker crashed (63)"
    assert reason_of_exit(None) == "its worker ended with code None"


# Workers whose batch is killed or interrupted

PARENT = """
import sys, time
from pathlib import Path
from batching import ScriptedWorker
from avsent.batch.engines.base import Job, Work
from avsent.batch.engines import local
if sys.argv[2:]:
    local.PRELOAD[:] = sys.argv[2:]
with local.LocalEngine(Work(), 2, ScriptedWorker) as engine:
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
    with in_own_process(PARENT, tmp_path, "batching") as parent:
        deadline = time.monotonic() + HANG_S
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
def test_only_the_batch_reports_ctrl_c(tmp_path: Path, at_work: bool) -> None:
    """The terminal sends it to all processes, and each could print a traceback."""
    # The preload of real batches where that is interrupted.
    preload = ["batching"] if at_work else []
    with in_own_process(PARENT, tmp_path, *preload) as parent:
        watched = psutil.Process(parent.pid)
        deadline = time.monotonic() + HANG_S
        while not ((tmp_path / "sleep-b.try1").exists() if at_work else serves_forks(watched)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = watched.children(recursive=True)
        os.killpg(parent.pid, signal.SIGINT)
        _, err = parent.communicate(timeout=HANG_S)
        assert err.count("Traceback") == 1, err  # that of the batch, which has no command line here
        assert err.rstrip().endswith("KeyboardInterrupt")
        wait_until_gone(children)


def serves_forks(parent: psutil.Process) -> bool:
    """Whether the process that workers are forked from has been started."""
    for child in parent.children():
        with contextlib.suppress(psutil.Error):
            if "forkserver" in " ".join(child.cmdline()):
                return True
    return False
