"""What this machine offers: cores and memory, as far as a container may use them, and devices."""

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
"""Memory to plan for one worker. Measured at 640x360: 0.5 GB, of which forked workers share
0.3; elsewhere they share nothing, and large pictures take more."""

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores this process may run on, or the share of them a container is allowed."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        cores = os.cpu_count() or 1
    quota = _read(_CGROUP / "cpu.max").split()  # "max 100000" where there is none
    if len(quota) == 2 and all(part.isdecimal() for part in quota):
        cores = min(cores, int(quota[0]) // max(1, int(quota[1])))
    return max(1, cores)


def usable_bytes() -> int | None:
    """Memory that is free without pushing other processes out; None where that is unknown."""
    found = [
        int(line.split()[1]) * 1024
        for line in _read(Path("/proc/meminfo")).splitlines()
        if line.startswith("MemAvailable:")
    ]
    limit, used = (_read(_CGROUP / f"memory.{name}").strip() for name in ("max", "current"))
    if limit.isdecimal() and used.isdecimal():
        found.append(max(0, int(limit) - int(used)))
    return min(found, default=None)


def default_workers() -> int:
    """One for each core, as far as memory reaches."""
    cores, memory = usable_cores(), usable_bytes()
    return cores if memory is None else max(1, min(cores, memory // WORKER_BYTES))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def torch_device(device: str) -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``. Raises UsageError if it
    is none of these, this machine has no such device, or the process was forked (see
    :func:`refuse_forked_gpu`)."""
    import torch

    if device != "cpu":
        refuse_forked_gpu()
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


def refuse_forked_gpu() -> None:
    """Raise UsageError if the parent of this forked process has used the GPU: CUDA fails then."""
    import torch

    if torch.cuda._is_in_bad_fork():
        raise UsageError(
            "a forked process cannot use the GPU that its parent has used: start processes with "
            "multiprocessing.get_context('spawn'), or load the model with device='cpu'"
        )


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run the block on one CPU thread of torch.

    Networks as small as ours gain nothing from a second one, and become up to ten times slower
    where the other cores are busy with decoding. A forked process has lost the threads of its
    parent, and waits for them forever.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
