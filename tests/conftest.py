"""Shared by all tests: where the real clips are, and the installed command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"
SAMPLE = Path(__file__).resolve().parents[1] / "samples" / "demo.mp4"


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; they may not be passed on, so not every checkout has them."""
    folder = SHARED / "clips"
    if not folder.is_dir():
        pytest.skip("the research-only clips are not beside this checkout (../shared/clips)")
    return folder


def run_avsent(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own."""
    command = [str(Path(sys.executable).with_name("avsent")), *map(str, arguments)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, capture_output=True, text=True, timeout=500, check=False, **options
    )
