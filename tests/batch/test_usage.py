"""``avsent batch``: wrong usage, unusable folders, ``--status``; none of it loads a model."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

import pytest
from batching import NO_UTF8, Batch, filled, journal_of, results
from processes import python

from avsent.batch.engines.base import Work
from avsent.batch.engines.choose import make_engine, with_absolute_paths
from avsent.batch.events import Ended
from avsent.batch.folders import LeftOut, assign_stems, find_media
from avsent.batch.journal import exclusive
from avsent.batch.run import BatchOptions, run_batch, status_of
from avsent.cli.app import main
from avsent.errors import CheckpointError, OutputError, UsageError
from avsent.result.writers import Format


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return filled(tmp_path)


def test_an_output_that_cannot_be_written_costs_its_own_file_only(batch: Batch) -> None:
    (batch.out / "a.mp4.json").mkdir(parents=True)
    ended = batch.run()
    errors = {entry.name: entry.error or "" for entry in status_of(batch.out).failures}
    assert set(errors) == {"a.mp4", "b.wav"}
    assert "a.mp4.json: Is a directory" in errors["a.mp4"]
    assert ended.did == 2
    assert "sub/d.mp4.json" in batch.tree()
    (batch.out / "a.mp4.json").rmdir()
    assert batch.run(retry_failed=True).did == 1
    assert "a.mp4.json" in batch.tree()


def test_a_kept_output_that_cannot_be_written_again_is_counted_as_failed(batch: Batch) -> None:
    batch.run()
    (batch.out / "a.mp4.json").unlink()
    (batch.out / "a.mp4.json").mkdir()
    batch.run()
    assert batch.failed() == ["a.mp4", "b.wav"]
    # The kept result has failed: it is neither done in this run nor kept.
    assert batch.events[-1] == Ended(0, 2, 2, 0, 5, 27.0, LeftOut())
    assert b"a.mp4" not in batch.tree()["utterances.csv"]


def test_formats_of_an_older_result_do_not_stay(batch: Batch) -> None:
    batch.run(Format.json, Format.csv)
    batch.put("a.mp4", "5")
    batch.run(Format.json)
    names = set(batch.tree())
    assert "a.mp4.csv" not in names  # of the old content
    assert "sub/c.mp4.csv" in names  # still true


def test_results_cannot_go_into_the_folder_itself(batch: Batch) -> None:
    batch.out = batch.media
    before = batch.tree()
    with pytest.raises(UsageError, match="give -o a folder of its own"):
        batch.run()
    assert batch.tree() == before


def test_results_of_another_folder_are_left_alone(batch: Batch, tmp_path: Path) -> None:
    batch.run()
    moved = tmp_path / "moved"
    batch.media.rename(moved)
    other = Batch(tmp_path)
    other.media = tmp_path / "other"
    other.put("a.mp4", "1")  # one name in common
    with pytest.raises(UsageError, match="holds the results of another folder"):
        other.run()
    batch.media = moved
    assert batch.run().kept == 3
    assert batch.read == []


def test_all_renamed_in_the_same_folder_is_no_other_folder(batch: Batch) -> None:
    batch.run()
    for path in [path for path in batch.media.rglob("*") if path.is_file()]:
        path.rename(path.with_name(f"new-{path.name}"))
    assert batch.run().gone == 4


def test_a_damaged_journal_ends_in_one_line(batch: Batch) -> None:
    import sqlite3

    batch.run()
    with sqlite3.connect(batch.out / ".avsent" / "journal.db") as database:
        database.execute("UPDATE results SET result = x'00'")
    (batch.out / "a.mp4.json").unlink()
    with pytest.raises(OutputError, match="the journal is damaged: a result in it"):
        batch.run()


def test_the_last_event_is_the_summary(batch: Batch) -> None:
    batch.put("notes.txt", "none of this")
    batch.run()
    ended = Ended(3, 0, 1, 0, 5, 28.0, LeftOut({".txt": 1}))
    assert batch.events[-1] == ended
    batch.run()
    assert batch.events[-1] == dataclasses.replace(ended, did=0, kept=3)


def test_outputs_do_not_get_the_names_of_folders() -> None:
    names = ["talk.mp4", "talk.mp4.json/a.mp4", "TALK2.mp4", "talk2.mp4.CSV/b/c.mp4"]
    stems = assign_stems(names, {})
    assert stems["talk.mp4"] == "talk.mp4.2"
    assert stems["TALK2.mp4"] == "TALK2.mp4.2"
    assert stems["talk.mp4.json/a.mp4"] == "talk.mp4.json/a.mp4"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("batch", "give the FOLDER with the videos"),
        ("batch -o out", "give the FOLDER with the videos"),
        ("batch .", "give a folder for the results with -o OUT"),
        ("batch . --status out", "--status OUT stands alone"),
        ("batch --status out -o out", "--status OUT stands alone"),
        ("batch . -o out --ray-address auto", "--ray-address goes with --engine ray"),
        ("batch . -o out --engine slurm", "--engine"),
        ("batch . -o out --engine ray --device cuda:1", "Ray hands out the GPUs"),
        ("batch . -o out --workers 0", "--workers"),
        ("batch . -o out --workers 2000", "--workers"),
        ("batch . -o out --time-limit -1", "--time-limit"),
        ("batch . -o out --format xml", "--format"),
        ("batch . -o out --adapt file", "--adapt"),
        ("batch . -o out --device gpu", "'gpu' is none of auto, cpu, cuda and cuda:N"),
        ("batch . sub -o out", "unexpected extra argument"),
    ],
)
def test_usage_errors(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    error, usage, hint = err.splitlines()
    assert error.startswith("avsent: error: ")
    assert message in error
    assert usage.startswith("Usage: avsent batch")
    assert hint.startswith("Try 'avsent batch")
    assert out == ""
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no"], 3, "no: no such folder; check the name"),
        (["x" * 300], 3, "no such folder"),
        (["a.mp4"], 3, "a.mp4 is a file; give a folder, or use 'avsent predict'"),
        (["sub"], 3, "sub: no media files in it; see --glob"),
        (
            [".", "--glob", "*.xyz"],
            3,
            "it; 4 other files left out, by ending: .mp4 (4); see --glob",
        ),
        ([".", "--checkpoint", "no"], 4, "unknown checkpoint 'no'"),
        ([".", "--checkpoint", "x" * 300], 4, "unknown checkpoint 'xxx"),
        ([".", "--checkpoint", "sub"], 4, "not a checkpoint"),
        ([".", "--landmarks", "no.dat"], 3, "--landmarks: cannot read no.dat"),
    ],
)
def test_unusable_folders_and_checkpoints(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert main(["batch", *arguments, "-o", "out"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("avsent: error: ")
    assert message in err
    assert not (folder / "out").exists()


def test_a_folder_of_nothing_but_links(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    links = folder / "sub" / "links"
    links.mkdir()
    for name in ("first.mp4", "second.mp4"):
        (links / name).symlink_to(folder / "a.mp4")
    assert main(["batch", "sub/links", "-o", "out"]) == 3
    assert capsys.readouterr().err == (
        "avsent: error: sub/links: no media files in it; 2 links lead out of the folder: give "
        "--follow-links, or the folder with the files\n"
    )
    assert len(find_media(links, folder / "out", follow_links=True).files) == 2


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("a.mp4", "a.mp4 is a file; give a folder with -o"),
        ("a.mp4/out", "cannot make the folder a.mp4/out"),
        ("x" * 300, "File name too long"),
    ],
)
def test_unusable_output_folders(
    folder: Path, capsys: pytest.CaptureFixture[str], out: str, message: str
) -> None:
    assert main(["batch", ".", "-o", out]) == 3
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert message in err


def test_results_of_another_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal_of(folder / "out", results().values()).close()
    (folder / "sub" / "other.mp4").touch()
    before = (folder / "out" / ".avsent" / "journal.db").read_bytes()
    assert main(["batch", "sub", "-o", "out"]) == 2
    error = capsys.readouterr().err.splitlines()[0]
    assert error == ("avsent: error: out holds the results of another folder; give another -o")
    assert (folder / "out" / ".avsent" / "journal.db").read_bytes() == before


def test_one_batch_at_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with exclusive(folder / "out"):
        assert main(["batch", ".", "-o", "out"]) == 3
    err = capsys.readouterr().err
    assert f"another batch is at work on it (process {os.getpid()}" in err
    assert len(err.splitlines()) == 1


# --status


def test_status_in_words_and_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with journal_of(folder, results().values(), "bad\n.mp4", "gone.mp4") as journal:
        here = [*results(), "bad\n.mp4", "new.mp4", "now\x1b.mp4"]
        journal.survey({name: name for name in here})
        journal.begin("now\x1b.mp4")
        assert main(["batch", "--status", "."]) == 5
        assert capsys.readouterr().out.splitlines() == [
            ".: 8 files: 1 pending, 1 cut short, 5 done, 1 failed",
            "1 of earlier runs are no longer in the folder",
            "10 utterances in 0:55.0 of media; one worker did 22.0 x real time",
            "no batch is at work on it",
            "failed: bad .mp4: no media file",
        ]
        with exclusive(folder):
            assert main(["batch", "--status", ".", "--json-progress"]) == 5
        status = json.loads(capsys.readouterr().out)
    assert status == {
        "files": 8,
        "pending": 1,
        "running": 1,
        "done": 5,
        "failed": 1,
        "gone": 1,
        "at_work": True,
        "media_s": 55.0,
        "work_s": 2.5,
        "speed": 22.0,
        "utterances": 10,
        "running_files": ["now\x1b.mp4"],
        "failures": [
            {
                "source": "bad\n.mp4",
                "error": "bad\n.mp4: no media file",
                "exit_code": 3,
                "attempts": 0,
            }
        ],
    }


def test_a_failure_names_its_file_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal_of(folder, [], NO_UTF8).close()
    assert main(["batch", "--status", "."]) == 5
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == r"failed: sub/caf\udce9.mp4: no media file"


def test_status_where_all_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal_of(folder, [results()[NO_UTF8]]).close()
    assert main(["batch", "--status", "."]) == 0
    assert capsys.readouterr().out.splitlines()[0] == ".: 1 files: 1 done, 0 failed"


@pytest.mark.parametrize("name", ["sub", "no", "a.mp4"])
def test_status_without_a_batch(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["batch", "--status", name]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"avsent: error: {name}: holds no batch of avsent; give its -o folder\n"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("-dash.mp4", "a.mp4", "b.mp4", "empty.mp4", "sub")
    ]


def test_status_needs_nothing_heavy(tmp_path: Path) -> None:
    journal_of(tmp_path, results().values()).close()
    ran = python(
        f"""
