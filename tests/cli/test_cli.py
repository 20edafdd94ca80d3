"""The command line without a model: help, messages, exit codes, several files, destinations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from conftest import ROOT
from handmade import make_result
from processes import on_terminal, python

import avsent
from avsent.cli import app, options
from avsent.cli.app import main
from avsent.cli.outcome import print_table, report_error
from avsent.cli.predict import Destination, Run, choose_destination
from avsent.cli.progress import describe, describe_count, progress_bar, shorten
from avsent.errors import CheckpointError, MediaError, OutputError, PartialFailure, UsageError
from avsent.progress import Progress, ProgressHook
from avsent.result.record import Result
from avsent.result.writers import Format, make_writer
from tools.make_cli_reference import reference, walk


def test_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m tools.make_cli_reference > docs/cli.md"


def test_every_command_and_option_has_help() -> None:
    for name, command in walk(typer.main.get_command(app), "avsent"):
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_results_page_names_every_field_and_exit_code() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name in [*make_result().to_dict(), *make_result().to_dict()["utterances"][0], "text"]:
        assert name in page
    for code in (0, 1, 2, 3, 4, 5, 130, 141):
        assert f"| {code} |" in page


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "avsent: interrupted"),
        (MemoryError(), 1, "avsent: error: not enough memory; close other programs"),
        (CheckpointError("x is damaged"), 4, "avsent: error: x is damaged"),
        (ValueError("a\nb"), 1, "avsent: internal error: ValueError: a b (run again with --debug"),
    ],
)
def test_exit_codes_and_messages_of_errors(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(options, "check_option_file", fail)
    assert main(["predict", "a.mp4"]) == code
    shown = capsys.readouterr().err.strip().splitlines()
    assert len(shown) == 1
    assert shown[0].startswith(line)


@pytest.mark.parametrize("arguments", [["--debug", "predict", "x"], ["predict", "--debug", "x"]])
def test_debug_prints_the_traceback(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert main(arguments) == 3
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1] == "avsent: error: cannot read x: no such file; check the name"
    assert main(["predict", "x"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_gpu_out_of_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    torch_error = type("OutOfMemoryError", (RuntimeError,), {})
    assert report_error(torch_error("CUDA out of memory. Tried\nto"), debug=False) == 1
    assert capsys.readouterr().err.startswith("avsent: error: not enough memory")


ROWS = (("[red]a", "1"), ("b\tc\x1b", "22"))


def test_tables_are_tab_separated_lines_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(ROWS, ("name", "count"))
    assert capsys.readouterr().out == "[red]a\t1\nb c\\x1b\t22\n"
    print_table(ROWS[:1], ("name", "count"), title="both", figures=True)
    assert capsys.readouterr().out == "# both\nname\tcount\n[red]a\t1\n\n"


def test_tables_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "dumb")
    print_table(ROWS, ("name", "count"), styles={"1": "yellow"})
    print_table(ROWS, ("name", "count"), title="both", figures=True)
    print_table((), ("name", "count"))
    plain, both = capsys.readouterr().out.split("both")
    rows = [line.rstrip() for line in plain.splitlines()]
    assert rows == ["name     count", "[red]a   1", "b c\\x1b  22"]
    rows = [line.rstrip() for line in both.splitlines()]
    assert rows == ["", "name     count", "[red]a       1", "b c\\x1b     22", ""]


PRINT_MANY = """
import sys
from handmade import make_result
from avsent.cli.outcome import ReaderGoneError, printing
from avsent.errors import OutputError
from avsent.result.writers import Format, make_writer
try:
    with printing():
        make_writer(Format.jsonl).write([make_result(30)] * 20, sys.stdout)
except ReaderGoneError:
    sys.exit(141)
except OutputError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""


