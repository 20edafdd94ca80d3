"""Scripts of ``tools/``, which is no package."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

from conftest import ROOT


def tool(name: str) -> ModuleType:
    """The script of this name as a module."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
