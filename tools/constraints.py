"""``make constraints``: pin the installed versions of all dependencies in ``constraints.txt``.

Covers the dependencies in ``pyproject.toml``, all extras and the build system, and their own
dependencies. Pins with a marker (``; python_version >= "3.13"``) are for another Python version and
are kept, as are comments. ``--check`` writes nothing and exits with 1 if the file would change.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints.txt"
OF_TORCH = ("nvidia-", "cuda-", "triton", "pytorch-triton")
"""torch for GPUs pins these packages itself; torch for CPUs does not need them."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of the file; ``comments``: the lines above it; ``marker``: its text."""

    name: str
    version: str
    marker: str = ""
    comments: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The normalised name, as package indexes compare it."""
        return canonicalize_name(self.name)

    @property
    def line(self) -> str:
        """The line in the file."""
        return f"{self.name}=={self.version}" + (f" ; {self.marker}" if self.marker else "")


def asked_for(pyproject: Path = ROOT / "pyproject.toml") -> list[Requirement]:
    """avsent's dependencies, including all extras and the build system."""
    told = tomllib.loads(pyproject.read_text("utf-8"))
    project = told["project"]
    extras = project.get("optional-dependencies", {}).values()
    lines = [*project["dependencies"], *told["build-system"]["requires"]]
    return [Requirement(line) for line in (*lines, *(line for extra in extras for line in extra))]


def installed(roots: Iterable[Requirement]) -> dict[str, Pin]:
    """Pins of the installed packages among ``roots`` and their dependencies, by key.

    Versions omit the local part (``+cpu``), which names a build of a version.
    """
    found: dict[str, Pin] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, extra) for root in roots for extra in ("", *root.extras)]
    while waiting:
        wanted, extra = waiting.pop()
        key = canonicalize_name(wanted.name)
        if (key, extra) in seen or key.startswith(OF_TORCH):
            continue
        seen.add((key, extra))
        try:
            there = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        if key != "pip":  # part of the virtual environment
            found[key] = Pin(there.metadata["Name"], Version(there.version).public)
        for need in map(Requirement, there.requires or ()):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(need, other) for other in ("", *need.extras)]
    return found


def read(text: str) -> tuple[list[str], list[Pin]]:
    """The head of the file (comments up to the first empty line) and its pins."""
    head, _, rest = text.partition("\n\n")
    return head.splitlines(), list(_pins(rest))


def _pins(text: str) -> Iterator[Pin]:
    comments: list[str] = []
    for line in text.splitlines():
        if line.startswith("#"):
            comments.append(line)
        elif line.strip():
            match = re.fullmatch(r"([\w.-]+)==([^\s;]+)(?:\s*;\s*(.+))?", line)
            if match is None:
                raise ValueError(f"constraints.txt: no pin: {line}")
            yield Pin(match[1], match[2], match[3] or "", tuple(comments))
            comments = []


def renewed(text: str, there: Mapping[str, Pin]) -> str:
    """The text of the file with the versions of ``there``."""
    head, old = read(text)
    comments = {pin.key: pin.comments for pin in old if not pin.marker}
    pins = [pin for pin in old if pin.marker and pin.key not in there]
    for key, pin in there.items():
        pins.append(Pin(pin.name, pin.version, "", comments.get(key, ())))
    lines = [
        line for pin in sorted(pins, key=lambda p: p.key) for line in (*pin.comments, pin.line)
    ]
    return "\n".join([*head, "", *lines]) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the file; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    roots = asked_for()
    there = installed(roots)
    lacking = sorted({r.name for r in roots if canonicalize_name(r.name) not in there})
    if lacking:
        print(f"not installed: {', '.join(lacking)}; run make dev first", file=sys.stderr)
        return 1
    before = FILE.read_text("utf-8")
    after = renewed(before, there)
    if options.check:
        return int(after != before)
    part = FILE.with_suffix(".part")
    part.write_text(after, encoding="utf-8")
    os.replace(part, FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
