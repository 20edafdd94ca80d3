"""Several files in one command: their outcomes and their outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from handmade import make_result

from avsent.cli.destination import Destination, choose_destination
from avsent.cli.running import Run
from avsent.errors import CheckpointError, MediaError, OutputError, PartialFailure, UsageError
from avsent.progress import Progress, ProgressHook
from avsent.results import Result
from avsent.writers import Format, make_writer


def hand_out(path: Path, on_progress: ProgressHook) -> Result:
    """Results made by hand, for files of any content; ``bad…`` fails."""
    on_progress(Progress("looking", str(path), 1.0, 2.0))
    if path.name.startswith("bad"):
        raise MediaError(f"{path} is damaged")
    return make_result(2, path.name)


def run_all(
    paths: list[Path],
    destination: Destination,
    predict_one: Callable[[Path, ProgressHook], Result] = hand_out,
) -> None:
    run = Run(predict_one, warns=not destination.writer.shows_warnings, quiet=False, debug=False)
    destination.write(run.results(paths), lambda _: None)
    run.finish(len(paths))


def test_one_failure_does_not_stop_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "bad.mp4").write_text("x")
    paths = [Path(name) for name in ("a.mp4", "bad.mp4", "missing.mp4", "b.mp4")]
    destination = choose_destination(paths, None, "out/new", attention=False)
    with pytest.raises(PartialFailure, match="2 of 4 files failed; the others are done") as caught:
        run_all(paths, destination)
    assert caught.value.exit_code == 5
    assert sorted(path.name for path in (folder / "out/new").iterdir()) == [
        "a.mp4.json",
        "b.mp4.json",
    ]
    assert json.loads((folder / "out/new/b.mp4.json").read_text())["source"] == "b.mp4"
    assert capsys.readouterr().err.splitlines() == [
        "avsent: error: bad.mp4 is damaged",
        "avsent: error: cannot read missing.mp4: no such file; check the name",
    ]


@pytest.mark.parametrize("out", [None, "out/", "all.csv"])
def test_when_all_fail_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], out: str | None
) -> None:
    paths = [folder / "missing.mp4", folder / "sub"]
    before = sorted(folder.iterdir())
    with pytest.raises(typer.Exit) as caught:
        run_all(paths, choose_destination(paths, Format.csv, out, attention=False))
    assert caught.value.exit_code == 3
    assert capsys.readouterr().out == ""
    assert sorted(folder.iterdir()) == before


def test_an_error_that_all_share_stops_at_once(folder: Path) -> None:
    asked: list[Path] = []

    def refuse(path: Path, _: ProgressHook) -> Result:
        asked.append(path)
        raise CheckpointError("damaged")

    paths = [Path("a.mp4"), Path("b.mp4")]
    with pytest.raises(CheckpointError):
        run_all(paths, choose_destination(paths, None, None, attention=False), refuse)
    assert asked == paths[:1]


def test_several_files_in_one(folder: Path) -> None:
    paths = [Path("a.mp4"), Path("b.mp4")]
    for name, lines in (("all.csv", 5), ("all.jsonl", 4)):
        run_all(paths, choose_destination(paths, None, name, attention=False))
        assert len((folder / name).read_text().splitlines()) == lines
    run_all(paths, choose_destination(paths, None, "all.json", attention=False))
    assert [r["source"] for r in json.loads((folder / "all.json").read_text())] == [
        "a.mp4",
        "b.mp4",
    ]


def test_an_interruption_leaves_nothing(folder: Path) -> None:
    def interrupt(path: Path, on_progress: ProgressHook) -> Result:
        if path.name == "b.mp4":
            raise KeyboardInterrupt
        return hand_out(path, on_progress)

    paths = [Path("a.mp4"), Path("b.mp4")]
    before = {path.name for path in folder.iterdir()}
    for out in ("all.csv", "out/"):
        with pytest.raises(KeyboardInterrupt):
            run_all(paths, choose_destination(paths, None, out, attention=False), interrupt)
    assert {path.name for path in folder.iterdir()} == {*before, "out"}
    assert [path.name for path in (folder / "out").iterdir()] == ["a.mp4.json"]


def test_file_warnings_go_to_stderr_where_the_format_has_no_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for format, line in (
        (Format.srt, "avsent: warning: a.mp4: no speech was found\n"),
        ("json", ""),
    ):
        destination = Destination(make_writer(Format(format)))
        run_all([Path("a.mp4")], destination, lambda path, _: make_result(0, path.name))
        assert capsys.readouterr().err == line


def test_the_format_follows_the_name() -> None:
    one = [Path("a.mp4")]
    extensions = {
        out: choose_destination(one, None, out, attention=False).writer.extension
        for out in (None, "-", "x/", "x.csv", "x.VTT", "x.txt")
    }
    assert list(extensions.values()) == ["txt", "txt", "json", "csv", "vtt", "txt"]
    given = choose_destination(one, Format.srt, "x.json", attention=False)
    assert given.writer.extension == "srt"
    with pytest.raises(UsageError):
        choose_destination(one, None, "", attention=False)


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    paths = [Path("a.mp4"), Path("b.mp4")]
    destination = choose_destination(paths, None, "a.mp4/out/", attention=False)
    with pytest.raises(OutputError):
        destination.check(paths)
