"""Watch a command and all it starts: memory, descriptors, threads, processes, temporary files.

For Linux: reads ``/proc`` once a second. Processes are told by their session, so that one whose
parent has ended is still counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY_S = 1.0
LEFT_AFTER_S = 30.0
"""What a command started may take so long to end after it."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NOTHING = Path("/nonexistent")

Position = Callable[["Family", str], float | None]
"""Seconds of media done so far, by the processes and the last line of standard output."""


@dataclass(frozen=True, slots=True)
class Family:
    """The processes of a command at one moment; ``first`` is the command itself."""

    first: int
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. ``position_s``: of the media, None where it is not known; ``rss``: of the largest
    process; ``pss``: of all, shared pages counted once; ``descriptors``, ``threads``: of all;
    ``temporary``, ``temporary_bytes``: files in the folder for temporary files."""

    at_s: float
    position_s: float | None
    rss: int
    pss: int
    processes: int
    descriptors: int
    threads: int
    temporary: int
    temporary_bytes: int


@dataclass(frozen=True, slots=True)
class Watched:
    """How a command went.

    ``peak``: highest resident memory of the command's first process; ``survivors``: processes that
    were still there :data:`LEFT_AFTER_S` after it, ``outlived_s``: when the last other one was
    gone; ``left``: names in the folder for temporary files, or in shared memory, that were not
    there before.
    """

    code: int
    seconds: float
    peak: int
    said: str
    lines: tuple[str, ...]
    samples: tuple[Sample, ...]
    survivors: int
    outlived_s: float
    left: tuple[str, ...]
    load: float


def watch(command: Sequence[str], position: Position) -> Watched:
    """Run ``command`` in a session and with a folder for temporary files of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="avsent-soak-") as name,
        tempfile.TemporaryFile() as err,
    ):
        temporary = Path(name)
        shared_before = _shared_memory()
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            start_new_session=True,
            env={**os.environ, "TMPDIR": name},
            text=True,
            errors="replace",
        )
        lines: list[str] = []
        reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
        reader.start()
        samples, loads, peak = [], [], 0
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            family = Family(process.pid, _members(process.pid))
            last = lines[-1] if lines else ""
            sample = _sample(family, time.monotonic() - began, position(family, last), temporary)
            if sample.rss:
                samples.append(sample)
            loads.append(os.getloadavg()[0])
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EVERY_S)
        seconds = time.monotonic() - began
        ended = time.monotonic()
        while survivors := _members(process.pid):
            if time.monotonic() > ended + LEFT_AFTER_S:
                break
            time.sleep(0.05)
        outlived_s = time.monotonic() - ended
        reader.join(LEFT_AFTER_S)
        left = [path.relative_to(temporary).as_posix() for path in sorted(temporary.rglob("*"))]
        left += sorted(_shared_memory() - shared_before)
        err.seek(0)
        said = err.read().decode(errors="replace")[-2000:]
    return Watched(
        code=process.returncode,
        seconds=seconds,
        peak=peak,
        said=said,
        lines=tuple(lines),
        samples=tuple(samples),
        survivors=len(survivors),
        outlived_s=outlived_s,
        left=tuple(left),
        load=sum(loads) / max(1, len(loads)),
    )


def of_file(video: Path, duration_s: float) -> Position:
    """How far a command has read ``video``: where its descriptor stands, as a share of the file."""
    size = video.stat().st_size
    name = os.path.realpath(video)

    def position(family: Family, last: str) -> float | None:
        folder = Path(f"/proc/{family.first}")
        with contextlib.suppress(OSError):
            for one in os.listdir(folder / "fd"):
                if _link(folder / "fd" / one) == name:
                    facts = (folder / "fdinfo" / one).read_text()
                    return int(facts.split("pos:")[1].split()[0]) / size * duration_s
        return None

    return position


def of_batch(family: Family, last: str) -> float | None:
    """How far a batch says that it is; ``last`` is a line of ``--json-progress``."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return float(json.loads(last)["batch"]["reached_s"])
    return None


def _read(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line.rstrip("\n"))


def _sample(family: Family, at_s: float, position_s: float | None, temporary: Path) -> Sample:
    files = [entry for entry in temporary.rglob("*") if entry.is_file()]
    sizes = 0
    for entry in files:
        with contextlib.suppress(OSError):
            sizes += entry.stat().st_size
    return Sample(
        at_s=round(at_s, 2),
        position_s=position_s,
        rss=max((_rss(pid) for pid in family.members), default=0),
        pss=sum(_pss(pid) for pid in family.members),
        processes=len(family.members),
        descriptors=sum(_entries(pid, "fd") for pid in family.members),
        threads=sum(_entries(pid, "task") for pid in family.members),
        temporary=len(files),
        temporary_bytes=sizes,
    )


def _members(session: int) -> tuple[int, ...]:
    """The processes of a session, without those that have ended and wait to be buried."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                facts = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                if int(facts[3]) == session and facts[0] not in "ZX":
                    found.append(int(name))
    return tuple(found)


def _rss(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0


def _pss(pid: int) -> int:
    return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")


def _peak(pid: int) -> int:
    return _kilobytes(Path(f"/proc/{pid}/status"), "VmHWM:")


def _kilobytes(path: Path, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


def _entries(pid: int, folder: str) -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/{folder}"))
    return 0


def _link(path: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(path)
    return str(_NOTHING)


def _shared_memory() -> set[str]:
    with contextlib.suppress(OSError):
        return {f"/dev/shm/{name}" for name in os.listdir("/dev/shm")}
    return set()
