"""A worker process: loads the model once, does one job after the other, ends with its parent."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Protocol

from avsent.batch.jobs import Job, Work, WorkersError
from avsent.errors import AvsentError


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """No job can be done, and no other worker could do better."""

    error: AvsentError


class DoesJobs(Protocol):
    """What :class:`avsent.batch.doing.Doer` is."""

    def outcome(self, job: Job, send: Callable[[object], None]) -> object: ...


def serve(connection: Connection, work: Work) -> None:
    """The life of a worker process at its end of a pipe, which brings jobs."""

    def load() -> DoesJobs:
        from avsent.batch.doing import Doer

        return Doer(work)

    serve_with(connection, load)


def serve_with(connection: Connection, load: Callable[[], DoesJobs]) -> None:
    """The same with what ``load`` loads."""
    # Ctrl-C reaches every process of a terminal; what to do about it the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        try:
            doer = load()
        except AvsentError as error:
            connection.send(Unfit(error))
            return
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            connection.send(Unfit(WorkersError(f"a worker cannot start: {text}")))
            return
        try:
            _serve(connection, doer)
        except AvsentError as error:
            connection.send(Unfit(error))


def _serve(connection: Connection, doer: DoesJobs) -> None:
    connection.send(Ready())
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        connection.send(doer.outcome(job, connection.send))


def _die_with_parent() -> None:
    """A killed batch must not leave workers behind that go on for hours."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