def test_closed_pipe_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = python(PRINT_MANY, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = python(PRINT_MANY, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert done.stderr == "cannot write to standard output: No space left on device\n"


def test_exported_names_exist() -> None:
    assert avsent.__all__ == sorted(avsent.__all__)
    assert set(avsent.__all__) == {"AvsentError", "__version__", *avsent._LAZY}
    assert set(avsent.__all__) <= set(dir(avsent))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        avsent.nothing  # noqa: B018


def test_lazy_names_can_be_imported() -> None:
    for name in avsent._LAZY:
        assert getattr(avsent, name).__name__ == name


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_light_commands_import_nothing_heavy(option: str) -> None:
    code = f"""
import sys
from avsent.cli import main
assert main([{option!r}]) == 0
assert main(["predict", "--help"]) == 0
heavy = {{"torch", "numpy", "librosa", "av", "dlib", "cv2", "scipy", "rich"}} & set(sys.modules)
assert not heavy, heavy
"""
    assert python(code, capture_output=True).stderr == ""


@pytest.mark.parametrize("launcher", [["-m", "avsent"], ["cli.py"]])
def test_launchers(launcher: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *launcher, "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == f"avsent {avsent.__version__}\n"
    assert done.returncode == 0


def test_shell_completion() -> None:
    environment = {
        **os.environ,
        "_AVSENT_COMPLETE": "complete_bash",
        "COMP_WORDS": "avsent predict --ut",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "cli.py"], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert "--utterances" in done.stdout


def test_no_progress_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress_bar("a.mp4", quiet=False) as bar:
        bar(Progress("looking", "a.mp4", 1.0, None))
    assert capsys.readouterr() == ("", "")


def test_progress_bar_on_a_terminal() -> None:
    code = """
from avsent.cli.progress import progress_bar
from avsent.progress import Progress
with progress_bar("[red]a\\x1b]0;owned\\x07.mp4", quiet=False) as bar:
    bar(Progress("looking", "a", 30.0, 60.0))
"""
    text = on_terminal(code)
    assert "[red]a\\x1b]0;owned\\x07.mp4" in text
    assert "looking" in text
    assert "0:30.0/1:00.0" in text
    assert "\x1b]" not in text


def test_text_of_progress() -> None:
    assert describe(Progress("x", "a", 30.0, 60.0), 0.1) == "0:30.0/1:00.0"
    assert describe(Progress("x", "a", 30.0, 60.0), 15.0) == "0:30.0/1:00.0 2.0x"
    assert describe(Progress("x", "a", 30.0, None), 60.0) == "0:30.0 0.5x"
    assert describe_count(Progress("x", "a", 3.0, 12.0), 0.0) == "3/12  0:00 left"
    assert describe_count(Progress("x", "a", 3.0, 12.0), 20.0) == "3/12  1:00 left"
    assert describe_count(Progress("x", "a", 0.0, 12.0), 20.0) == "0/12"
    assert describe_count(Progress("x", "a", 3.0, None), 20.0) == "3"
    assert shorten("short.mp4", 30) == "short.mp4"
    assert shorten("a" * 50 + ".mp4", 30).endswith(".mp4")
    assert len(shorten("a" * 50 + ".mp4", 30)) == 30


def fake_predict(path: Path, on_progress: ProgressHook) -> Result:
    """A handmade result for any file; files named ``bad…`` fail."""
    on_progress(Progress("looking", str(path), 1.0, 2.0))
    if path.name.startswith("bad"):
        raise MediaError(f"{path} is damaged")
    return make_result(2, path.name)


def run_all(
    paths: list[Path],
    destination: Destination,
    predict_one: Callable[[Path, ProgressHook], Result] = fake_predict,
) -> None:
    run = Run(paths, quiet=False, debug=False)
    results = run.results(predict_one, lambda result, _: result, together=False)
    destination.write(results, quiet=False)
    run.finish()


def test_one_failing_file_does_not_stop_the_others(
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
def test_nothing_is_written_when_all_files_fail(
    folder: Path, capsys: pytest.CaptureFixture[str], out: str | None
) -> None:
    paths = [folder / "missing.mp4", folder / "sub"]
    before = sorted(folder.iterdir())
    with pytest.raises(typer.Exit) as caught:
        run_all(paths, choose_destination(paths, Format.csv, out, attention=False))
    assert caught.value.exit_code == 3
    assert capsys.readouterr().out == ""
    assert sorted(folder.iterdir()) == before


def test_error_common_to_all_files_stops_at_once(folder: Path) -> None:
    asked: list[Path] = []

    def refuse(path: Path, _: ProgressHook) -> Result:
        asked.append(path)
        raise CheckpointError("damaged")

    paths = [Path("a.mp4"), Path("b.mp4")]
    with pytest.raises(CheckpointError):
        run_all(paths, choose_destination(paths, None, None, attention=False), refuse)
    assert asked == paths[:1]


def test_several_results_in_one_file(folder: Path) -> None:
    paths = [Path("a.mp4"), Path("b.mp4")]
    for name, lines in (("all.csv", 5), ("all.jsonl", 4)):
        run_all(paths, choose_destination(paths, None, name, attention=False))
        assert len((folder / name).read_text().splitlines()) == lines
    run_all(paths, choose_destination(paths, None, "all.json", attention=False))
    assert [r["source"] for r in json.loads((folder / "all.json").read_text())] == [
        "a.mp4",
        "b.mp4",
    ]


def test_interruption_leaves_no_partial_file(folder: Path) -> None:
    def interrupt(path: Path, on_progress: ProgressHook) -> Result:
        if path.name == "b.mp4":
            raise KeyboardInterrupt
        return fake_predict(path, on_progress)

    paths = [Path("a.mp4"), Path("b.mp4")]
    before = {path.name for path in folder.iterdir()}
    for out in ("all.csv", "out/"):
        with pytest.raises(KeyboardInterrupt):
            run_all(paths, choose_destination(paths, None, out, attention=False), interrupt)
    assert {path.name for path in folder.iterdir()} == {*before, "out"}
    assert [path.name for path in (folder / "out").iterdir()] == ["a.mp4.json"]


def test_warnings_go_to_stderr_if_the_format_cannot_hold_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for format, line in (
        (Format.srt, "avsent: warning: a.mp4: no speech was found\n"),
        ("json", ""),
    ):
        destination = Destination(make_writer(Format(format)))
        run_all([Path("a.mp4")], destination, lambda path, _: make_result(0, path.name))
        assert capsys.readouterr().err == line


def test_format_follows_the_ending() -> None:
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


def test_folder_that_cannot_be_made(folder: Path) -> None:
    paths = [Path("a.mp4"), Path("b.mp4")]
    destination = choose_destination(paths, None, "a.mp4/out/", attention=False)
    with pytest.raises(OutputError):
        destination.check(paths)


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "predict" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nonsense", "No such command"),
        ("predict", "Missing argument"),
        ("predict a.mp4 --nonsense", "No such option"),
        ("predict a.mp4 --format xml", "--format"),
        ("predict a.mp4 --face smallest", "--face"),
        ("predict a.mp4 --device gpu", "'gpu' is none of auto, cpu, cuda and cuda:N"),
        ("predict a.mp4 --device cuda:", "--device"),
        ("predict a.mp4 --rate 0", "--rate"),
        ("predict a.mp4 --rate nan", "--rate"),
        ("predict a.mp4 -o out.xyz", "cannot tell the format of out.xyz"),
        ("predict a.mp4 -o a.mp4 --format json", "the output a.mp4 is an input"),
        ("predict a.mp4 b.mp4 --format srt", "one video at a time"),
        ("predict a.mp4 b.mp4 -o all.srt", "one video at a time"),
        ("predict a.mp4 b.mp4 --utterances b.mp4", "for several videos give a table with a column"),
        ("predict a.mp4 --tier A", "--tier goes with --utterances"),
        ("batch sub -o out --utterances b.mp4", "for several videos give a table with a column"),
        ("predict a.mp4 --utterances s.srt -o s.srt", "the output s.srt is an input"),
        ("predict a.mp4 --attention --format csv", "csv cannot hold --attention"),
    ],
)
def test_usage_errors(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    (folder / "s.srt").write_text("1\n")
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    error, usage, hint = err.splitlines()
    assert error.startswith("avsent: error: ")
    assert message in error
    assert usage.startswith("Usage: avsent")
    assert hint.startswith("Try 'avsent")
    assert out == ""
    assert (folder / "a.mp4").read_bytes() == b"not media"


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_valid_devices(folder: Path, device: str) -> None:
    assert main(["predict", "missing.mp4", "--device", device]) == 3


# Files that cannot be used; none of these loads the model


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ("missing.mp4", ["cannot read missing.mp4: no such file"]),
        ("sub", ["sub is a folder"]),
        ("empty.mp4", ["empty.mp4 is empty"]),
        ("-- -x.mp4", ["cannot read -x.mp4: no such file"]),
        ("./-x.mp4", ["cannot read -x.mp4: no such file"]),
        ("x.mp4 sub", ["cannot read x.mp4: no such file", "sub is a folder"]),
        ("x.mp4 y.mp4 -o out", ["cannot read x.mp4", "cannot read y.mp4"]),
        ("x.mp4 -o out.json", ["cannot read x.mp4"]),
        ("a.mp4 -o no/out.json", ["cannot write no/out.json: there is no folder no"]),
        ("a.mp4 -o a.mp4/out.json", ["cannot write a.mp4/out.json"]),
        ("a.mp4 --utterances no.srt", ["--utterances: cannot read no.srt: no such file"]),
        ("a.mp4 --landmarks sub", ["--landmarks: sub is a folder"]),
    ],
)
def test_unusable_files(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: str, messages: list[str]
) -> None:
    before = sorted(folder.iterdir())
    assert main(["predict", *arguments.split()]) == 3
    out, err = capsys.readouterr()
    for line, message in zip(err.splitlines(), messages, strict=True):
        assert line.startswith("avsent: error: ")
        assert message in line
    assert out == ""
    assert sorted(folder.iterdir()) == before


def test_names_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "\x1b]0;owned\x07\nx.mp4"]) == 3
    assert capsys.readouterr().err == (
        "avsent: error: cannot read \\x1b]0;owned\\x07 x.mp4: no such file; check the name\n"
    )
