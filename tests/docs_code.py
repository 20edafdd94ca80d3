"""The blocks of code on the pages of the documentation, and what the pages say about them.

A comment right above a block tells what to do with it; it is not seen on the page:

- ``<!-- not run: REASON -->``: nothing;
- ``<!-- not run where TEXT: REASON -->``: all of its lines but those that hold TEXT;
- ``<!-- file: NAME -->``: keep it as a file, for what follows on the page.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT

COMMANDS, PYTHON = "sh", "python"
SHOWN = {"text", "json"}
"""Languages of blocks that are there to be read."""

_FENCE = re.compile(r"( *)(```+|~~~+) *(\w*)")
_COMMENT = re.compile(r"<!-- (not run(?: where (?P<where>\S+))?|file): +(?P<value>\S.*?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``lines`` begin below ``line`` of the page, from 1."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    skip: str | None = None
    """Of lines that hold this nothing is run; all lines hold the empty text."""
    file: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def commands(self) -> list[list[str]]:
        """The words of each command; comments and what is not to be run are left out.

        Fails where a line is a command of something else than avsent.
        """
        found = []
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words or (self.skip is not None and self.skip in line):
                continue
            assert words[0] == "avsent", f"{self.place}: mark what cannot be run: {line}"
            found.append(words[1:])
        return found


def pages() -> list[Path]:
    """README, and the pages of the documentation; measurements are written by their commands."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        if fence := _FENCE.fullmatch(lines[number]):
            indent, mark, language = fence.groups()
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == mark)
            inside = tuple(line.removeprefix(indent) for line in lines[number + 1 : end])
            skip, file = _said_above(lines[:number])
            if not language and inside and inside[0].startswith("avsent "):
                language = COMMANDS
            yield Block(page, number + 1, language, inside, skip, file)
            number = end
        number += 1


def _said_above(lines: list[str]) -> tuple[str | None, str | None]:
    comment = _COMMENT.fullmatch(lines[-1].strip()) if lines else None
    if comment is None:
        return None, None
    if comment[1] == "file":
        return None, comment["value"]
    return comment["where"] or "", None
