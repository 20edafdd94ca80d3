"""librosa must be importable where numba finds no place to keep what it compiles."""

from __future__ import annotations

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
