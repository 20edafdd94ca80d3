"""The Ray engine: its workers are actors on the nodes of a cluster, or on this machine alone.

No job waits inside Ray: an actor gets one when its model is loaded and it has no other, so no job
is with an actor that cannot be placed. Ray restarts no actor: a lost job goes back to
:mod:`avsent.batch.scheduler`, and a new actor is started wherever there is room.

Actors import this module before they set their number of threads, so it imports nothing heavy.
"""

import dataclasses
import logging
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar

from avsent import __version__
from avsent.batch.engines import base
from avsent.batch.engines.worker import PredictWorker, failure
from avsent.batch.events import Advanced
from avsent.errors import AvsentError, UsageError
from avsent.machine import default_workers

NODES_INTERVAL_S = 3.0  # between two readings of the nodes
START_LIMIT_S = 600.0  # without any worker: others may use the cluster, or nodes be on their way
FETCH_LIMIT_S = 60.0  # for a reply that is there to arrive
CONNECT_LIMIT_S = 10.0  # for a host to reply at all
TRIAL_LIMIT_S = 60.0  # for a cluster to let a program in
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


@dataclasses.dataclass(slots=True)
class _Worker:
    """``reply``: Ray's reference to the reply to the last call; for a job, to several in a row."""

    number: int
    actor: Any
    reply: Any
    node: str | None = None
    ready: bool = False
    job: base.Job | None = None
    began_s: float = 0.0


