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
    from avsent.cli.checkup.checks import Check

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

    from avsent.cli.checkup.checks import look_at_terminal
    from avsent.cli.checkup.run import checkup
    from avsent.text import one_line

    with Console(stderr=True, markup=False).status("looking") as status:
        checks = list(checkup(device, debug=SESSION.debug, on_step=status.update))
    checks.append(look_at_terminal(sys.stdout))
    failed = sum(check.state == "failed" for check in checks)
    with printing():
        if as_json:
            found = [dataclasses.asdict(check) for check in checks]
            about = {"schema": SCHEMA, "version": __version__, "works": not failed}
            # ASCII, which any pipe or terminal takes.
            print(json.dumps({**about, "checks": found}, indent=1))
        elif sys.stdout.isatty():
            print_table(checks, sys.stdout)
        else:
            for check in checks:
                cells = (check.state, check.name, check.found, check.advice)
                print("\t".join(map(one_line, cells)).rstrip("\t"))
    if failed:
        count = f"{failed} of {len(checks)} checks failed"
        say("error", f"{count}: avsent predict cannot work; do what the failed lines say")
        raise typer.Exit(CANNOT_WORK)


def print_table(checks: Sequence[Check], file: TextIO) -> None:
    """For people: advice below what was found."""
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
