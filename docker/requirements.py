"""Print avsent's requirements, one per line, for ``pip install -r``.

So the image's layer of libraries depends only on ``pyproject.toml`` and ``constraints.txt``, not on
avsent's code, and the CUDA image can omit ``dlib-bin``, which conflicts with the dlib built there.

    python docker/requirements.py pyproject.toml --extras parquet,ray --without dlib-bin
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def normal(name: str) -> str:
    """The normalised name of a package, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(
    project: dict[str, Any], extras: Collection[str] = (), without: Collection[str] = ()
) -> Iterator[str]:
    """The requirements; raises SystemExit for an unknown extra or package."""
    known = project.get("optional-dependencies", {})
    if unknown := sorted(set(extras) - set(known)):
        raise SystemExit(f"no such extra: {', '.join(unknown)}; there are {', '.join(known)}")
    lines = [*project["dependencies"], *(line for extra in extras for line in known[extra])]
    names = {line: normal(_NAME.match(line)[0]) for line in lines}  # type: ignore[index]
    left_out = {normal(name) for name in without}
    if missing := sorted(left_out - set(names.values())):
        raise SystemExit(f"not required, so it cannot be left out: {', '.join(missing)}")
    return (line for line in lines if names[line] not in left_out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pyproject", type=Path)
    parser.add_argument("--extras", default="", help="names separated by commas")
    parser.add_argument("--without", action="append", default=[], help="a package to leave out")
    given = parser.parse_args()
    project = tomllib.loads(given.pyproject.read_text(encoding="utf-8"))["project"]
    extras = [extra for extra in given.extras.split(",") if extra]
    print("\n".join(requirements(project, extras, given.without)))


if __name__ == "__main__":
    main()
