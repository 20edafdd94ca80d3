"""The connection to a Ray cluster, made without a hang and without a word on the terminal."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from avsent.batch.engines.base import Work, WorkersError
from avsent.errors import UsageError

KNOCK_LIMIT_S = 10.0
"""How long a host may take to answer at all."""
TRIAL_LIMIT_S = 60.0
"""How long a cluster may take to let a program in."""
STORE_BYTES = 200_000_000
"""Of shared memory for a local Ray: results of a few files, each far below a megabyte."""
GPU_SHARE = 0.25
"""Of a GPU, for each worker: a worker uses little of its time, and 1 to 2 GB of its memory."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # or `uv run` would send the current folder to all nodes
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or there is a warning about its future
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # those of actors that were ended on purpose
}
_TRIAL = "import sys, ray; ray.init(address=sys.argv[1], log_to_driver=False)"


@dataclass(frozen=True, slots=True)
class Node:
    """A living node and all that it has, free or not."""

    id: str
    cpus: float
    gpus: float


class Cluster:
    """A connection to the cluster at ``address``, or to a Ray started on this machine alone.

    ``cpus``: that such a Ray of our own may give away. A Ray that this process is connected to
    already is used as it is, and left so.

    Raises:
        UsageError: Ray is not installed, or the address is of a kind that cannot be used.
        WorkersError: the cluster is out of reach.
    """

    def __init__(self, address: str | None, *, cpus: int = 1, debug: bool = False) -> None:
        if find_spec("ray") is None:
            raise UsageError("--engine ray needs Ray; install it with pip install 'avsent[ray]'")
        self._before: dict[str, str | None] = {}
        self._set(_QUIET)
        if address is None:
            self._lock()
        import ray

        self.ray: Any = ray
        self._ours = not self.ray.is_initialized()
        self._unhush: Callable[[], None] = lambda: None
        try:
            if self._ours:
                self._unhush = _hush(debug)
                self._connect(address, cpus, debug)
        except BaseException:
            self.close()
            raise

    def nodes(self) -> list[Node]:
        """Those that are alive."""
        return [
            Node(
                node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)
            )
            for node in self.ray.nodes()
            if node["Alive"]
        ]

    def close(self) -> None:
        """End the connection, and Ray itself where it was started here; may be called again."""
        if self._ours and self.ray.is_initialized():
            self.ray.shutdown()
        self._ours = False
        self._unhush()
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before.clear()

    def _connect(self, address: str | None, cpus: int, debug: bool) -> None:
        settings: dict[str, Any] = {
            "log_to_driver": debug,
            "logging_level": logging.INFO if debug else logging.ERROR,
        }
        if address is None:
            settings |= {
                "address": "local",
                "num_cpus": cpus,
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
            }
        else:
            settings["address"] = address
            _try(address)
        in_main_thread = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM) if in_main_thread else None
        try:
            self.ray.init(**settings)
        except Exception as error:
            where = "Ray cannot be started here" if address is None else _where(address)
            raise WorkersError(f"{where}: {in_a_line(str(error))}") from error
        finally:
            if in_main_thread:  # Ray puts one of its own
                signal.signal(signal.SIGTERM, handler)

    def _lock(self) -> None:
        """Nobody else may use a Ray of our own, although it listens on the network.

        By itself Ray would make a token too, but keep it in the user's home folder. It reads
        these when it is imported.
        """
        if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
            self._set({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})

    def _set(self, variables: Mapping[str, str]) -> None:
        """Environment variables; those of the user stay as they are."""
        for name, value in variables.items():
            if name not in os.environ:
                self._before[name] = None
                os.environ[name] = value


def resources_of(work: Work, nodes: list[Node]) -> dict[str, float]:
    """What a worker asks Ray for: ``num_cpus`` and ``num_gpus``."""
    wants_gpu = work.device != "cpu" and any(node.gpus > 0 for node in nodes)
    return {"num_cpus": work.threads, "num_gpus": GPU_SHARE if wants_gpu else 0}


def fitting(nodes: list[Node], resources: Mapping[str, float]) -> int:
    """How many workers there is room for; each must fit into one node."""
    count = 0
    for node in nodes:
        room = node.cpus // resources["num_cpus"]
        if resources["num_gpus"]:
            room = min(room, node.gpus // resources["num_gpus"])
        count += int(room)
    return count


def _hush(debug: bool) -> Callable[[], None]:
    """Keep what Ray prints of lost workers from standard output, where results may go.

    ``log_to_driver`` does not, and there is no other setting. Returns what undoes it.
    """
    from ray._private import worker

    printing = getattr(worker, "print_to_stdstream", None)
    if printing is None:
        return lambda: None

    def instead(data: dict[str, Any], *arguments: Any, **options: Any) -> None:
        if debug:
            printing({**data, "is_err": True}, *arguments, **options)

    def undo() -> None:
        worker.print_to_stdstream = printing

    worker.print_to_stdstream = instead
    return undo


def _try(address: str) -> None:
    """Raises WorkersError where a program cannot join the cluster, UsageError for ``ray://``.

    Ray itself would go on trying for minutes, and could end this process: a child goes first.
    """
    if "://" in address:
        raise UsageError(
            f"--ray-address {address}: start the command on a node of the cluster, and give "
            "'auto' or HOST:PORT"
        )
    if address not in ("auto", "local"):
        _knock(address)
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TRIAL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.output or b"").decode("utf-8", "replace")
        reason = _reason(said) or f"no answer in {TRIAL_LIMIT_S:.0f} s; is it Ray that is there?"
        raise WorkersError(f"{_where(address)}: {reason}") from None
    if trial.returncode != 0:
        said = trial.stdout.decode("utf-8", "replace")
        lines = [line for line in said.splitlines() if line.strip()]
        reason = _reason(said) or (in_a_line(lines[-1]) if lines else "it closed the door")
        raise WorkersError(f"{_where(address)}: {reason}")


def _knock(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--ray-address {address}: give HOST:PORT, or 'auto'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_LIMIT_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise WorkersError(f"{_where(address)}: {why}; is it running?") from error


def _reason(said: str) -> str | None:
    """The reasons that are worth words of our own."""
    if "InvalidAuthToken" in said or "AuthenticationError" in said:
        return "it wants its token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    if "ersion mismatch" in said:
        found = said[said.index("ersion mismatch") + len("ersion mismatch") :]
        return "another version of Ray or Python" + in_a_line(found)
    if "Could not find any running Ray" in said:
        return "no Ray is running on this machine; start it with ray start, or give HOST:PORT"
    return None


def _where(address: str) -> str:
    return f"cannot reach the Ray cluster at {address}"


def in_a_line(text: str) -> str:
    """The beginning of what Ray says, without line breaks and tracebacks."""
    return " ".join(text.partition("Traceback")[0].split())[:300]
