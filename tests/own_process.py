"""Python code in a process of its own, which can import the helpers of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from conftest import ROOT


def python(code: str, **options: Any) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", code], text=True, env=environment, timeout=60, **options
    )
