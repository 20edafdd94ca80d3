"""Which distributions are installed, and whether their versions are those avsent asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import metadata

_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)")
_CLAUSE = re.compile(r"\s*(>=|<)\s*(\d+(?:\.\d+)*)\s*")


def installed(names: Iterable[str]) -> dict[str, str]:
    """Those of the distributions ``names`` that are installed, and their versions."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def asked_for(name: str) -> str:
    """The range of versions that avsent asks of the distribution ``name``: ``>=4.10,<5``; empty
    where it asks for none, or was not installed itself (a checkout run by ``cli.py``)."""
    try:
        requirements = metadata.requires("avsent") or []
    except metadata.PackageNotFoundError:
        return ""
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and _plain(match[1]) == _plain(name) and "extra ==" not in requirement:
            return ",".join(sorted(match[2].strip().split(","), reverse=True))
    return ""


def fits(version: str, wanted: str) -> bool:
    """Whether ``version`` lies in a range such as ``>=4.10,<5``; clauses of other kinds count as
    kept."""
    for clause in wanted.split(","):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            continue
        ours, bound = _padded(_numbers(version), _numbers(match[2]))
        if (ours < bound) if match[1] == ">=" else (ours >= bound):
            return False
    return True


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> list[int]:
    """The numbers a version begins with: ``20.0.1.post1`` → 20, 0, 1."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return [int(part) for part in match[0].split(".")] if match else []


def _padded(first: Sequence[int], second: Sequence[int]) -> tuple[list[int], list[int]]:
    length = max(len(first), len(second))
    return [*first, *[0] * (length - len(first))], [*second, *[0] * (length - len(second))]
