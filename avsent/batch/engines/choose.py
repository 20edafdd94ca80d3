"""The choice of an engine. A module of its own, since engines import what they share from base."""

import dataclasses
import os
import sys

from avsent.batch.engines.base import Engine, Work
from avsent.errors import UsageError
from avsent.machine import default_workers, usable_cores
from avsent.model.folders import shipped_names

_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""Linux has one of these where there is a GPU that torch can use."""


def make_engine(
    work: Work, workers: int | None, jobs: int, name: str, ray_address: str | None
) -> Engine:
    """The engine ``name``: local or ray; never more workers than ``jobs``.

    Workers on this machine share its cores, so that there are no more threads than cores. On a
    cluster, whose nodes are unknown, each worker has one thread. Raises UsageError if there is no
    such engine or device, WorkersError if the cluster is out of reach.
    """
    work = with_absolute_paths(work)
    if name == "ray":
        from avsent.batch.engines.ray_cluster import RayEngine

        return RayEngine(work, workers, ray_address, jobs=jobs)
    if name != "local":
        raise UsageError(f"there is no engine {name!r}; choose local or ray")
    count = min(workers or default_workers(), jobs)
    work = dataclasses.replace(work, threads=max(1, usable_cores() // count))
    may_have_gpu = sys.platform != "linux" or any(map(os.path.exists, _GPU_FILES))
    # torch takes seconds to import, so it is asked only where there may be a GPU. It also finds
    # wrong names of devices.
    if work.device != "cpu" and (work.device != "auto" or may_have_gpu):
        from avsent.machine import torch_device

        if torch_device(work.device).type != "cpu":
            from avsent.batch.engines.gpu import GpuEngine

            return GpuEngine(work, count)
    from avsent.batch.engines.local import LocalEngine

    return LocalEngine(work, count)


def prepare_engine(name: str) -> None:
    """Start what takes a while, before it is known how much there is to do."""
    if name == "local":
        from avsent.batch.engines.local import prepare_workers

        prepare_workers()


def with_absolute_paths(work: Work) -> Work:
    """``work`` for workers in other folders or on other machines. Names of shipped models and of
    checkpoints that do not exist stay as they are."""
    checkpoint = work.checkpoint
    if checkpoint not in shipped_names() and os.path.exists(checkpoint):
        checkpoint = os.path.abspath(checkpoint)
    files = {name: getattr(work.options, name) for name in ("landmarks", "utterances")}
    absolute = {name: path.absolute() for name, path in files.items() if path is not None}
    options = dataclasses.replace(work.options, **absolute)
    return dataclasses.replace(work, checkpoint=checkpoint, options=options)