import sys
from avsent.cli import main
assert main(["batch", "--status", {str(tmp_path)!r}]) == 0
heavy = {{"torch", "av", "cv2", "numpy", "ray", "pyarrow"}}
print(sorted(heavy & set(sys.modules)), file=sys.stderr)
""",
        capture_output=True,
    )
    assert ran.stderr == "[]\n", ran.stderr


def test_engines_import_nothing_heavy() -> None:
    """A worker sets its number of threads before its libraries are imported."""
    ran = python(
        """
import sys
from avsent.batch import run
from avsent.batch.engines import base, local, ray_cluster
print(sorted({"torch", "av", "cv2", "numpy", "ray", "librosa"} & set(sys.modules)))
""",
        capture_output=True,
    )
    assert ran.stdout == "[]\n", ran.stderr


# From Python


def test_engines_by_name() -> None:
    with pytest.raises(UsageError, match="there is no engine 'slurm'; choose local or ray"):
        make_engine(Work(), 1, 1, "slurm", None)
    with make_engine(Work(device="cpu"), 8, 3, "local", None) as engine:
        assert engine.workers == 3


def test_paths_for_workers_in_other_folders(folder: Path) -> None:
    def checkpoint(name: str) -> str:
        return with_absolute_paths(Work(name)).checkpoint

    (folder / "default").mkdir()
    assert checkpoint("default") == "default"  # shipped names come first
    assert checkpoint("sub") == str(folder / "sub")
    assert checkpoint("./sub") == str(folder / "sub")
    assert checkpoint("nothing") == "nothing"


def test_a_damaged_checkpoint_is_found_before_anything_is_written(folder: Path) -> None:
    (folder / "sub" / "config.json").write_text('{"name": "x"}')
    with pytest.raises(CheckpointError, match="damaged; restore the checkpoint"):
        run_batch(
            folder,
            folder / "out",
            lambda plan: sys.exit("not reached"),
            BatchOptions(work=Work(checkpoint=str(folder / "sub"))),
        )
    assert not (folder / "out").exists()