class RayEngine(base.Engine):
    """Actors on the cluster at ``address``, "auto" for the one this machine belongs to; None for
    a Ray that is started here and ended afterwards. A Ray that this process has connected to
    before is used as it is, and left so.

    ``workers``: None for as many as the nodes have room for, also when nodes come and go; never
    more than ``jobs``. All nodes need the same version of avsent, and the files, the checkpoint
    and the files that options name under the same paths: one that a node cannot see it cannot read.

    If the head of the cluster goes down, or the node on which this runs, Ray ends this process
    within a minute; the journal has what was done. Raises UsageError if Ray is not installed, or
    the address is of a kind that cannot be used, WorkersError if the cluster is out of reach.
    """

    retries: ClassVar[int] = 2  # a lost node is not the file's fault

    def __init__(
        self, work: base.Work, workers: int | None, address: str | None, *, jobs: int | None = None
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

    def free(self) -> int:
        return sum(worker.ready and worker.job is None for worker in self._living.values())

    def start(self, job: base.Job) -> int:
        worker = next(w for w in self._living.values() if w.ready and w.job is None)
        worker.job, worker.began_s = job, time.monotonic()
        worker.reply = worker.actor.outcome.options(num_returns="streaming").remote(job)
        return worker.number

    def wait(self, timeout_s: float) -> base.Events:
        self._adjust_workers()
        awaited = {w.reply: w for w in self._living.values() if w.reply is not None}
        events: base.Events = []
        arrived, _ = self._ray.wait(list(awaited), timeout=timeout_s)
        if arrived:  # and whatever else has
            arrived, _ = self._ray.wait(list(awaited), num_returns=len(awaited), timeout=0)
        for reply in arrived:
            self._receive(awaited[reply], events)
        for worker in list(self._living.values()):
            if worker.node is not None and worker.node not in self._nodes:
                self._lose(worker, NODE_LOST, events)
        return events

    def close(self) -> None:
        super().close()
        self._connection.close()

    def _adjust_workers(self) -> None:
        """Start or end workers as the nodes have room."""
        now_s = time.monotonic()
        if now_s - self._read_s >= NODES_INTERVAL_S:
            self._read_nodes()
        for worker in sorted(self._living.values(), key=lambda worker: -worker.number):
            if len(self._living) > self.workers and not worker.ready:
                self._remove(worker)  # there is no room for it any more
        while len(self._living) < self.workers:
            number = next(n for n in range(self.workers) if n not in self._living)
            options = {**self._resources, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
            actor = self._ray.remote(RayWorker).options(**options).remote(self._work.threads)
            self._living[number] = _Worker(number, actor, actor.greet.remote())
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
        self.workers = max(1, count if self._jobs is None else min(count, self._jobs))

    def _receive(self, worker: _Worker, events: base.Events) -> None:
        reference = worker.reply if worker.job is None else next(worker.reply)
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
                worker.reply, worker.ready, self._failed_starts = None, True, 0
            case base.Done() | base.Failed():
                worker.job = worker.reply = None
                events.append(message)
            case completed_s if worker.job is not None:
                events.append(Advanced(worker.job.name, worker.number, completed_s))

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
        self._remove(worker)
        if worker.job is not None:
            events.append(base.Lost(worker.job, reason))
        elif not worker.ready and reason != NODE_LOST:
            self._failed_starts += 1
            if self._failed_starts >= base.FAILED_STARTS_LIMIT:
                raise base.WorkersError(
                    f"workers on the Ray cluster end as they start ({reason}); is avsent "
                    "installed on all nodes? --debug tells more"
                )

    def _remove(self, worker: _Worker) -> None:
        self._living.pop(worker.number, None)
        if self._ray.is_initialized():
            self._ray.kill(worker.actor)


def resources_of(work: base.Work, nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
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
    """An actor; :meth:`greet`, then :meth:`prepare`, then any number of jobs."""

    def __init__(self, threads: int) -> None:
        os.environ.update(dict.fromkeys(base.THREAD_VARIABLES, str(threads)))
        os.dup2(2, 1)  # with --debug Ray prints it where the batch runs: not among the results
        self._thread = ThreadPoolExecutor(1)

    def greet(self) -> tuple[str, str, str]:
        """Version of avsent, node and its address: before the worker gets anything that another
        version may not understand."""
        import ray

        ours: Any = ray
        node = ours.get_runtime_context().get_node_id()
        return __version__, node, ours.util.get_node_ip_address()

    def prepare(self, work: base.Work) -> base.Ready:
        """Load the model."""
        self._worker = self._thread.submit(PredictWorker, work).result()
        return base.Ready()

    def outcome(self, job: base.Job) -> Iterator[Any]:
        """Process one file: yields its progress in seconds of media, then its outcome."""
        messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        done = self._thread.submit(self._worker.outcome, job, messages.put)
        done.add_done_callback(lambda _: messages.put(None))
        while (completed_s := messages.get()) is not None:
            yield completed_s
        yield done.result()


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
        level = logging.INFO if debug else logging.ERROR
        options: dict[str, Any] = {"log_to_driver": debug, "logging_level": level}
        where = f"cannot reach the Ray cluster at {address}"
        if address is None:
            where = "Ray cannot be started here"
            options |= {"num_cpus": cpus, "object_store_memory": STORE_BYTES}
            options["include_dashboard"] = False
        elif reason := _fault_of(address):
            raise base.WorkersError(f"{where}: {reason}")
        handler = signal.getsignal(signal.SIGTERM)
        try:
            try:
                ray.init(address or "local", **options)
            except Exception as error:
                raise base.WorkersError(f"{where}: {_one_line(str(error))}") from error
            finally:
                if signal.getsignal(signal.SIGTERM) is not handler:  # Ray sets one of its own
                    signal.signal(signal.SIGTERM, handler)
            yield ray
        finally:
            ray.shutdown()


def _fault_of(address: str) -> str | None:
    """Why the cluster cannot be joined. A child process tries it: Ray may go on trying for minutes,
    or end its process. Raises UsageError for an address of no known kind."""
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
            return f"{error.strerror or error}; is it running?"
    command = [sys.executable, "-c", _TRIAL, address]
    try:
        trial = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TRIAL_LIMIT_S,
            check=False,
        )
        if trial.returncode == 0:
            return None
        output = (trial.stdout + trial.stderr).decode("utf-8", "replace").strip()
        reason = _one_line(output.rpartition("\n")[2]) or "it ended the connection"
    except subprocess.TimeoutExpired as error:
        output = ((error.stdout or b"") + (error.stderr or b"")).decode("utf-8", "replace")
        reason = f"no answer in {TRIAL_LIMIT_S:.0f} s; is it Ray that is there?"
    if "InvalidAuthToken" in output or "AuthenticationError" in output:
        return "it wants its token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    if "ersion mismatch" in output:
        versions = _one_line(output.partition("ersion mismatch")[2])
        return f"another version of Ray or Python{versions}"
    if "Could not find any running Ray" in output:
        return "no Ray is running on this machine; start it with ray start, or give HOST:PORT"
    return reason


def _one_line(text: str) -> str:
    """The beginning of Ray's message, without line breaks and tracebacks."""
    return " ".join(text.partition("Traceback")[0].split())[:300]
