"""A place for numba's compiled code where it finds none itself.

librosa compiles parts of itself while it is imported, and keeps the outcome beside its own files
or in the user's home. For a service user without a home, or in a container whose root is
read-only, there is neither, and the import fails. An image may bring what was compiled along, in
a folder that ``NUMBA_CACHE_DIR`` names; numba itself takes none that it cannot write to.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"


def ensure_numba_cache() -> None:
    """Call before importing librosa; does nothing where numba can help itself."""
    if "numba" in sys.modules:
        return
    prepared = None
    if given := os.environ.get(VARIABLE):
        prepared = Path(given)
        if may_be_written(prepared):
            return
    else:
        spec = importlib.util.find_spec("librosa")
        beside = (
            [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
        )
        if any_writable([*beside, Path("~").expanduser()]):
            return
    # A folder of our own, not a shared name: what lies in it is run.
    folder = tempfile.mkdtemp(prefix="avsent-numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if prepared is not None:
        copy_files(prepared, Path(folder))
    os.environ[VARIABLE] = folder


def copy_files(source: Path, target: Path) -> None:
    """Copy what can be read; what is missing is compiled again. Modes are those of new files."""
    for file in source.rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file():
                copy = target / file.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def may_be_written(folder: Path) -> bool:
    """Whether files can be made in ``folder``, which is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return any_writable([folder])


def any_writable(folders: Iterable[Path]) -> bool:
    """Whether a file can be made in any of ``folders``."""
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            continue
    return False
