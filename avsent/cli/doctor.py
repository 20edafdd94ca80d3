"""``avsent doctor``: whether avsent can work here, and what to do where it cannot."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from avsent import __version__
from avsent.cli.options import SESSION, DebugOption, DeviceOption
from avsent.cli.outcome import printing, say

if TYPE_CHECKING:
    from avsent.cli.checkup.check import Check

SCHEMA = "avsent-doctor/1"
CANNOT_WORK = 1


def doctor(
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: DebugOption = False,
) -> None:
    """Tell whether avsent can work here, and what to do where it cannot.

    Looks at Python, torch and its device, dlib, the codecs, the models and their hashes, optional
    parts and free disk, and judges a made-up clip. Takes some seconds; nothing is sent anywhere.
    Without a terminal each line holds state, name, what was found and what to do, with tabs
    between them. Ends with code 1 where something failed that predict needs.
    """
    from rich.console import Console

    from avsent.cli.checkup.check import State
    from avsent.cli.checkup.course import checkup
    from avsent.cli.checkup.surroundings import look_at_terminal

    with Console(stderr=True, markup=False).status("looking") as status:
        checks = list(
            checkup(device, debug=SESSION.debug, on_step=lambda name: status.update(name))
        )
    checks.append(look_at_terminal(sys.stdout))
    failed = sum(check.state is State.failed for check in checks)
    with printing():
        if as_json:
            _print_json(checks, works=not failed)
        elif sys.stdout.isatty():
            _print_table(checks, sys.stdout)
        else:
            _print_lines(checks, sys.stdout)
    if failed:
        count = f"{failed} of {len(checks)} checks failed"
        say("error", f"{count}: avsent predict cannot work; do what the failed lines say")
        raise typer.Exit(CANNOT_WORK)


def _print_json(checks: Sequence[Check], *, works: bool) -> None:
    found = [dataclasses.asdict(check) for check in checks]
    plain = {"schema": SCHEMA, "version": __version__, "works": works, "checks": found}
    # ASCII: any text comes through any pipe or terminal.
    print(json.dumps(plain, indent=1))


def _print_lines(checks: Sequence[Check], file: TextIO) -> None:
    from avsent.text import one_line

    for check in checks:
        cells = (check.state, check.name, check.found, check.advice)
        print("\t".join(map(one_line, cells)).rstrip("\t"), file=file)


def _print_table(checks: Sequence[Check], file: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from avsent.result.writers.base import is_utf8
    from avsent.text import one_line

    styles = {"ok": "green", "warning": "yellow", "failed": "bold red"}
    arrow = "→" if is_utf8(file) else "->"
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        style = styles.get(check.state, "dim")
        found = Text(one_line(check.found))
        if check.advice:
            found.append(f"\n{arrow} {one_line(check.advice)}", style=style)
        table.add_row(Text(check.state, style=style), Text(one_line(check.name)), found)
    Console(file=file, markup=False, emoji=False, highlight=False).print(table)
