"""The Ray engine: its workers are actors on the nodes of a cluster, or on this machine alone.

No job waits inside Ray: an actor gets one when its model is loaded and it has no other, so no job
is with an actor that cannot be placed. Ray restarts no actor: a lost job goes back to
:mod:`avsent.batch.scheduler`, and a new actor is started wherever there is room.

Actors import this module before they set their number of threads, so it imports nothing heavy.
"""

import dataclasses
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

from avsent import __version__
from avsent.batch.engines import base
from avsent.batch.engines.base import Job, Work
from avsent.batch.engines.worker import PredictWorker, failure
from avsent.batch.events import Advanced
from avsent.errors import AvsentError, UsageError
from avsent.machine import default_workers

PROGRESS_INTERVAL_S = 1.0  # between questions to a busy worker
NODES_INTERVAL_S = 3.0  # between two readings of the nodes
START_LIMIT_S = 600.0  # without any worker: others may use the cluster, or nodes be on their way
FETCH_LIMIT_S = 60.0  # for a reply that is there to arrive
CONNECT_LIMIT_S = 10.0  # for a host to reply at all
TRIAL_LIMIT_S = 60.0  # for a cluster to let a program in
FAILED_STARTS_LIMIT = 3  # workers in a row that end before their model is loaded, on living nodes
STORE_BYTES = 200_000_000  # of a local Ray, for the results of a few files
GPU_SHARE = 0.25  # of each worker, which needs a GPU for little of its time, and 1 to 2 GB of it
NODE_LOST = "its node was lost"

_RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or `uv run` would send the current folder to all nodes
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or there is a warning about its future
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # those of actors that were ended on purpose
}
_TRIAL = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"


@dataclass(slots=True)
class _Worker:
    """``reply``: Ray's reference to the reply to the last call; ``progress``: to the progress."""

    number: int
    actor: Any
    reply: Any
    node: str | None = None
    ready: bool = False
    job: Job | None = None
    began_s: float = 0.0
    progress: Any = None
    asked_s: float = field(default_factory=time.monotonic)


