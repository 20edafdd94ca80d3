"""All checks, in a process of their own, as a broken native library may end the process that loads
it: then another process goes on with the next step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from avsent.cli.checkup.checks import STEPS, Check, is_broken
from avsent.errors import InputError

STEP_LIMIT_S = 180.0
"""A step that takes longer hangs: loading torch from a slow disk takes half a minute."""


def checkup(
    device: str = "auto",
    *,
    debug: bool = False,
    on_step: Callable[[str], None] = lambda name: None,
) -> Iterator[Check]:
    """Take all steps, where predictions are to run on ``device``.

    ``debug``: tracebacks, and what libraries print, go to standard error; ``on_step``: called with
    the name of each step before it is taken.

    Raises:
        InputError: the current folder is gone, where no process can start.
    """
    try:
        Path.cwd()
    except OSError as error:
        reason = "the current folder is gone; change to another one and try again"
        raise InputError(reason) from error
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller; a pipe that got its number would be printed to
            os.open(os.devnull, os.O_RDWR)
    context = multiprocessing.get_context("spawn")
    broken: list[str] = []
    process = None
    try:
        for place, step in enumerate(STEPS):
            on_step(step.name)
            if process is None:
                answers, theirs = context.Pipe(duplex=False)
                task = (theirs, device, place, tuple(broken), debug)
                process = context.Process(target=_take_steps, args=task, daemon=True)
                process.start()
                theirs.close()  # so that the end of the process ends what can be read
            reason = f"no answer within {STEP_LIMIT_S:.0f} s"
            try:
                checks = answers.recv() if answers.poll(STEP_LIMIT_S) else None
            except (EOFError, OSError):
                process.join()
                checks, reason = None, _ending(process.exitcode)
            if checks is None:
                checks = [step.failure(reason)]
                process.kill()
                process.join()
                process = None
            if is_broken(checks):
                broken.append(step.name)
            yield from checks
    finally:
        if process is not None:
            process.kill()
            process.join()


def _ending(code: int | None) -> str:
    """Why the process ended."""
    if code is None or code >= 0:
        return f"the process ended by itself, with code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    cause = {"SIGILL": ": made for another processor", "SIGKILL": ": out of memory?"}.get(name, "")
    return f"the process was ended by {name}{cause}"


def _take_steps(
    answers: Connection, device: str, first: int, broken: Sequence[str], debug: bool
) -> None:
    """In the other process: take the steps from ``first`` on, and send the checks of each."""
    # Nothing that libraries print, also from C, may get between the results.
    os.dup2(2 if debug else os.open(os.devnull, os.O_WRONLY), 1)
    if not debug:
        os.dup2(1, 2)
        warnings.simplefilter("ignore")
    broken = list(broken)
    for step in STEPS[first:]:
        checks = step.take(device, broken, debug=debug)
        if is_broken(checks):
            broken.append(step.name)
        answers.send(checks)
