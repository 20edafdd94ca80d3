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
from avsent.batch.folders import Found, LeftOut, SourceFile, find_media
from avsent.batch.journal import FOLDER_NAME, HOLDER_NAME, FileState, Journal, exclusive, is_held
from avsent.batch.plan import Plan, make_plan
from avsent.errors import InputError, OutputError

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
from avsent.batch.journal import exclusive
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


NO_UTF8 = os.fsdecode(b"caf\xe9.mp4")


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"12345")


def names_in(found: Found) -> list[str]:
    return [file.name for file in found.files]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    return folder


def test_files_of_all_folders_by_their_extensions(library: Path, out: Path) -> None:
    put(
        library,
        "b.MP4",
        "a.wav",
        "deep/er/c.MoV",
        "deep/d.flac",
        "notes.txt",
        "deep/mp4",
        "x.json",
    )
    put(library, "a.mp4.json", "trailing.mp4.", "no ending")
    found = find_media(library, out)
    assert names_in(found) == ["a.wav", "b.MP4", "deep/d.flac", "deep/er/c.MoV"]
    assert found.left_out == LeftOut({".txt": 1, ".json": 2, "": 3})
    first = found.files[0]
    assert first.path.samefile(library / "a.wav")
    assert first.path.is_absolute()
    found_stat = (library / "a.wav").stat()
    assert (first.size, first.mtime_ns) == (5, found_stat.st_mtime_ns)


def test_names_that_begin_with_a_dot_are_hidden(library: Path, out: Path) -> None:
    put(library, ".a.mp4", "._b.mp4", ".mp4", ".trash/c.mp4", "d.mp4")
    found = find_media(library, out)
    assert names_in(found) == ["d.mp4"]
    assert not found.left_out.others
    assert names_in(find_media(library, out, ["*"])) == ["d.mp4"]


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (["*.dat"], ["a.dat", "day1/b.dat"]),
        (["day1/*"], ["day1/b.dat", "day1/c.mp4"]),
        (["*/c.mp4", "a.*"], ["a.dat", "day1/c.mp4"]),
        (["[ab].dat"], ["a.dat", "day1/b.dat"]),
        (["*.MP4"], []),
        (["["], []),
        (["nothing"], []),
    ],
)
def test_globs_instead_of_extensions(
    library: Path, out: Path, globs: list[str], names: list[str]
) -> None:
    put(library, "a.dat", "day1/b.dat", "day1/c.mp4")
    found = find_media(library, out, globs)
    assert names_in(found) == names
    assert sum(found.left_out.others.values()) == 3 - len(names)


def test_the_output_folder_is_not_searched(library: Path) -> None:
    put(library, "a.mp4", "out/b.mp4", "out.mp4/c.mp4", "sub/out/d.mp4")
    assert names_in(find_media(library, library / "out")) == [
        "a.mp4",
        "out.mp4/c.mp4",
        "sub/out/d.mp4",
    ]
    assert names_in(find_media(library, library / "sub" / ".." / "out")) == names_in(
        find_media(library, library / "out")
    )
    put(library, ".avsent/e.mp4")
    assert len(find_media(library, library).files) == 4
    (library.parent / "link").symlink_to(library / "out")
    assert "out/b.mp4" not in names_in(find_media(library, library.parent / "link"))


def test_links(library: Path, tmp_path: Path, out: Path) -> None:
    put(library, "a.mp4", "sub/b.mp4")
    put(tmp_path, "outside.mp4", "other/c.mp4")
    (library / "inside.mp4").symlink_to("sub/b.mp4")
    (library / "outside.mp4").symlink_to(tmp_path / "outside.mp4")
    (library / "by another.mp4").symlink_to("outside.mp4")
    (library / "nothing.mp4").symlink_to("no.mp4")
    (library / "itself.mp4").symlink_to("itself.mp4")
    (library / "no name.mp4").symlink_to("x" * 300)
    (library / "folder.mp4").symlink_to("sub")
    (library / "sub" / "up").symlink_to("..")
    (library / "other").symlink_to(tmp_path / "other")
    found = find_media(library, out)
    assert names_in(found) == ["a.mp4", "inside.mp4", "sub/b.mp4"]
    assert found.files[1].size == 5
    assert (found.left_out.links_out, found.left_out.links_broken) == (3, 3)
    assert found.left_out.warnings() == [
        "3 links lead out of the folder: give --follow-links, or the folder with the files",
        "3 links lead to no file: fetch the files, or remove the links",
    ]
    # The folder itself may be a link.
    (tmp_path / "link").symlink_to(library)
    assert find_media(tmp_path / "link", out) == found
    found = find_media(library, out, follow_links=True)
    linked = ["by another.mp4", "inside.mp4", "other/c.mp4", "outside.mp4"]
    assert names_in(found) == ["a.mp4", *linked, "sub/b.mp4"]
    assert (found.left_out.links_out, found.left_out.links_broken) == (0, 3)


