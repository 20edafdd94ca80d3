"""One batch at a time on one folder of results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from avsent.batch.journal import FOLDER_NAME
from avsent.batch.lock import HOLDER_NAME, exclusive, is_held
from avsent.errors import OutputError

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


def test_the_second_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert is_held(tmp_path)
    with pytest.raises(OutputError) as told, exclusive(tmp_path):
        pass
    message = str(told.value)
    assert message.startswith(f"{tmp_path}: another batch is at work on it (process {holder.pid} ")
    assert message.endswith("); wait for it, or give another -o")
    assert "\n" not in message
    holder.communicate("")  # it goes
    assert holder.returncode == 0
    assert not is_held(tmp_path)
    with exclusive(tmp_path):
        assert is_held(tmp_path)


def test_who_is_killed_holds_nothing(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_held(tmp_path)
    with exclusive(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / FOLDER_NAME / HOLDER_NAME).read_text()
    assert not (tmp_path / FOLDER_NAME / HOLDER_NAME).exists()


def test_it_is_let_go_where_the_batch_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "new" / "folder"):
        raise ZeroDivisionError
    with exclusive(tmp_path / "new" / "folder"):
        pass


def test_looking_at_folders_that_hold_none(tmp_path: Path) -> None:
    assert not is_held(tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / FOLDER_NAME).touch()
    with pytest.raises(OutputError, match=FOLDER_NAME) as told, exclusive(tmp_path):
        pass
    assert "\n" not in str(told.value)