class RayEngine(base.Engine):
    """Actors on the cluster at ``address``, "auto" for the one this machine belongs to; None for
    a Ray that is started here and ended afterwards. A Ray that this process has connected to
    before is used as it is, and left so.

    ``workers``: None for as many as the nodes have room for, also when nodes come and go; never
    more than ``jobs``. All nodes need the same version of avsent, and the files, the checkpoint
    and the landmarks file under the same paths: a file that a node cannot see cannot be read.

    If the head of the cluster goes down, or the node on which this runs, Ray ends this process
    within a minute; the journal has what was done.

    Raises:
        UsageError: Ray is not installed, or the address is of a kind that cannot be used.
        WorkersError: the cluster is out of reach.
    """

    retries: ClassVar[int] = 2  # a lost node is not the file's fault

    def __init__(
        self, work: Work, workers: int | None, address: str | None, *, jobs: int | None = None
    ) -> None:
        if find_spec("ray") is None:
            raise UsageError("--engine ray needs Ray; install it with pip install 'avsent[ray]'")
        self._work = work
        self._wanted = workers
        self._jobs = jobs
        self._living: dict[int, _Worker] = {}
        self._failed_starts = 0
        self._last_ready_s = time.monotonic()
        with ExitStack() as stack:
            cpus = work.threads * (workers or default_workers())
            self._ray = stack.enter_context(_connection(address, cpus, work.debug))
            self._read_nodes()
            self._connection = stack.pop_all()

    @property
    def workers(self) -> int:
        return self._count

    def free(self) -> int:
        return sum(worker.ready and worker.job is None for worker in self._living.values())

    def start(self, job: Job) -> int:
        worker = next(w for w in self._living.values() if w.ready and w.job is None)
        worker.job, worker.reply = job, worker.actor.outcome.remote(job)
        worker.began_s = worker.asked_s = time.monotonic()
        return worker.number

    def wait(self, timeout_s: float) -> base.Events:
        self._adjust_workers()
        workers = self._living.values()
        awaited = {r: w for w in workers for r in (w.progress, w.reply) if r is not None}
        events: base.Events = []
        if not awaited:
            time.sleep(timeout_s)
            return events
        arrived, _ = self._ray.wait(list(awaited), num_returns=1, timeout=timeout_s)
        if arrived:
            arrived, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        for reference in arrived:
            worker = awaited[reference]
            if reference == worker.progress:
                self._receive_progress(worker, events)
            elif reference == worker.reply:
                self._receive_reply(worker, events)
        for worker in list(self._living.values()):
            if worker.node is not None and worker.node not in self._nodes:
                self._lose(worker, NODE_LOST, events)
        return events

    def abandon(self, job: Job) -> None:
        for worker in list(self._living.values()):
            if worker.job == job:
                self._end(worker)

    def close(self) -> None:
        for worker in list(self._living.values()):
            self._end(worker)
        self._connection.close()

    def _adjust_workers(self) -> None:
        """Start or end workers as the nodes have room, and ask busy ones for their progress."""
        now_s = time.monotonic()
        if now_s - self._read_s >= NODES_INTERVAL_S:
            self._read_nodes()
        for worker in sorted(self._living.values(), key=lambda worker: -worker.number):
            if len(self._living) > self._count and not worker.ready:
                self._end(worker)  # there is no room for it any more
        while len(self._living) < self._count:
            number = next(n for n in range(self._count) if n not in self._living)
            options = {**self._resources, "max_restarts": 0, "max_concurrency": 2}
            factory = self._ray.remote(RayWorker).options(scheduling_strategy="SPREAD", **options)
            actor = factory.remote(self._work.threads)
            self._living[number] = _Worker(number, actor, actor.greet.remote())
        for worker in self._living.values():
            due = now_s - worker.asked_s >= PROGRESS_INTERVAL_S
            if worker.job is not None and worker.progress is None and due:
                worker.progress, worker.asked_s = worker.actor.progress.remote(), now_s
        if any(worker.ready for worker in self._living.values()):
            self._last_ready_s = now_s
        elif now_s - self._last_ready_s > START_LIMIT_S:
            needs = " and ".join(f"{size:g} {name}" for name, size in self._resources.items())
            raise base.WorkersError(
                f"no worker came up on the Ray cluster in {START_LIMIT_S:.0f} s; each needs "
                f"{needs} of one node: see ray status"
            )

    def _read_nodes(self) -> None:
        """Which nodes are alive, and how many workers they have room for."""
        alive = [node for node in self._ray.nodes() if node["Alive"]]
        self._read_s = time.monotonic()
        self._nodes = {node["NodeID"] for node in alive}
        nodes = [node["Resources"] for node in alive]
        self._resources = resources_of(self._work, nodes)
        count = fitting(nodes, self._resources) if self._wanted is None else self._wanted
        # One waits even where there is no room: a node may be on its way.
        self._count = max(1, count if self._jobs is None else min(count, self._jobs))

    def _receive_progress(self, worker: _Worker, events: base.Events) -> None:
        reference, worker.progress = worker.progress, None
        try:
            completed_s = self._ray.get(reference, timeout=FETCH_LIMIT_S)
        except self._ray.exceptions.RayError:
            return  # the reply to the job fails likewise
        if completed_s is not None and worker.job is not None:
            events.append(Advanced(worker.job.name, worker.number, completed_s))

    def _receive_reply(self, worker: _Worker, events: base.Events) -> None:
        reference, worker.reply = worker.reply, None
        try:
            message = self._ray.get(reference, timeout=FETCH_LIMIT_S)
        except self._ray.exceptions.RayTaskError as error:
            message = self._outcome_of_error(worker, error.cause or error)
        except self._ray.exceptions.RayError as error:
            self._lose(worker, reason_of(error), events)
            return
        match message:
            case (version, node, host):
                if version != __version__:
                    raise base.WorkersError(
                        f"node {host} has avsent {version}, here it is {__version__}; install "
                        "the same on all nodes"
                    )
                worker.node, worker.reply = node, worker.actor.prepare.remote(self._work)
            case base.Ready():
                worker.ready, self._failed_starts = True, 0
            case base.Done() | base.Failed():
                # Without its progress: that belongs to this job, not to the next one.
                worker.job = worker.progress = None
                events.append(message)

    def _outcome_of_error(self, worker: _Worker, error: Exception) -> base.Failed:
        """The failure of a job that raised ``error``; raises where no worker can do any job."""
        if worker.job is not None:
            failed = failure(error, worker.job, self._work, time.monotonic() - worker.began_s)
            return dataclasses.replace(failed, error=_one_line(failed.error))
        if isinstance(error, AvsentError):
            raise error
        text = _one_line(f"{type(error).__name__}: {error}")
        raise base.WorkersError(f"a worker on the Ray cluster cannot start: {text}") from error

    def _lose(self, worker: _Worker, reason: str, events: base.Events) -> None:
        self._end(worker)
        if worker.job is not None:
            events.append(base.Lost(worker.job, reason))
        elif not worker.ready and reason != NODE_LOST:
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS_LIMIT:
                raise base.WorkersError(
                    f"workers on the Ray cluster end as they start ({reason}); is avsent "
                    "installed on all nodes? --debug tells more"
                )

    def _end(self, worker: _Worker) -> None:
        self._living.pop(worker.number, None)
        if self._ray.is_initialized():
            self._ray.kill(worker.actor)


