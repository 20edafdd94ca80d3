"""Run commands in child processes and measure them: time, memory, descriptors, temporary files.

Standard library only, because this file is also the small process that starts each measured
command: Linux counts the memory of the starting process towards the command's peak until the
command executes, so that process must be small.
"""

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_PR_SET_CHILD_SUBREAPER = 36
_ORPHANS_END_WITHIN_S = 10.0
_PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_EVERY_S = 1.0
SURVIVORS_AFTER_S = 30.0
"""Processes that still run this long after their command count as survivors."""


class BenchmarkError(Exception):
    """Something that a measurement needs is missing or failed."""


class Run(NamedTuple):
    """A finished command with all its descendants. ``peak_bytes``: largest resident memory of one
    process; ``said``: the end of standard error; ``lines``: of standard output, each with the
    second at which it came."""

    seconds: float
    cpu_s: float
    peak_bytes: int
    code: int
    said: str
    lines: Sequence[tuple[float, str]]


def command(*arguments: str | Path) -> list[str]:
    """The installed ``avsent`` beside this Python, with ``arguments``."""
    script = Path(sys.executable).with_name("avsent")
    if not script.is_file():
        raise BenchmarkError("avsent is not installed beside this Python; run pip install -e .")
    return [str(script), *map(str, arguments)]


def child(kind: str, *arguments: str | Path) -> list[str]:
    """The command of one of the processes in ``children.py``."""
    script = Path(__file__).with_name("children.py")
    return [sys.executable, str(script), kind, *map(str, arguments)]


def run_command(line: Sequence[str], cores: Sequence[int] = ()) -> Run:
    """Run ``line`` and all it starts on ``cores`` (none: on any) from a fresh small process.

    Raises:
        BenchmarkError: the command failed.
    """
    starter = [sys.executable, "-I", __file__, ",".join(map(str, cores)), *line]
    done = subprocess.run(starter, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    run = Run(*json.loads(done.stdout))
    if run.code != 0:
        raise BenchmarkError(f"a command ended with code {run.code}: {run.said.strip()[-300:]}")
    return run


def _measure(cores: Sequence[int], line: Sequence[str]) -> Run:
    if cores:
        os.sched_setaffinity(0, cores)
    if sys.platform == "linux":  # adopt a batch's workers, so that their CPU seconds count too
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    lines = []
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said
        )
        for text in process.stdout or ():
            lines.append((time.perf_counter() - began, text.decode(errors="replace").rstrip()))
        code = process.wait()
        seconds = time.perf_counter() - began
        latest = time.monotonic() + _ORPHANS_END_WITHIN_S
        with contextlib.suppress(ChildProcessError):  # a process counts once it was waited for
            while time.monotonic() < latest:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.02)
        said.seek(0)
        last = said.read().decode(errors="replace")[-500:]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)  # this process had one child only
    unit = 1 if sys.platform == "darwin" else 1024
    cpu_s = used.ru_utime + used.ru_stime
    return Run(seconds, cpu_s, used.ru_maxrss * unit, code, last, lines)


class Sample(NamedTuple):
    """A session at one moment. ``position_s``: of the media, None if unknown; ``rss``: of the
    largest process; ``pss``: of all, with shared pages counted once; the rest: of all."""

    at_s: float
    position_s: float | None
    rss: int
    pss: int
    processes: int
    descriptors: int
    threads: int
    temporary: int
    temporary_bytes: int


Position = Callable[[int, str], float | None]
"""Seconds of media done, from the command's process id and its last line of standard output."""


