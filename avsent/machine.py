"""How much this machine lends us: cores and memory, as far as a container may use them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from avsent.errors import UsageError

if TYPE_CHECKING:
    import torch

WORKER_BYTES = 800_000_000
"""Memory to reckon with for one worker. Where workers are forked, 0.2 GB of a worker's 0.5 were its
own, at 640x360; elsewhere they share nothing, and large pictures take more."""

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores this process may run on, or the share of them a container is allowed."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota() or cores))


def usable_bytes() -> int | None:
    """Memory that can be had without pushing others out; None where that is unknown."""
    found = [size for size in (_available(), _limit()) if size is not None]
    return min(found) if found else None


def default_workers() -> int:
    """One for each core, as far as memory reaches."""
    memory = usable_bytes()
    fitting = usable_cores() if memory is None else memory // WORKER_BYTES
    return max(1, min(usable_cores(), fitting))


def _quota() -> int | None:
    """Whole cores of a control group's quota."""
    text = _read(_CGROUP / "cpu.max").split()
    if len(text) != 2 or not all(part.isdecimal() for part in text):
        return None  # "max", or no such file
    return max(1, int(text[0]) // max(1, int(text[1])))


def _available() -> int | None:
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _limit() -> int | None:
    limit, used = _read(_CGROUP / "memory.max").strip(), _read(_CGROUP / "memory.current").strip()
    if not limit.isdecimal() or not used.isdecimal():
        return None
    return max(0, int(limit) - int(used))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def torch_device(device: str) -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: it is none of these, or not there.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind != "cuda" or (":" in device and not number.isdecimal()):
        raise UsageError(f"unknown device {device!r}; choose auto, cpu, cuda or cuda:N")
    if int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"there is no device {device!r} here; use --device cpu")
    return torch.device(device)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run what is inside on one CPU thread of torch.

    Networks as small as ours gain nothing by a second one, and lose up to tenfold where the
    other cores are busy with decoding.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
