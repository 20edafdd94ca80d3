"""Progress of the command line, on a terminal and without one."""

from __future__ import annotations

import pytest
from own_process import on_terminal

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
    text = on_terminal(code)
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
