"""What every check needs: the image, folders to mount, assertions."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers import Ended, Image, Mount, Runner
from jsonschema import Draft202012Validator

PROJECT = Path(__file__).resolve().parents[1]
SCHEMA = json.loads((PROJECT / "docs" / "result.schema.json").read_text("utf-8"))


@dataclass
class Trial:
    """The image, a way to run it, and folders to mount."""

    image: Image
    runner: Runner
    work: Path
    clips: list[Path]

    def inputs(self, name: str, *files: Path) -> Mount:
        """A read-only folder /in with copies of ``files``."""
        folder = self.work / f"{name}-in"
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder / file.name.lstrip("-"))
        return Mount(folder, "/in")

    def outputs(self, name: str, user: str) -> Mount:
        """An empty folder /out that belongs to ``user``."""
        folder = self.work / f"{name}-out"
        folder.mkdir(mode=0o700)
        shutil.chown(folder, *map(int, user.split(":")))
        return Mount(folder, "/out", writable=True)


def expect(condition: bool, told: object) -> None:
    """Like assert, but also active with ``python -O``."""
    if not condition:
        raise AssertionError(str(told))


def ended_with(ended: Ended, code: int) -> None:
    expect(ended.code == code, f"exit code {ended.code}, not {code}: {ended.out}{ended.err}")


def valid(text: str) -> dict[str, Any]:
    """The result in ``text``, validated against the schema."""
    result: dict[str, Any] = json.loads(text)
    Draft202012Validator(SCHEMA).validate(result)
    return result


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def state_of(root: Path) -> dict[str, tuple[int, int, int]]:
    """Size, modification time and mode of everything below ``root``."""
    found = {}
    for path in root.rglob("*"):
        about = path.lstat()
        found[str(path.relative_to(root))] = (about.st_size, about.st_mtime_ns, about.st_mode)
    return found
