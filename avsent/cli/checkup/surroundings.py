"""The machine round avsent: Python, cores, memory, disks and the terminal."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from avsent import __version__
from avsent.cli.checkup.check import Check, State
from avsent.machine import WORKER_BYTES, usable_bytes, usable_cores

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)
SPARE_DISK_BYTES = 1_000_000_000


def look_at_avsent() -> Iterator[Check]:
    """Which version, and where it lies: there may be several."""
    folder = Path(__file__).resolve().parents[2]
    yield Check("avsent", State.ok, f"{__version__} in {folder}")


def look_at_python() -> Iterator[Check]:
    """Its version and kind, and the system it runs on."""
    found = (
        f"{platform.python_version()} ({platform.python_implementation()}, "
        f"{platform.system()} {platform.machine()})"
    )
    state, advice = judge_python(sys.version_info[:2])
    yield Check("Python", state, found, advice)


def judge_python(version: tuple[int, int]) -> tuple[State, str]:
    """What to think of a version of Python."""
    supported = f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} to {NEWEST_PYTHON[0]}.{NEWEST_PYTHON[1]}"
    if version < OLDEST_PYTHON:
        return State.failed, f"install avsent into an environment of Python {supported}"
    if version > NEWEST_PYTHON:
        return State.warning, f"avsent is tested with Python {supported}"
    return State.ok, ""


def look_at_machine() -> Iterator[Check]:
    """Cores and memory, as far as a container may use them."""
    cores, memory = usable_cores(), usable_bytes()
    told = f"{cores} core{'' if cores == 1 else 's'}"
    if memory is None:
        yield Check("cores, memory", State.ok, f"{told}, memory unknown")
    elif memory < WORKER_BYTES:
        advice = f"a video takes about {size(WORKER_BYTES)}; close other programs"
        yield Check("cores, memory", State.warning, f"{told}, {size(memory)} free", advice)
    else:
        yield Check("cores, memory", State.ok, f"{told}, {size(memory)} free")


def look_at_disk() -> Iterator[Check]:
    """Room in the current folder, where results usually go."""
    free = shutil.disk_usage(Path.cwd()).free
    yield _room("current folder", free, "results may not fit: free some disk, or give -o elsewhere")


def look_at_temporary_folder() -> Iterator[Check]:
    """Where it is, and whether a file can be made in it."""
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile():
        free = shutil.disk_usage(folder).free
    yield _room("temporary folder", free, "free some disk, or set TMPDIR", f" in {folder}")


def look_at_terminal(stream: TextIO) -> Check:
    """Whether what is printed to ``stream`` may hold any script."""
    encoding = getattr(stream, "encoding", None) or "unknown"
    kind = "terminal" if stream.isatty() else "file or pipe"
    if encoding.lower().replace("-", "") in {"utf8", "utf8sig"}:
        return Check("output", State.ok, f"{kind}, {encoding}")
    advice = "names in other scripts are shown as escapes; set PYTHONUTF8=1"
    return Check("output", State.warning, f"{kind}, {encoding}", advice)


def size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count / 1e9:.1f} GB"


def _room(name: str, free: int, advice: str, where: str = "") -> Check:
    enough = free >= SPARE_DISK_BYTES
    state = State.ok if enough else State.warning
    return Check(name, state, f"{size(free)} free{where}", "" if enough else advice)
