"""Compile what a container with a read-only root would otherwise compile at every start.

- librosa's numba functions, into NUMBA_CACHE_DIR: saves 15 s of CPU time;
- bytecode of every module that avsent loads, including its libraries and Python's own, into
  PYTHONPYCACHEPREFIX. Bytecode of all installed modules would take a hundred megabytes more.

It also checks that every import of avsent still works.
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
"""Do not compare with the source's modification time: a registry may change it."""
OPTIONAL = {"huggingface_hub", "pandas", "pyarrow", "ray", "tensorboard"}
OPTIONAL |= {"sentence_transformers", "transformers"}
"""Packages of extras; avsent uses them only if they are installed."""
LATE = ["matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg"]
"""Modules that are loaded by name, without an import statement."""


def imported_by(source: Path) -> Iterator[str]:
    """Modules that the file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def load_all() -> None:
    """Import avsent's modules, their imports, and all of librosa, which is otherwise lazy."""
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
    # dir() loads a lazy module.
    for name in parts:
        dir(sys.modules[name])


def compile_loaded() -> int:
    """Compile all loaded modules to bytecode; return their number."""
    named = {Path(getattr(m, "__file__", None) or "") for m in list(sys.modules.values())}
    # torch invents file names for some modules.
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
