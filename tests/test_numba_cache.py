"""librosa must be importable where numba finds no place to keep what it compiles."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avsent.features import numba_cache

CHILD = """
import os, sys
from pathlib import Path
from avsent.features import numba_cache
numba_cache.any_writable = lambda folders: False
numba_cache.ensure_numba_cache()
folder = Path(os.environ["NUMBA_CACHE_DIR"])
assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
print(folder)
"""


def test_any_writable(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    nowhere = [tmp_path / "missing", file, file / "below"]
    assert not numba_cache.any_writable(nowhere)
    assert numba_cache.any_writable([*nowhere, tmp_path])
    assert list(tmp_path.iterdir()) == [file]  # nothing is left behind


def test_a_private_folder_for_the_length_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert not Path(done.stdout.strip()).exists()


def test_nothing_is_changed_where_numba_helps_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(numba_cache.VARIABLE, raising=False)
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    numba_cache.ensure_numba_cache()
    assert numba_cache.VARIABLE not in numba_cache.os.environ


def test_what_an_image_brought_along_is_used_though_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the answer to "may it be written" is ours here: root may write anywhere."""
    brought = tmp_path / "brought"
    (brought / "librosa").mkdir(parents=True)
    (brought / "librosa" / "pitch.nbi").write_bytes(b"compiled")
    (brought / "librosa").chmod(0o555)
    monkeypatch.setenv(numba_cache.VARIABLE, str(brought))
    monkeypatch.delitem(sys.modules, "numba", raising=False)

    numba_cache.ensure_numba_cache()
    assert numba_cache.os.environ[numba_cache.VARIABLE] == str(brought)  # it can be written

    monkeypatch.setattr(numba_cache, "any_writable", lambda folders: False)
    numba_cache.ensure_numba_cache()
    own = Path(numba_cache.os.environ[numba_cache.VARIABLE])
    assert own != brought
    assert own.stat().st_mode & 0o077 == 0
    assert (own / "librosa" / "pitch.nbi").read_bytes() == b"compiled"
    assert (own / "librosa").stat().st_mode & 0o200  # numba adds what is missing
    shutil.rmtree(own)


def test_a_folder_that_is_missing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(numba_cache.VARIABLE, str(tmp_path / "a" / "b"))
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    numba_cache.ensure_numba_cache()
    assert numba_cache.os.environ[numba_cache.VARIABLE] == str(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    assert not numba_cache.may_be_written(tmp_path / "file" / "below")
