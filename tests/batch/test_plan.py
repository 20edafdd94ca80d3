"""The plan of a run, and the lock of a batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from batching import CONFIG, OTHER, keep, keep_failure
from conftest import ROOT
from handmade import make_result
from media_files import tone, write_sound

from avsent.batch.engines.base import Job
from avsent.batch.events import Event, Looking
from avsent.batch.folders import SourceFile, find_media
from avsent.batch.journal import FOLDER_NAME, FileState, Journal
from avsent.batch.lock import HOLDER_NAME, exclusive, is_held
from avsent.batch.plan import Plan, make_plan
from avsent.errors import OutputError

SECONDS = {"a.wav": 1.0, "b.wav": 3.0, "sub/c.wav": 2.0}


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Three sounds, and two files that are no media."""
    folder = tmp_path / "media"
    (folder / "sub").mkdir(parents=True)
    for name, seconds in SECONDS.items():
        write_sound(folder / name, tone(seconds), "pcm_s16le")
    rate = (folder / "a.wav").stat().st_size  # of a second
    (folder / "d.wav").write_bytes(b"?" * (5 * rate // 2))
    (folder / "e.wav").touch()
    return folder


class Planner:
    """Plans again and again with one journal."""

    def __init__(self, media: Path, out: Path) -> None:
        self.media, self.out = media, out
        self.events: list[Event] = []

    def found(self) -> tuple[SourceFile, ...]:
        return find_media(self.media, self.out).files

    def plan(self, *, retry_failed: bool = False) -> Plan:
        files = self.found()
        with Journal(self.out, write=True) as journal:
            journal.survey({file.name: file.name for file in files})
            return make_plan(
                files,
                journal,
                CONFIG.digest(),
                retry_failed=retry_failed,
                listener=self.events.append,
            )

    def finish(self, name: str, *, other: bool = False, failed: bool = False) -> None:
        """Keep a result or a failure of the file."""
        config = OTHER if other else CONFIG
        (file,) = [file for file in self.found() if file.name == name]
        with Journal(self.out, write=True) as journal:
            if failed:
                keep_failure(journal, name, config)
            else:
                keep(journal, make_result(source=name), config, content=f"content of {name}")
            journal._db.execute(
                "UPDATE files SET size = ?, mtime_ns = ? WHERE name = ?",
                (file.size, file.mtime_ns, name),
            )


@pytest.fixture
def planner(media: Path, tmp_path: Path) -> Planner:
    return Planner(media, tmp_path / "out")


def names(jobs: tuple[Job, ...]) -> list[str]:
    return [job.name for job in jobs]


def test_the_longest_first(planner: Planner) -> None:
    plan = planner.plan()
    # Of unknown duration: as long as its size makes the others.
    assert names(plan.jobs) == ["b.wav", "d.wav", "sub/c.wav", "a.wav", "e.wav"]
    assert [job.number for job in plan.jobs] == [0, 1, 2, 3, 4]
    assert {job.name: job.duration_s for job in plan.jobs if job.duration_s} == SECONDS
    assert plan.to_do_s == 6.0
    assert plan.jobs[2].path.samefile(planner.media / "sub" / "c.wav")
    assert {job.known_sha256 for job in plan.jobs} == {None}
    assert planner.events == [Looking(0, 5)]


def test_durations_are_read_once(planner: Planner) -> None:
    planner.plan()
    planner.events.clear()
    # As after a kill: of the pending files, only those that are no media are opened again.
    plan = planner.plan()
    assert planner.events == [Looking(0, 2)]
    assert plan.to_do_s == 6.0
    write_sound(planner.media / "a.wav", tone(4.0), "pcm_s16le")
    plan = planner.plan()
    assert plan.to_do_s == 9.0
    assert names(plan.jobs)[0] == "a.wav"


def test_done_and_failed_files_are_left_alone(planner: Planner) -> None:
    planner.plan()
    planner.finish("a.wav")
    planner.finish("e.wav", failed=True)
    planner.finish("d.wav", failed=True, other=True)
    planner.finish("b.wav", other=True)
    plan = planner.plan()
    assert (plan.done, plan.failed) == (("a.wav",), ("e.wav",))
    assert names(plan.jobs) == ["b.wav", "d.wav", "sub/c.wav"] or plan.to_do_s > 5.0
    assert {job.known_sha256 for job in plan.jobs} == {None}
    plan = planner.plan(retry_failed=True)
    assert (plan.done, plan.failed) == (("a.wav",), ())
    assert "e.wav" in names(plan.jobs)


def test_changed_files_are_processed_again(planner: Planner) -> None:
    planner.plan()
    planner.finish("a.wav")
    planner.finish("e.wav", failed=True)
    duration_s = make_result().duration_s
    os.utime(planner.media / "a.wav", ns=(0, 12345))
    (planner.media / "e.wav").write_bytes(b"more")
    plan = planner.plan()
    assert (plan.done, plan.failed) == ((), ())
    (touched,) = [job for job in plan.jobs if job.name == "a.wav"]
    assert touched.known_sha256 == "content of a.wav"
    assert touched.duration_s == 1.0
    with Journal(planner.out, write=False) as journal:
        (entry,) = [entry for entry in journal.entries() if entry.name == "a.wav"]
    # The duration is that of the result as long as the result is valid.
    assert (entry.duration_s, entry.state) == (duration_s, FileState.done)


def test_an_interrupted_file_is_processed_again(planner: Planner) -> None:
    planner.plan()
    planner.finish("a.wav")
    with Journal(planner.out, write=True) as journal:
        journal.begin("a.wav")
    plan = planner.plan()
    assert plan.done == ()
    (job,) = [job for job in plan.jobs if job.name == "a.wav"]
    assert job.known_sha256 is None


HOLDER = """
import sys, time
from pathlib import Path
from avsent.batch.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds ``tmp_path``."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_batch_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert is_held(tmp_path)
    with pytest.raises(OutputError) as error, exclusive(tmp_path):
        pass
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: another batch is at work on it (process {holder.pid} ")
    assert message.endswith("); wait for it, or give another -o")
    assert "\n" not in message
    holder.communicate("")  # it ends
    assert holder.returncode == 0
    assert not is_held(tmp_path)
    with exclusive(tmp_path):
        assert is_held(tmp_path)


def test_a_killed_batch_holds_no_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(tmp_path)
    with exclusive(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / FOLDER_NAME / HOLDER_NAME).read_text()
    assert not (tmp_path / FOLDER_NAME / HOLDER_NAME).exists()


def test_a_failed_batch_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "new" / "folder"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "new" / "folder"):
        pass


def test_is_held_makes_no_folders(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_file_in_place_of_the_journal_folder(tmp_path: Path) -> None:
    (tmp_path / FOLDER_NAME).touch()
    with pytest.raises(OutputError, match=FOLDER_NAME) as error, exclusive(tmp_path):
        pass
    assert "\n" not in str(error.value)
