"""Compile ahead what a container with a read-only root would compile at every start.

- librosa's numba functions, into the folder that NUMBA_CACHE_DIR names: 15 s of processor time;
- bytecode of every module that avsent loads, its libraries' and Python's own, below
  PYTHONPYCACHEPREFIX. Of all modules there are it would be a hundred megabytes more.

It also tells whether all that avsent imports can still be imported.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import py_compile
import sys
from collections.abc import Iterator
from pathlib import Path

import avsent

CHECKED = py_compile.PycInvalidationMode.UNCHECKED_HASH
"""Not against the source's time, which may change on its way through a registry."""
OPTIONAL = {"huggingface_hub", "pandas", "pyarrow", "ray", "tensorboard"}
OPTIONAL |= {"sentence_transformers", "transformers"}
"""Of extras, and used only where they are there."""
LATE = ["matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"]
"""Loaded by name, where no import tells."""


def imported_by(source: Path) -> Iterator[str]:
    """Modules that the file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def load_all() -> None:
    """avsent's modules, what they import, and librosa's, which are otherwise loaded lazily."""
    names = [*LATE]
    for module in pkgutil.walk_packages(avsent.__path__, "avsent."):
        spec = importlib.util.find_spec(module.name)
        if spec is not None and spec.origin and module.name != "avsent.__main__":
            names += [module.name, *imported_by(Path(spec.origin))]
    import librosa

    parts = [part.name for part in pkgutil.walk_packages(librosa.__path__, "librosa.")]
    for name in dict.fromkeys([*names, *parts]):
        try:
            importlib.import_module(name)
        except ImportError as error:
            if (error.name or "").partition(".")[0] not in OPTIONAL:
                raise
    # A look at a lazy module loads it.
    for name in parts:
        dir(sys.modules[name])


def compile_loaded() -> int:
    """Bytecode of all that is loaded; how many modules that is."""
    named = {Path(getattr(m, "__file__", None) or "") for m in list(sys.modules.values())}
    # torch makes up the names of some.
    sources = sorted(p for p in named if p.suffix == ".py" and p.is_absolute() and p.is_file())
    for source in sources:
        py_compile.compile(str(source), doraise=True, invalidation_mode=CHECKED)
    return len(sources)


if __name__ == "__main__":
    for variable in ("NUMBA_CACHE_DIR", "PYTHONPYCACHEPREFIX"):
        if not os.environ.get(variable):
            raise SystemExit(f"{variable} must name a folder")
    load_all()
    print(f"{compile_loaded()} modules compiled")
