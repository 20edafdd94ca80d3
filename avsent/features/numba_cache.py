"""A place for numba's compiled code where it finds none itself.

librosa compiles parts of itself while it is imported, and keeps the outcome beside its own files
or in the user's home. For a service user without a home, or in a container whose root is
read-only, there is neither, and the import fails.
"""

from __future__ import annotations

import atexit
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
    if VARIABLE in os.environ or "numba" in sys.modules:
        return
    spec = importlib.util.find_spec("librosa")
    beside = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    if not any_writable([*beside, Path("~").expanduser()]):
        # A folder of our own, not a shared name: what lies in it is run.
        folder = tempfile.mkdtemp(prefix="avsent-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ[VARIABLE] = folder


def any_writable(folders: Iterable[Path]) -> bool:
    """Whether a file can be made in any of ``folders``."""
    for folder in folders:
        try:
            with tempfile.TemporaryFile(dir=folder):
                return True
        except OSError:
            continue
    return False
