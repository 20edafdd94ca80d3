"""``avsent doctor``: whether avsent can work here, and what to do where it cannot."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

from avsent import __version__
from avsent.cli.options import DEBUG, DEVICE, JSON, SESSION
from avsent.cli.outcome import print_table, printing, say
from avsent.errors import InputError

if TYPE_CHECKING:
    from avsent.cli.checkup import Check

SCHEMA = "avsent-doctor/1"
CANNOT_WORK = 1
STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "absent": "dim"}
TIME_LIMIT_S = 600.0
"""For all steps: loading torch from a slow disk takes half a minute."""
ENDINGS = {
    -4: "was ended by SIGILL: made for another processor",
    -9: "was ended by SIGKILL: out of memory?",
}


def doctor(device: str = DEVICE, as_json: bool = JSON, debug: bool = DEBUG) -> None:
    """Tell whether avsent can work here, and what to do where it cannot.

    Checks Python, torch and its device, dlib, the codecs, the models and their hashes, optional
    libraries, memory and free disk, and predicts a synthetic clip. Takes some seconds; nothing is
    sent anywhere. Without a terminal each line holds state, name, what was found and what to do,
    with tabs between them. Exits with 1 if something that predict needs failed.
    """
    from rich.console import Console

    with Console(stderr=True).status("checking"):
        checks = list(run_checks(device, debug=SESSION.debug))
    checks.append(look_at_output(sys.stdout))
    failed = sum(check.state == "failed" for check in checks)
    with printing():
        if as_json:
            plain = [dataclasses.asdict(check) for check in checks]
            about = {"schema": SCHEMA, "version": __version__, "works": not failed}
            # ASCII, which any pipe or terminal takes.
            print(json.dumps({**about, "checks": plain}, indent=1))
        else:
            rows = [(check.state, check.name, check.found, check.advice) for check in checks]
            print_table(rows, styles=STYLES)
    if failed:
        count = f"{failed} of {len(checks)} checks failed"
        say("error", f"{count}: avsent predict cannot work; do what the failed lines say")
        raise typer.Exit(CANNOT_WORK)


def run_checks(device: str, *, debug: bool) -> Iterator[Check]:
    """Take all steps. ``debug``: what libraries print, and tracebacks, go to standard error.

    They run in another process, because a broken native library may end the process that loads
    it: then a new process goes on with the next step.

    Raises:
        InputError: the current folder is gone, where no process can start.
    """
    from avsent.cli.checkup import BLOCKING, STEPS, Check

    try:
        Path.cwd()
    except OSError as error:
        reason = "the current folder is gone; change to another one and try again"
        raise InputError(reason) from error
    # -P and the path: what lies in the current folder is not imported.
    command = [sys.executable, "-P", "-W", "ignore", "-m", "avsent.cli.checkup", device]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    taken, broken = 0, list[str]()
    while taken < len(STEPS):
        try:
            done = subprocess.run(
                [*command, "debug" if debug else "", str(taken), *broken],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=None if debug else subprocess.DEVNULL,
                timeout=TIME_LIMIT_S,
            )
            code, output = done.returncode, done.stdout
            end = ENDINGS.get(code, f"ended with code {code}")
        except subprocess.TimeoutExpired as error:
            output, end = error.stdout or b"", f"gave no answer within {TIME_LIMIT_S:.0f} s"
        answers = [[Check(*check) for check in json.loads(line)] for line in output.splitlines()]
        if taken + len(answers) < len(STEPS):
            answers.append([STEPS[taken + len(answers)].failure(f"the process {end}")])
        for checks in answers:
            if any(check.state in BLOCKING for check in checks):
                broken.append(STEPS[taken].name)
            taken += 1
            yield from checks


def look_at_output(stream: TextIO) -> Check:
    """Whether the stream takes any script. No step, as those run in another process."""
    from avsent.cli.checkup import verdict
    from avsent.result.writers.data import is_utf8

    found = f"{'terminal' if stream.isatty() else 'file or pipe'}, {stream.encoding}"
    advice = "names in other scripts are shown as escapes; set PYTHONUTF8=1"
    return verdict("output", found, is_utf8(stream), advice)
