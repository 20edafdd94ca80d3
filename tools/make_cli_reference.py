"""Generate ``docs/cli.md``: ``python -m tools.make_cli_reference > docs/cli.md``."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import typer

from avsent.cli.app import PROGRAM, app

HEAD = f"""\
# Command reference

<!-- Made by `python -m tools.make_cli_reference > docs/cli.md`; a test fails when it is stale. -->

Results go to standard output, progress and warnings to standard error. What the outputs hold,
the names of output files and the exit codes: [results](results.md). A name that starts with a
dash is given as `./-name.mp4`, or after a lone `--`. `{PROGRAM} --install-completion` makes the
shell complete commands and options. `NO_COLOR=1` turns colours off.
"""


def reference() -> str:
    """The page as Markdown."""
    root = typer.main.get_command(app)
    sections = [HEAD, *_sections(root, PROGRAM)]
    return "\n".join(sections)


def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """This command and all its subcommands, with full names."""
    yield name, command
    for part, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{name} {part}")


def _sections(root: Any, name: str) -> Iterator[str]:
    for title, command in walk(root, name):
        lines = [f"## {title}", "", f"`{_usage(title, command)}`", ""]
        for paragraph in command.help.strip().split("\n\n"):
            lines += [" ".join(paragraph.split()), ""]
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name == "option"]
        # Typer adds completion options only in some environments; HEAD mentions them.
        options = [p for p in options if "completion" not in p.name]
        if arguments:
            lines += ["| argument | |", "|---|---|", *map(_row, arguments), ""]
        if options:
            lines += ["| option | |", "|---|---|", *map(_row, options), ""]
        yield "\n".join(_wrapped(lines))


def _usage(title: str, command: Any) -> str:
    arguments = [
        f"{p.metavar}..." if p.nargs == -1 else p.metavar
        for p in command.params
        if p.param_type_name == "argument"
    ]
    command_part = ["COMMAND"] if getattr(command, "commands", None) else []
    return " ".join([title, "[OPTIONS]", *command_part, *arguments])


def _row(parameter: Any) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.opts)
    if parameter.param_type_name == "argument":
        names = f"`{parameter.metavar}`"
    elif parameter.metavar:
        names += f" `{parameter.metavar}`"
    default = parameter.default
    value = default.value if isinstance(default, Enum) else default
    shown = isinstance(value, (str, int, float, Path)) and not isinstance(value, bool)
    text = f"{parameter.help} Default: `{value}`." if shown else parameter.help
    # Escape bars, which would end the cell even in code, and stars, which would be emphasis.
    text = text.replace("*", r"\*")
    return f"| {names.replace('|', chr(92) + '|')} | {text} |"


def _wrapped(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("|") or len(line) <= 100:
            yield line
        else:
            yield from textwrap.wrap(line, 100)


if __name__ == "__main__":
    print(reference(), end="")
