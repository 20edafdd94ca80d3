"""The peer: the ``fer`` package, in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batch_child import FamilyRun, run_family
from measure import BenchmarkError

REQUIREMENTS = (
    "tensorflow-cpu",
    "opencv-contrib-python-headless<5",
    "setuptools<81",
    "requests",
    "Pillow",
    "av",
)
"""What ``fer`` imports where faces are found by its own default; the rest of what it asks for
(facenet-pytorch and with it torch, moviepy, pandas, matplotlib) is left out."""
INSTALL_WITHIN_S = 600.0
_SCRIPT = Path(__file__).with_name("batch_fer.py")
_VERSIONS = """
from importlib.metadata import version
from fer.fer import FER
FER()
for name in ("fer", "tensorflow-cpu", "opencv-contrib-python-headless", "av"):
    print(name, version(name))
"""


@dataclass(frozen=True, slots=True)
class PeerRun:
    """``work_s``: wall seconds with the model loaded; ``pictures`` looked at, and how many showed
    a face; ``cpu_s``: of the whole process."""

    seconds: float
    load_s: float
    work_s: float
    cpu_s: float
    pictures: int
    with_face: int


class PeerError(Exception):
    """The peer cannot be had here: a fact for the report."""


def prepare(folder: Path) -> str:
    """Make the environment in ``folder`` if it is not there; gives the versions in it.

    Raises:
        PeerError: it cannot be installed.
    """
    python = _python(folder)
    try:
        if not python.is_file():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        found = _versions(python)
        if found is None:
            _install(python, *REQUIREMENTS)
            _install(python, "--no-deps", "fer")
            found = _versions(python)
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerError(f"no environment for fer: {type(error).__name__}") from error
    if found is None:
        raise PeerError("fer was installed, but does not start")
    return found


def run_peer(folder: Path, files: Sequence[Path], cores: Sequence[int]) -> PeerRun:
    """One run over ``files``. Raises BenchmarkError where it fails."""
    command = [str(_python(folder)), "-I", str(_SCRIPT), *map(str, files)]
    run = run_family(command, cores)
    if run.code != 0:
        raise BenchmarkError(f"fer ended with code {run.code}: {_last(run)}")
    told = json.loads(run.lines[-1][1])
    return PeerRun(run.seconds, cpu_s=run.cpu_s, **told)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _versions(python: Path) -> str | None:
    """What is in it, if it works."""
    done = subprocess.run([str(python), "-I", "-c", _VERSIONS], capture_output=True, text=True)
    return ", ".join(done.stdout.split("\n")[:-1]) if done.returncode == 0 else None


def _install(python: Path, *what: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-input", *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_WITHIN_S)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise PeerError(f"pip cannot install {what[-1]}: {lines[0][:300]}")


def _last(run: FamilyRun) -> str:
    return (run.said.strip().splitlines()[-1:] or ["no message"])[0]
