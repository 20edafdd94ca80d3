"""How the command line ends: interruption, memory, defects, a reader that leaves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from own_process import python

import avsent.cli.predict as predict_module
from avsent.cli import main
from avsent.cli.outcome import report
from avsent.errors import CheckpointError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "avsent: interrupted"),
        (MemoryError(), 1, "avsent: error: not enough memory; close other programs"),
        (CheckpointError("x is damaged"), 4, "avsent: error: x is damaged"),
        (ValueError("a\nb"), 1, "avsent: internal error: ValueError: a b (run again with --debug"),
    ],
)
def test_endings(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    line: str,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(predict_module, "check_option_file", fail)
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


def test_memory_of_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    torch_error = type("OutOfMemoryError", (RuntimeError,), {})
    assert report(torch_error("CUDA out of memory. Tried\nto"), debug=False) == 1
    assert capsys.readouterr().err.startswith("avsent: error: not enough memory")


PRINT_MANY = """
import sys
from handmade import make_result
from avsent.cli.outcome import ReaderGoneError, printing
from avsent.errors import OutputError
from avsent.writers import Format, make_writer
try:
    with printing():
        make_writer(Format.jsonl).write([make_result(30)] * 20, sys.stdout)
except ReaderGoneError:
    sys.exit(141)
except OutputError as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    done = python(PRINT_MANY, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = python(PRINT_MANY, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert done.stderr == "cannot write to standard output: No space left on device\n"
