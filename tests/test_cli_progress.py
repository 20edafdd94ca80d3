"""Progress of the command line, on a terminal and without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from conftest import ROOT

from avsent.cli.progress import ProgressBar, describe, shorten
from avsent.progress import Progress


def test_progress_says_nothing_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressBar("a.mp4", quiet=False) as bar:
        bar(Progress("looking", "a.mp4", 1.0, None))
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal() -> None:
    code = """
from avsent.cli.progress import ProgressBar
from avsent.progress import Progress
with ProgressBar("[red]a\\x1b]0;owned\\x07.mp4", quiet=False) as bar:
    bar(Progress("looking", "a", 30.0, 60.0))
"""
    ours, theirs = pty.openpty()
    environment = {"TERM": "xterm", "COLUMNS": "120"}
    path = {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, env={**os.environ, **environment, **path}
    ) as running:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:
            pass  # Linux says so when the other side is closed.
    os.close(ours)
    assert running.returncode == 0
    text = shown.decode()
    assert "[red]a\\x1b]0;owned\\x07.mp4" in text
    assert "looking" in text
    assert "0:30.0/1:00.0" in text
    assert "\x1b]" not in text


def test_progress_in_words() -> None:
    assert describe(Progress("x", "a", 30.0, 60.0), 0.1) == "0:30.0/1:00.0"
    assert describe(Progress("x", "a", 30.0, 60.0), 15.0) == "0:30.0/1:00.0 2.0x"
    assert describe(Progress("x", "a", 30.0, None), 60.0) == "0:30.0 0.5x"
    assert shorten("short.mp4", 30) == "short.mp4"
    assert shorten("a" * 50 + ".mp4", 30).endswith(".mp4")
    assert len(shorten("a" * 50 + ".mp4", 30)) == 30