def resources_of(work: Work, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a worker asks Ray for (``num_cpus`` and ``num_gpus``), on nodes with these resources."""
    wants_gpu = work.device != "cpu" and any(node.get("GPU", 0) > 0 for node in nodes)
    return {"num_cpus": work.threads, "num_gpus": GPU_SHARE if wants_gpu else 0}


def fitting(nodes: Sequence[Mapping[str, float]], resources: Mapping[str, float]) -> int:
    """How many workers there is room for; each must fit into one node."""
    needs = {"CPU": resources["num_cpus"], "GPU": resources["num_gpus"]}
    return sum(
        int(min(node.get(kind, 0) // size for kind, size in needs.items() if size))
        for node in nodes
    )


def reason_of(error: Exception) -> str:
    """Why a worker is gone, in words, from Ray's error."""
    text, kind = str(error), type(error).__name__
    if "node has died" in text or kind == "NodeDiedError":
        return NODE_LOST
    if "low on memory" in text or kind == "OutOfMemoryError":
        return "its worker was killed: its node ran out of memory"
    if "No module named" in text:
        return _one_line(text[text.index("No module named") :])
    return "its worker ended unexpectedly"


class RayWorker:
    """An actor of two threads: one processes the jobs, the other replies about progress."""

    def __init__(self, threads: int) -> None:
        os.environ.update(dict.fromkeys(base.THREAD_VARIABLES, str(threads)))
        os.dup2(2, 1)  # with --debug Ray prints it where the batch runs: not among the results
        self._completed_s: float | None = None

    def greet(self) -> tuple[str, str, str]:
        """Version of avsent, node and its address: before the worker gets anything that another
        version may not understand."""
        import ray

        ours: Any = ray
        node = ours.get_runtime_context().get_node_id()
        return __version__, node, ours.util.get_node_ip_address()

    def prepare(self, work: Work) -> base.Ready:
        """Load the model."""
        self._worker = PredictWorker(work)
        return base.Ready()

    def outcome(self, job: Job) -> Any:
        """Process one file; only after :meth:`prepare`."""
        self._completed_s = None
        return self._worker.outcome(job, self._keep)

    def progress(self) -> float | None:
        """The job's progress in seconds of media, if it has changed since the last call."""
        completed_s, self._completed_s = self._completed_s, None
        return completed_s

    def _keep(self, completed_s: Any) -> None:
        self._completed_s = completed_s


@contextmanager
def _connection(address: str | None, cpus: int, debug: bool) -> Iterator[Any]:
    """Ray, connected inside the block; ``cpus``: what a Ray started here may give away."""
    variables = dict(_RAY_VARIABLES)
    if not debug:
        # Ray prints what it notices of lost workers on standard output, where results may go, and
        # log_to_driver does not end that; this skips all lines. Ray reads it when imported.
        variables["RAY_DEDUP_LOGS_SKIP_REGEX"] = "^"
    if address is None and "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        # Nobody else may use a Ray started here, although it listens on the network. By itself Ray
        # would keep its token in the user's home folder.
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with base.environment({n: value for n, value in variables.items() if n not in os.environ}):
        import ray

        if ray.is_initialized():
            yield ray
            return
        if address is not None:
            _try(address)
        level = logging.INFO if debug else logging.ERROR
        local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        options: dict[str, Any] = local if address is None else {}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            try:
                ray.init(address or "local", log_to_driver=debug, logging_level=level, **options)
            except Exception as error:
                where = "Ray cannot be started here" if address is None else _unreachable(address)
                raise base.WorkersError(f"{where}: {_one_line(str(error))}") from error
            finally:
                if signal.getsignal(signal.SIGTERM) is not handler:  # Ray sets one of its own
                    signal.signal(signal.SIGTERM, handler)
            yield ray
        finally:
            ray.shutdown()


def _try(address: str) -> None:
    """Join the cluster in a child process: Ray may go on trying for minutes, or end its process.

    Raises:
        UsageError: the address is of no known kind. WorkersError: the cluster cannot be joined.
    """
    if address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        if "://" in address or not host or not port.isdecimal() or int(port) > 65535:
            raise UsageError(
                f"--ray-address {address}: start the command on a node of the cluster, and give "
                "'auto' or HOST:PORT"
            )
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()
        except OSError as error:
            reason = f"{error.strerror or error}; is it running?"
            raise base.WorkersError(f"{_unreachable(address)}: {reason}") from error
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TRIAL_LIMIT_S,
            check=False,
        )
        if trial.returncode == 0:
            return
        output = trial.stdout.decode("utf-8", "replace").strip()
        reason = _one_line(output.rpartition("\n")[2]) or "it ended the connection"
    except subprocess.TimeoutExpired as error:
        output = (error.output or b"").decode("utf-8", "replace")
        reason = f"no answer in {TRIAL_LIMIT_S:.0f} s; is it Ray that is there?"
    if "InvalidAuthToken" in output or "AuthenticationError" in output:
        reason = "it wants its token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    elif "ersion mismatch" in output:
        versions = _one_line(output.partition("ersion mismatch")[2])
        reason = f"another version of Ray or Python{versions}"
    elif "Could not find any running Ray" in output:
        reason = "no Ray is running on this machine; start it with ray start, or give HOST:PORT"
    raise base.WorkersError(f"{_unreachable(address)}: {reason}")


def _unreachable(address: str) -> str:
    return f"cannot reach the Ray cluster at {address}"


def _one_line(text: str) -> str:
    """The beginning of Ray's message, without line breaks and tracebacks."""
    return " ".join(text.partition("Traceback")[0].split())[:300]
