"""A worker of the Ray engine: what runs inside an actor, on whatever node Ray puts it.

Nothing heavy is imported here: a node first says which avsent it has, and keeps to its threads.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avsent import __version__
from avsent.batch.engines.base import Done, Failed, Job, Moved, Work
from avsent.batch.engines.worker import Ready, Unfit
from avsent.errors import AvsentError

if TYPE_CHECKING:
    from avsent.batch.engines.worker import Doer

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Greeting:
    """``version`` of avsent on the node ``node``, whose address is ``host``."""

    version: str
    node: str
    host: str


class RayWorker:
    """An actor of two threads: one does the jobs, the other can be asked how it goes."""

    def __init__(self, threads: int) -> None:
        # Libraries read these when they are imported.
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        self._doer: Doer | None = None
        self._moved: Moved | None = None

    def greet(self) -> Greeting:
        """Before it is given anything that another version may not understand."""
        import ray

        ours: Any = ray
        node = ours.get_runtime_context().get_node_id()
        return Greeting(__version__, node, ours.util.get_node_ip_address())

    def prepare(self, work: Work) -> Ready | Unfit:
        """Load the model."""
        try:
            from avsent.batch.engines.worker import Doer

            self._doer = Doer(work)
        except AvsentError as error:
            return Unfit(error)
        return Ready()

    def outcome(self, job: Job) -> Done | Failed | Unfit:
        """What became of ``job``; only after :meth:`prepare`."""
        if self._doer is None:
            raise RuntimeError("asked for a job before its model is loaded")
        self._moved = None
        try:
            return self._doer.outcome(job, self._keep)
        except AvsentError as error:
            return Unfit(error)

    def progress(self) -> Moved | None:
        """How far it has come, if it has since it was asked last."""
        moved, self._moved = self._moved, None
        return moved

    def _keep(self, moved: Moved) -> None:
        self._moved = moved
