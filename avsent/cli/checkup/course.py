"""All looks in their order, taken by a process of its own: a broken native library ends the
process that loads it, and a doctor that dies of the illness helps nobody."""

from __future__ import annotations

import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from avsent.cli.checkup import libraries, media, surroundings, working
from avsent.cli.checkup.check import Check, Step, is_broken
from avsent.errors import InputError

PATIENCE_S = 180.0
"""A look that takes longer hangs: loading torch from a slow disk takes half a minute."""


def steps_for(device: str) -> list[Step]:
    """Everything to look at where predictions are to run on ``device``."""

    def library(module: str, *names: str, needed: bool = True) -> Step:
        look = partial(libraries.look_at_library, module, *names)
        return Step(names[0], look, _reinstall(names[0]), needed)

    vision = ("numpy", "opencv-python-headless")
    network = ("numpy", "torch", "safetensors")
    wrong_device = "give --device cpu, or mend the driver or torch"
    bug = "run again with --debug for the traceback, and report it"
    return [
        Step("avsent", surroundings.look_at_avsent, bug),
        Step("Python", surroundings.look_at_python, bug),
        Step("cores, memory", surroundings.look_at_machine, bug, needed=False),
        Step("current folder", surroundings.look_at_disk, "go to another folder", needed=False),
        Step(
            "temporary folder",
            surroundings.look_at_temporary_folder,
            "set TMPDIR to a folder that can be written",
            needed=False,
        ),
        library("numpy", "numpy"),
        Step("torch", libraries.look_at_torch, _reinstall("torch")),
        Step("device", partial(libraries.look_at_device, device), wrong_device, needs=("torch",)),
        library("safetensors", "safetensors"),
        Step("av", media.look_at_pyav, _reinstall("av")),
        Step("decoders", media.look_at_codecs, _reinstall("av"), needs=("av",)),
        Step("round trip", media.look_at_round_trip, _reinstall("av"), needs=("av", "numpy")),
        Step(
            "opencv-python-headless",
            libraries.look_at_opencv,
            _reinstall("opencv-python-headless", "<5"),
            needs=("numpy",),
        ),
        Step("dlib-bin", libraries.look_at_dlib, _reinstall("dlib-bin")),
        Step("face models", working.look_at_face_models, bug, needs=vision),
        Step(
            "face detection",
            working.look_for_faces,
            _reinstall("dlib-bin", "", "face_recognition_models"),
            needs=(*vision, "dlib-bin", "face models"),
        ),
        Step("librosa", libraries.look_at_librosa, _reinstall("librosa"), needs=("numpy", "av")),
        Step(
            "silero-vad",
            working.look_for_speech,
            f"speech is told by its loudness instead, less well; {_reinstall('silero-vad')}",
            needed=False,
            needs=("numpy", "torch", "av"),
        ),
        Step("models", working.look_at_models, "install avsent again", needs=network),
        Step(
            "prediction",
            partial(working.look_at_prediction, device),
            bug,
            needs=(
                *(*network, *vision, "device", "av", "round trip", "librosa"),
                *("dlib-bin", "face models", "face detection", "models"),
            ),
        ),
        library("matplotlib", "matplotlib", needed=False),
        library("sklearn", "scikit-learn", needed=False),
        library("filelock", "filelock", needed=False),
        Step("extras", libraries.look_at_options, bug, needed=False),
    ]


def _reinstall(name: str, range_: str = "", *more: str) -> str:
    wanted = f"'{name}{range_}'" if range_ else name
    return f"pip install --force-reinstall {' '.join([wanted, *more])}"


def checkup(
    device: str = "auto",
    *,
    debug: bool = False,
    on_step: Callable[[str], None] = lambda name: None,
) -> Iterator[Check]:
    """Take all looks, in a process of their own; where that one dies, another goes on.

    ``debug``: what the libraries say, and tracebacks, go to standard error; ``on_step``: called
    with the name of what is looked at next.

    Raises:
        InputError: the current folder is gone, where no process can begin.
    """
    _make_room()
    steps = steps_for(device)
    broken: list[str] = []
    place = 0
    while place < len(steps):
        with _another(device, place, broken, debug) as (process, answers):
            alive = True
            while alive and place < len(steps):
                step = steps[place]
                place += 1
                on_step(step.name)
                checks, alive = _answer(answers, process, step)
                if is_broken(checks):
                    broken.append(step.name)
                yield from checks


def _make_room() -> None:
    """See to what a new process cannot do without."""
    try:
        Path.cwd()
    except OSError as error:
        raise InputError(
            "the current folder is gone; change to another one and try again"
        ) from error
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # Closed by the caller. The pipe to the other process must not get its number, which
            # libraries print to.
            os.open(os.devnull, os.O_RDWR)


@contextmanager
def _another(
    device: str, first: int, broken: Sequence[str], debug: bool
) -> Iterator[tuple[BaseProcess, Connection]]:
    """A process that takes the steps from ``first`` on, and what it answers."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, device, first, tuple(broken), debug)
    process = context.Process(target=_take, args=arguments, daemon=True)
    with ours:
        with theirs:  # in the other process alone, so that its end is the end of what it sends
            process.start()
        try:
            yield process, ours
        finally:
            process.kill()
            process.join()


def _answer(answers: Connection, process: BaseProcess, step: Step) -> tuple[Sequence[Check], bool]:
    """What came of a step, or how the process ended; and whether it is there for the next."""
    if not answers.poll(PATIENCE_S):
        return [step.wrong(f"no answer within {PATIENCE_S:.0f} s")], False
    try:
        checks: list[Check] = answers.recv()
    except (EOFError, OSError):
        process.join()
        return [step.wrong(_ending(process.exitcode))], False
    return checks, True


def _ending(code: int | None) -> str:
    """Why a process ended that should not have."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        why = {"SIGILL": ": made for another processor", "SIGKILL": ": out of memory?"}
        return f"the process was ended by {name}{why.get(name, '')}"
    return f"the process ended by itself, with code {code}"


def _take(
    theirs: Connection, device: str, first: int, broken: tuple[str, ...], debug: bool
) -> None:
    """The other process: take the steps from ``first`` on, and send what comes of each."""
    # What libraries print, also from C, is no business of the user, and never a result.
    os.dup2(2 if debug else os.open(os.devnull, os.O_WRONLY), 1)
    if not debug:
        os.dup2(1, 2)
        warnings.simplefilter("ignore")
    known = list(broken)
    for step in steps_for(device)[first:]:
        checks = step.take(known, debug=debug)
        if is_broken(checks):
            known.append(step.name)
        theirs.send(checks)
