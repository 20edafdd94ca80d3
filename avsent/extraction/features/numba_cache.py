"""A folder for numba's compiled code where numba finds none itself.

librosa compiles parts of itself on import and keeps them beside its own files or in the user's
home. A service user without a home, or a container with a read-only root, has neither, and the
import fails. A container image may bring compiled code along, in the folder that
``NUMBA_CACHE_DIR`` names; numba itself refuses a folder that it cannot write to.
"""

import atexit
import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def ensure_numba_cache() -> None:
    """Call before importing librosa; does nothing where numba finds a folder itself."""
    if "numba" in sys.modules:
        return
    given = os.environ.get(VARIABLE)
    if given:
        with contextlib.suppress(OSError):
            Path(given).mkdir(parents=True, exist_ok=True)
        if may_be_written(Path(given)):
            return
    else:
        spec = importlib.util.find_spec("librosa")
        beside = map(Path, (spec and spec.submodule_search_locations) or ())
        if any(map(may_be_written, [*beside, Path("~").expanduser()])):
            return
    # A private folder, not a shared name: the code in it is executed.
    folder = tempfile.mkdtemp(prefix="avsent-numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if given:
        copy_files(Path(given), Path(folder))
    os.environ[VARIABLE] = folder


def copy_files(source: Path, target: Path) -> None:
    """Copy what can be read, with the modes of new files; numba compiles what is missing."""
    for file in source.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file():
                copy = target / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def may_be_written(folder: Path) -> bool:
    """Whether files can be made in ``folder``; False where it is missing."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
