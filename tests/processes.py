"""Python code in a process of its own, which can import the helpers of the tests."""

from __future__ import annotations

import importlib.util
import os
import pty
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from conftest import HANG_S, ROOT


def python(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        text=True,
        env=environment,
        timeout=HANG_S,
        **options,
    )


def on_terminal(code: str, *arguments: str, columns: int = 120) -> str:
    """What Python code shows on a terminal as its standard error; it must end well."""
    ours, theirs = pty.openpty()
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "PYTHONPATH": path}
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=theirs, env=environment
    ) as running:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:
            pass  # Linux says so when the other side is closed.
    os.close(ours)
    text = shown.decode()
    assert running.returncode == 0, text
    return text


def tool(name: str) -> ModuleType:
    """The script of this name as a module."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
