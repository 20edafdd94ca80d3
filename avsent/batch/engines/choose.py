"""Which engine does the work, with how many workers, and what each of them is told."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

from avsent.batch.engines.base import Engine, Work
from avsent.errors import UsageError
from avsent.machine import default_workers, usable_cores
from avsent.model.folders import shipped_names
from avsent.options import Adapt, FaceChoice

_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")
"""On Linux one of these is there where there is a GPU that torch can use."""


def make_work(
    engine: str,
    *,
    checkpoint: str,
    device: str,
    face: FaceChoice,
    adapt: Adapt,
    analysis_rate_hz: float | None,
    strict: bool,
    landmarks: Path | None,
    debug: bool,
    check: bool = True,
    proxy: bool | None = None,
) -> Work:
    """The work of a batch.

    Raises:
        UsageError: options that do not go together.
    """
    if engine == "ray" and device.startswith("cuda:"):
        raise UsageError("on a Ray cluster Ray hands out the GPUs: give --device cuda, or cpu")
    return Work(
        checkpoint=_absolute(checkpoint),
        device=device,
        face=face,
        adapt_speaker=adapt is Adapt.speaker,
        represent=adapt is Adapt.corpus,
        analysis_rate_hz=analysis_rate_hz,
        strict=strict,
        landmarks=None if landmarks is None else landmarks.absolute(),
        check=check,
        proxy=proxy,
        debug=debug,
    )


def make_engine(
    work: Work, workers: int | None, jobs: int, name: str, ray_address: str | None
) -> Engine:
    """The engine ``name``: local or ray; never more workers than ``jobs``.

    Workers on this machine share its cores, so that there are no more threads than cores; on a
    cluster, of whose nodes nothing is known, each has one.

    Raises:
        UsageError: there is no such engine or device. WorkersError: the cluster is out of reach.
    """
    if name == "ray":
        from avsent.batch.engines.ray_cluster import RayEngine

        return RayEngine(work, workers, ray_address, jobs=jobs)
    if name != "local":
        raise UsageError(f"there is no engine {name!r}; choose local or ray")
    count = min(workers or default_workers(), jobs)
    work = dataclasses.replace(work, threads=max(1, usable_cores() // count))
    if may_have_gpu(work.device):
        # Imported only where there may be one: torch takes its time.
        from avsent.machine import torch_device

        if torch_device(work.device).type != "cpu":
            from avsent.batch.engines.gpu import GpuEngine

            return GpuEngine(work, count)
    from avsent.batch.engines.local import LocalEngine

    return LocalEngine(work, count)


def prepare_engine(name: str) -> None:
    """Begin with what takes a while, before it is known how much there is to do."""
    if name == "local":
        from avsent.batch.engines.local import prepare_workers

        prepare_workers()


def may_have_gpu(device: str) -> bool:
    """Whether it is worth asking torch for a GPU; a wrong name is found out by asking it."""
    if device == "cpu":
        return False
    on_linux = sys.platform == "linux"
    return device != "auto" or not on_linux or any(map(os.path.exists, _GPU_FILES))


def _absolute(checkpoint: str) -> str:
    """A path as workers in other folders, or on other machines, find it; a name as it is."""
    if checkpoint in shipped_names() or not os.path.exists(checkpoint):
        return checkpoint
    return os.path.abspath(checkpoint)
