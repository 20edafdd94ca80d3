"""The problems of a corpus, printed: a table on a terminal, else one line with tabs for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from avsent.data.problem import Problem


class ProblemFormat(StrEnum):
    """How problems are printed."""

    table = "table"
    json = "json"


def print_problems(problems: Sequence[Problem], format: ProblemFormat, file: TextIO) -> None:
    """Print them; nothing, or an empty list of JSON, where there are none."""
    if format is ProblemFormat.json:
        # ASCII: any text comes through any pipe or terminal.
        json.dump([asdict(problem) for problem in problems], file, indent=1)
        file.write("\n")
    elif file.isatty():
        _print_table(problems, file)
    else:
        from avsent.writers.text import one_line

        for problem in problems:
            cells = (problem.where, problem.kind, problem.detail)
            file.write("\t".join(map(one_line, cells)) + "\n")


def _print_table(problems: Sequence[Problem], file: TextIO) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from avsent.writers.text import one_line

    if not problems:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("where", overflow="fold", max_width=40)
    table.add_column("kind", no_wrap=True)
    table.add_column("what", overflow="fold")
    for problem in problems:
        style = "dim" if problem.is_note else "yellow"
        kind = Text(problem.kind, style=style)
        table.add_row(Text(one_line(problem.where)), kind, Text(one_line(problem.detail)))
    Console(file=file, markup=False, emoji=False, highlight=False).print(table)
