"""What is to be done: compared with the journal, the longest first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from batching_results import CONFIG, OTHER, keep, keep_failure
from handmade import make_result
from making_media import tone, write_sound

from avsent.batch.entries import State
from avsent.batch.jobs import Job
from avsent.batch.journal import Journal
from avsent.batch.news import Looking, News
from avsent.batch.plan import Plan, make_plan
from avsent.batch.tree import SourceFile, find_media

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
        self.news: list[News] = []

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
                listener=self.news.append,
            )

    def end(self, name: str, *, other: bool = False, failed: bool = False) -> None:
        """Do the file."""
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
    assert planner.news == [Looking(0, 5)]


def test_durations_are_found_out_once(planner: Planner) -> None:
    planner.plan()
    planner.news.clear()
    # As if killed: of those that wait, only what is no media is opened again.
    plan = planner.plan()
    assert planner.news == [Looking(0, 2)]
    assert plan.to_do_s == 6.0
    write_sound(planner.media / "a.wav", tone(4.0), "pcm_s16le")
    plan = planner.plan()
    assert plan.to_do_s == 9.0
    assert names(plan.jobs)[0] == "a.wav"


def test_what_is_done_or_failed_is_left_alone(planner: Planner) -> None:
    planner.plan()
    planner.end("a.wav")
    planner.end("e.wav", failed=True)
    planner.end("d.wav", failed=True, other=True)
    planner.end("b.wav", other=True)
    plan = planner.plan()
    assert (plan.done, plan.failed) == (("a.wav",), ("e.wav",))
    assert names(plan.jobs) == ["b.wav", "d.wav", "sub/c.wav"] or plan.to_do_s > 5.0
    assert {job.known_sha256 for job in plan.jobs} == {None}
    plan = planner.plan(retry_failed=True)
    assert (plan.done, plan.failed) == (("a.wav",), ())
    assert "e.wav" in names(plan.jobs)


def test_what_changed_is_done_again(planner: Planner) -> None:
    planner.plan()
    planner.end("a.wav")
    planner.end("e.wav", failed=True)
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
    # What its result says holds as long as the result does.
    assert (entry.duration_s, entry.state) == (duration_s, State.done)


def test_a_file_that_was_being_done_is_pending(planner: Planner) -> None:
    planner.plan()
    planner.end("a.wav")
    with Journal(planner.out, write=True) as journal:
        journal.begin("a.wav")
    plan = planner.plan()
    assert plan.done == ()
    (job,) = [job for job in plan.jobs if job.name == "a.wav"]
    assert job.known_sha256 is None
