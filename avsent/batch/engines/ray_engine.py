"""The Ray engine: workers are actors, on as many nodes as the cluster has.

Nothing waits inside Ray: an actor gets a job when it has loaded its model and has no other, so
that a job is never with an actor that cannot be placed. Actors are not restarted by Ray: what is
lost goes back to :mod:`avsent.batch.scheduler`, and a new actor is made, wherever there is room.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

from avsent import __version__
from avsent.batch.engines.base import (
    Done,
    Engine,
    Event,
    Failed,
    Job,
    Lost,
    Moved,
    Work,
    WorkersError,
)
from avsent.batch.engines.ray_cluster import Cluster, Node, fitting, in_a_line, resources_of
from avsent.batch.engines.ray_worker import Greeting, RayWorker
from avsent.batch.engines.worker import Ready, Unfit, told
from avsent.machine import default_workers

ASK_EVERY_S = 1.0
"""How often a busy worker is asked how far it has come."""
LOOK_EVERY_S = 3.0
"""How often we look which nodes there are."""
START_LIMIT_S = 600.0
"""How long there may be no worker at all: others may use the cluster, or nodes be on their way."""
FETCH_LIMIT_S = 60.0
"""For an answer that is there to come over."""
STILLBORN_LIMIT = 3
"""Workers in a row that may end before their model is loaded, on nodes that stay."""

NODE_LOST = "its node was lost"


@dataclass(slots=True)
class _Worker:
    """``answer``: to what it was told to do last; ``news``: to how it goes."""

    number: int
    actor: Any
    answer: Any
    node: str | None = None
    ready: bool = False
    job: Job | None = None
    began_s: float = 0.0
    news: Any = None
    asked_s: float = field(default_factory=time.monotonic)


class RayEngine(Engine):
    """Actors on the cluster at ``address``, "auto" for the one this machine belongs to; None for
    a Ray that is started here and ended afterwards.

    ``workers``: None for as many as the nodes have room for, also when nodes come and go; never
    more than ``jobs``. All nodes need the same version of avsent, and the files, the checkpoint
    and the landmarks file under the same paths: a file that a node cannot see is one that cannot
    be read.

    Where the head of the cluster goes down, or the node on which this runs, Ray ends this process
    within a minute; the journal has what was done.

    Raises:
        UsageError, WorkersError: see :class:`avsent.batch.engines.ray_cluster.Cluster`.
    """

    retries: ClassVar[int] = 2  # that a node is lost is not the file's fault

    def __init__(
        self, work: Work, workers: int | None, address: str | None, *, jobs: int | None = None
    ) -> None:
        self._work = work
        self._asked_for = workers
        self._jobs = jobs
        self._living: dict[int, _Worker] = {}
        self._stillborn = 0
        self._last_ready_s = time.monotonic()
        here = work.threads * (workers or default_workers())
        self._cluster = Cluster(address, cpus=here, debug=work.debug)
        self._ray = self._cluster.ray
        try:
            self._look()
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        return self._count

    def free(self) -> int:
        return sum(worker.ready and worker.job is None for worker in self._living.values())

    def start(self, job: Job) -> int:
        worker = next(w for w in self._living.values() if w.ready and w.job is None)
        worker.job, worker.answer = job, worker.actor.outcome.remote(job)
        worker.began_s = worker.asked_s = time.monotonic()
        return worker.number

    def wait(self, timeout_s: float) -> list[Event]:
        self._tend()
        news = {w.news: w for w in self._living.values() if w.news is not None}
        answers = {w.answer: w for w in self._living.values() if w.answer is not None}
        waiting = [*news, *answers]
        if not waiting:
            time.sleep(timeout_s)
            return []
        there, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout_s)
        if there:
            there, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        events: list[Event] = []
        # How it goes first: after the last word of a job nobody asks.
        for reference in sorted(there, key=lambda reference: reference in answers):
            if reference in news:
                self._hear_news(news[reference], events)
            else:
                self._hear_answer(answers[reference], events)
        for worker in list(self._living.values()):
            if worker.node is not None and worker.node not in self._nodes:
                self._bury(worker, NODE_LOST, events)
        return events

    def abandon(self, job: Job) -> None:
        for worker in list(self._living.values()):
            if worker.job == job:
                self._remove(worker)

    def close(self) -> None:
        for worker in list(self._living.values()):
            self._remove(worker)
        self._cluster.close()

    def _tend(self) -> None:
        """Keep the workers to their number, and ask those at work how it goes."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._look()
        for worker in sorted(self._living.values(), key=lambda worker: -worker.number):
            if len(self._living) > self._count and not worker.ready:
                self._remove(worker)  # there is no room for it any more
        while len(self._living) < self._count:
            self._new_worker()
        for worker in self._living.values():
            overdue = now_s - worker.asked_s >= ASK_EVERY_S
            if worker.job is not None and worker.news is None and overdue:
                worker.news, worker.asked_s = worker.actor.progress.remote(), now_s
        if any(worker.ready for worker in self._living.values()):
            self._last_ready_s = now_s
        elif now_s - self._last_ready_s > START_LIMIT_S:
            wanted = " and ".join(f"{size:g} {name}" for name, size in self._resources.items())
            raise WorkersError(
                f"no worker came up on the Ray cluster in {START_LIMIT_S:.0f} s; each needs "
                f"{wanted} of one node: see ray status"
            )

    def _look(self) -> None:
        """Which nodes are there, and how many workers they have room for."""
        nodes: list[Node] = self._cluster.nodes()
        self._looked_s = time.monotonic()
        self._nodes = {node.id for node in nodes}
        self._resources = resources_of(self._work, nodes)
        count = fitting(nodes, self._resources) if self._asked_for is None else self._asked_for
        # One waits even where there is no room: a node may be on its way.
        self._count = max(1, count if self._jobs is None else min(count, self._jobs))

    def _new_worker(self) -> None:
        number = next(n for n in range(len(self._living) + 1) if n not in self._living)
        options = {**self._resources, "max_restarts": 0, "max_concurrency": 2}
        factory = self._ray.remote(RayWorker).options(scheduling_strategy="SPREAD", **options)
        actor = factory.remote(self._work.threads)
        self._living[number] = _Worker(number, actor, actor.greet.remote())

    def _hear_news(self, worker: _Worker, events: list[Event]) -> None:
        reference, worker.news = worker.news, None
        try:
            moved = self._ray.get(reference, timeout=FETCH_LIMIT_S)
        except self._ray.exceptions.RayError:
            return  # the answer will tell
        if isinstance(moved, Moved) and moved.job == worker.job:
            events.append(moved)

    def _hear_answer(self, worker: _Worker, events: list[Event]) -> None:
        reference, worker.answer = worker.answer, None
        try:
            answer = self._ray.get(reference, timeout=FETCH_LIMIT_S)
        except self._ray.exceptions.RayTaskError as error:
            self._take_error(worker, error, events)
        except self._ray.exceptions.RayError as error:
            self._bury(worker, reason_of(error), events)
        else:
            self._take(worker, answer, events)

    def _take(self, worker: _Worker, answer: object, events: list[Event]) -> None:
        match answer:
            case Greeting(version, node, host):
                if version != __version__:
                    raise WorkersError(
                        f"node {host} has avsent {version}, here it is {__version__}; install "
                        "the same on all nodes"
                    )
                worker.node, worker.answer = node, worker.actor.prepare.remote(self._work)
            case Ready():
                worker.ready, self._stillborn = True, 0
            case Unfit(error):
                raise error
            case Done() | Failed():
                worker.job = None
                events.append(answer)

    def _take_error(self, worker: _Worker, error: Any, events: list[Event]) -> None:
        """What no worker expected: the fault of a job, or of how avsent is installed."""
        cause = getattr(error, "cause", None) or error
        job, worker.job = worker.job, None
        if job is None:
            text = in_a_line(f"{type(cause).__name__}: {cause}")
            raise WorkersError(f"a worker on the Ray cluster cannot start: {text}")
        text, code = told(cause, job)
        events.append(Failed(job, in_a_line(text), code, time.monotonic() - worker.began_s))

    def _bury(self, worker: _Worker, reason: str, events: list[Event]) -> None:
        self._remove(worker)
        if worker.job is not None:
            events.append(Lost(worker.job, reason))
        elif not worker.ready and reason != NODE_LOST:
            self._stillborn += 1
            if self._stillborn >= STILLBORN_LIMIT:
                raise WorkersError(
                    f"workers on the Ray cluster end as they start ({reason}); is avsent "
                    "installed on all nodes? --debug tells more"
                )

    def _remove(self, worker: _Worker) -> None:
        self._living.pop(worker.number, None)
        if self._ray.is_initialized():
            self._ray.kill(worker.actor)


def reason_of(error: Exception) -> str:
    """Why a worker is gone, in words, from what Ray says about it."""
    text, kind = str(error), type(error).__name__
    if "node has died" in text or kind == "NodeDiedError":
        return NODE_LOST
    if "low on memory" in text or kind == "OutOfMemoryError":
        return "its worker was killed: its node ran out of memory"
    if "No module named" in text:
        return in_a_line(text[text.index("No module named") :])
    return "its worker ended unexpectedly"
