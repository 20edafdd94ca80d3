"""The command line's refusals: wrong usage, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsent.cli import main


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
        ("predict a.mp4 b.mp4 --utterances b.mp4", "--utterances is for one video"),
        ("predict a.mp4 --utterances s.srt -o s.srt", "the output s.srt is an input"),
        ("predict a.mp4 --attention --format csv", "--attention has no place in csv"),
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
def test_devices_that_may_be_asked_for(folder: Path, device: str) -> None:
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
def test_files_that_cannot_be_used(
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
