"""Workers of the local engine that do what the name of their job says, instead of media.

The functions are found by name in the processes the engine starts, which know this folder.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from avsent.batch.jobs import Answer, Done, Failed, Job, Moved, Work
from avsent.batch.worker import serve_with
from avsent.errors import CheckpointError

BIG = 3_000_000
"""Bytes of an answer that no pipe takes at once."""


class Scripted:
    """``kill-…`` kills its worker each time, ``kill1-…`` the first time; the marks of how often
    which job was tried, and where, lie beside the file."""

    def outcome(self, job: Job, send: Callable[[object], None]) -> object:
        tries = len(list(job.path.parent.glob(f"{job.path.name}.try*")))
        mark = job.path.with_name(f"{job.path.name}.try{tries + 1}")
        mark.write_text(str(os.getpid()))
        match job.name.split("-")[0]:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill1" if not tries:
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                os.kill(os.getpid(), signal.SIGTERM)
            case "exit":
                os._exit(7)
            case "wait":
                time.sleep(3)
            case "sleep":
                time.sleep(3600)
            case "fail":
                return Failed(job, f"{job.name}: not media", 3, 0.5)
            case "unfit":
                raise CheckpointError("the model is damaged; restore it")
            case "same":
                return Done(job, Answer(job.known_sha256 or ""), 0.1)
            case "big":
                return Done(job, answer(job, os.urandom(BIG)), 0.1)
            case "move":
                send(Moved(job, 1.25))
        return Done(job, answer(job, job.name.encode("utf-8", "surrogateescape")), 0.25)


def answer(job: Job, result: bytes) -> Answer:
    """An answer for a file of three seconds with two utterances."""
    return Answer(f"content of {job.number}", 3.0, 2, result, '[["a row"]]')


def scripted(connection: Connection, work: Work) -> None:
    """A worker as the engine starts it; ``work.checkpoint`` tells how it loads its model."""

    def load() -> Scripted:
        if work.checkpoint == "stillborn":
            os._exit(3)
        if work.checkpoint == "unfit":
            raise CheckpointError("unknown checkpoint 'unfit'")
        if work.checkpoint == "broken":
            raise ImportError("no module named torch")
        if work.checkpoint.startswith("second:"):  # a file: who finds it stays, others end
            try:
                Path(work.checkpoint.partition(":")[2]).unlink()
            except FileNotFoundError:
                time.sleep(1.0)  # so that the first one is at work by then
                os._exit(3)
            return Scripted()
        if work.checkpoint != "default":  # a file: the first that comes to it ends
            try:
                Path(work.checkpoint).unlink()
            except FileNotFoundError:
                return Scripted()
            os._exit(3)
        return Scripted()

    serve_with(connection, load)
