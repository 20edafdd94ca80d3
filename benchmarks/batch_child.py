"""Run one command on so many cores and print, as JSON, its seconds, those of every process it
started, and when it printed what.

A script of its own, standard library only, for Linux: it adopts the workers that a batch leaves to
their fork server, so that their CPU seconds count, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ORPHANS_END_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class FamilyRun:
    """What a command and its descendants took.

    ``peak_bytes``: of the largest process; ``lines``: of standard output, with the second in which
    each came; ``said``: the end of standard error.
    """

    seconds: float
    cpu_s: float
    peak_bytes: int
    code: int
    said: str
    lines: tuple[tuple[float, str], ...]


def run_family(command: Sequence[str], cores: Sequence[int]) -> FamilyRun:
    """Run ``command`` and all it starts on ``cores``, by way of a fresh small process."""
    chosen = ",".join(map(str, cores))
    starter = [sys.executable, "-I", str(Path(__file__)), chosen, *command]
    done = subprocess.run(starter, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    run = json.loads(done.stdout)
    return FamilyRun(**{**run, "lines": tuple((when, line) for when, line in run["lines"])})


def _measure(cores: Sequence[int], command: Sequence[str]) -> FamilyRun:
    os.sched_setaffinity(0, cores)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    lines = []
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        )
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.perf_counter() - began, line.decode(errors="replace").rstrip()))
        code = process.wait()
        seconds = time.perf_counter() - began
        _bury_orphans()
        said.seek(0)
        last = said.read().decode(errors="replace")[-500:]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = used.ru_utime + used.ru_stime
    return FamilyRun(seconds, cpu_s, used.ru_maxrss * 1024, code, last, tuple(lines))


def _bury_orphans() -> None:
    """Wait for what the command left behind: only then is it counted."""
    latest = time.monotonic() + _ORPHANS_END_WITHIN_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < latest:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)


if __name__ == "__main__":
    sys.stdout.write(
        json.dumps(asdict(_measure([int(core) for core in sys.argv[1].split(",")], sys.argv[2:])))
    )