def test_folders_behind_links_are_searched_once(library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    put(tmp_path, "far/x/a.mp4", "far/b.mp4", "z/c.mp4", "blobs/0a1b2c", "out/e.mp4")
    put(library, "sub/d.mp4", ".hidden/f.mp4")
    for place, target in {
        "sub/far": tmp_path / "far",
        "again": tmp_path / "far" / "x",
        "to out": out,
        "loop": tmp_path,  # holds all of them
        "own": library / "sub",
        "kept back": library / ".hidden",
        "named.mp4": tmp_path / "blobs" / "0a1b2c",
    }.items():
        (library / place).symlink_to(target)
    (tmp_path / "far" / "back").symlink_to(library)
    found = find_media(library, out, follow_links=True)
    assert names_in(found) == [
        *("again/a.mp4", "kept back/f.mp4", "loop/far/b.mp4", "loop/z/c.mp4"),
        *("named.mp4", "sub/d.mp4"),
    ]
    assert found.left_out == LeftOut({"": 1})
    assert all(file.path.read_bytes() == b"12345" for file in found.files)
    left_out = find_media(library, out).left_out
    assert (left_out.links_out, left_out.links_broken) == (5, 0)


def test_endings_that_are_left_out(library: Path, out: Path) -> None:
    put(library, "a.MOD", "b.tod", "c.m2t", "d.lrv", "e.360", "f.insv", "g.m2ts", "h.MTS")
    assert len(find_media(library, out).files) == 8
    assert find_media(library, out).left_out.other_kinds() == []
    put(library, "a.xyz", "b.XYZ", "c.abc", "plain")
    (text,) = find_media(library, out).left_out.other_kinds()
    assert (
        text == "4 other files left out, by ending: .xyz (2), .abc (1), no ending (1); see --glob"
    )
    put(library, *(f"{n}.{n}" for n in range(9)))
    (text,) = find_media(library, out).left_out.other_kinds()
    assert text.count("(") == 8


def test_names_of_every_kind(library: Path, out: Path) -> None:
    names = [
        "-dash.mp4",
        "new\nline.mp4",
        "我很好.mp4",
        "e\u0301.mp4",
        "é.mp4",
        "a b\t.mp4",
        NO_UTF8,
    ]
    names += ["\x1b[31m.mp4", "*.mp4", "x" * 251 + ".mp4", os.fsdecode(b"\xff\xfe/\xff.mp4")]
    put(library, *names)
    found = find_media(library, out)
    assert sorted(names_in(found)) == sorted(names)
    assert names_in(found) == sorted(names, key=os.fsencode)
    assert all(file.path.read_bytes() == b"12345" for file in found.files)
    assert names_in(find_media(library, out, ["new*.mp4"])) == ["new\nline.mp4"]


def test_only_plain_files_are_found(library: Path, out: Path) -> None:
    os.mkfifo(library / "pipe.mp4")
    (library / "folder.mp4").mkdir()
    assert find_media(library, out).files == ()


def test_folders_nested_deeper_than_functions_can_be(library: Path, out: Path) -> None:
    depth = sys.getrecursionlimit() + 100
    here = os.open(library, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert names_in(find_media(library, out)) == ["d/" * depth + "a.mp4"]
    finally:
        # The clean-up of pytest is recursive.
        subprocess.run(["rm", "-r", str(library)], check=True)


def test_times_of_broken_clocks(library: Path, out: Path) -> None:
    put(library, "a.mp4", "b.mp4")
    os.utime(library / "a.mp4", (0, -1000))
    os.utime(library / "b.mp4", (0, 13_000_000_000))  # the year 2381
    early, late = find_media(library, out).files
    assert early.mtime_ns == -1000 * 10**9
    assert early.mtime_ns < late.mtime_ns < 2**63


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no", "no such folder"), ("x" * 300, "no such folder"), ("a.mp4", "is a file")],
)
def test_missing_folders(library: Path, out: Path, name: str, reason: str) -> None:
    put(library, "a.mp4")
    with pytest.raises(InputError, match=reason) as error:
        find_media(library / name, out)
    assert "\n" not in str(error.value)


def test_an_empty_folder(library: Path, out: Path) -> None:
    assert find_media(library, out) == Found()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_cannot_be_read(library: Path, out: Path) -> None:
    put(library, "a.mp4", "closed/b.mp4", "z/c.mp4")
    (library / "link.mp4").symlink_to("closed/b.mp4")
    (library / "closed").chmod(0)
    try:
        found = find_media(library, out)
        assert names_in(found) == ["a.mp4", "z/c.mp4"]
        assert found.left_out.unread == ["closed/: Permission denied"]
        with pytest.raises(InputError, match="cannot be read"):
            find_media(library / "closed", out)
    finally:
        (library / "closed").chmod(0o700)