def watch(line: Sequence[str], position: Position) -> tuple[dict[str, Any], list[str]]:
    """Run ``line`` with its own session and TMPDIR and sample ``/proc`` once a second (Linux).

    The session identifies its processes, also those whose parent has ended. Returns the figures
    and the lines of standard output. ``peak``: highest resident memory of the first process;
    ``survivors``: processes left SURVIVORS_AFTER_S after the command; ``left``: new files in TMPDIR
    and in shared memory.
    """
    with (
        tempfile.TemporaryDirectory(prefix="avsent-soak-") as name,
        tempfile.TemporaryFile() as err,
        tempfile.NamedTemporaryFile() as out,
    ):
        temporary, shared_before = Path(name), _shared_memory()
        began = time.monotonic()
        pipes: Any = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": err}
        environment = {**os.environ, "TMPDIR": name}
        process = subprocess.Popen(line, env=environment, start_new_session=True, **pipes)
        samples, loads, peak = [], [], 0
        while process.poll() is None:
            peak = max(peak, _kilobytes(Path(f"/proc/{process.pid}/status"), "VmHWM:"))
            at_s, position_s = time.monotonic() - began, None
            with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
                said = Path(out.name).read_text("utf-8").splitlines()
                position_s = position(process.pid, said[-1] if said else "")
            sample = _sample(process.pid, at_s, position_s, temporary)
            if sample.rss:
                samples.append(sample)
            loads.append(os.getloadavg()[0])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SAMPLE_EVERY_S)
        ended = time.monotonic()
        while (survivors := _members(process.pid)) and time.monotonic() < ended + SURVIVORS_AFTER_S:
            time.sleep(0.05)
        outlived_s = time.monotonic() - ended
        left = [path.relative_to(temporary).as_posix() for path in sorted(temporary.rglob("*"))]
        lines = Path(out.name).read_text("utf-8").splitlines()
        err.seek(0)
        error = err.read().decode(errors="replace").strip()[-300:]
    if process.returncode != 0:
        raise BenchmarkError(f"a command ended with code {process.returncode}: {error}")
    figures = {
        "peak": peak,
        "survivors": len(survivors),
        "outlived_s": outlived_s,
        "left": left + sorted(_shared_memory() - shared_before),
        "load": sum(loads) / max(1, len(loads)),
        "samples": samples,
    }
    return figures, lines


def position_in_file(video: Path, duration_s: float) -> Position:
    """How far a command has read ``video``: the offset of its descriptor as a share of the file."""
    size, name = video.stat().st_size, os.path.realpath(video)

    def position(pid: int, last: str) -> float | None:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.readlink(link) == name:
                    facts = Path(f"/proc/{pid}/fdinfo/{link.name}").read_text()
                    return int(facts.split("pos:")[1].split()[0]) / size * duration_s
        return None

    return position


def position_of_batch(pid: int, last: str) -> float | None:
    """How far a batch says it is; ``last`` is a line of ``--json-progress``."""
    return float(json.loads(last)["batch"]["reached_s"])


def _sample(session: int, at_s: float, position_s: float | None, temporary: Path) -> Sample:
    rss, pss, descriptors, threads = [], [], [], []
    members = _members(session)
    for pid in members:
        folder = Path(f"/proc/{pid}")
        with contextlib.suppress(OSError, IndexError):
            rss.append(int((folder / "statm").read_text().split()[1]) * _PAGE)
            pss.append(_kilobytes(folder / "smaps_rollup", "Pss:"))
            descriptors.append(len(os.listdir(folder / "fd")))
            threads.append(len(os.listdir(folder / "task")))
    sizes = []
    for entry in temporary.rglob("*"):
        with contextlib.suppress(OSError):
            if entry.is_file():
                sizes.append(entry.stat().st_size)
    return Sample(
        *(round(at_s, 2), position_s, max(rss, default=0), sum(pss), len(members)),
        *(sum(descriptors), sum(threads), len(sizes), sum(sizes)),
    )


def _members(session: int) -> list[int]:
    """The living processes of a session (no zombies)."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, IndexError):
            facts = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            if int(facts[3]) == session and facts[0] not in "ZX":
                found.append(int(name))
    return found


def _kilobytes(path: Path, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _shared_memory() -> set[str]:
    return {str(path) for path in Path("/dev/shm").glob("*")}


if __name__ == "__main__":
    chosen = [int(core) for core in sys.argv[1].split(",") if core]
    sys.stdout.write(json.dumps(_measure(chosen, sys.argv[2:])))
