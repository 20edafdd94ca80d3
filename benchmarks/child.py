"""Run one command and print, as JSON, its seconds, its peak memory and its exit code.

A script of its own, standard library only: Linux counts the memory of the process that starts a
command into the command's peak until it executes, so the one that starts it must be small.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ChildRun:
    """What a command took; ``said`` is the end of its standard error."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    code: int
    said: str


def run_child(command: list[str]) -> ChildRun:
    """Run ``command`` by way of a fresh small process, without a terminal."""
    starter = [sys.executable, "-I", str(Path(__file__)), *command]
    done = subprocess.run(starter, capture_output=True, text=True, check=True)
    return ChildRun(**json.loads(done.stdout))


def _measure(command: list[str]) -> ChildRun:
    began = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # this process has had one child only
    unit = 1 if sys.platform == "darwin" else 1024
    said = done.stderr.decode(errors="replace")[-500:]
    cpu_s = used.ru_utime + used.ru_stime
    return ChildRun(seconds, cpu_s, used.ru_maxrss * unit, done.returncode, said)


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(sys.argv[1:]))))
