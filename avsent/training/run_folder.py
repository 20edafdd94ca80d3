"""The folder of a training run: what it was told, what it measured, where it stands.

::

    OUT/config.json                settings, seeds, data and its SHA-256, versions
    OUT/seed-0/metrics.jsonl       every epoch of source and target
    OUT/seed-0/source.safetensors, OUT/seed-0/target.safetensors
                                   state to go on from
    OUT/seed-0/spaces.safetensors  embeddings before and after transfer, if there was any
    OUT/seed-0/evaluation.json     what the finished seed scored
    OUT/seed-0/predictions.csv     on the test part (validation where there is none)
    OUT/seed-0/checkpoint/         its model
    OUT/summary.json               mean and spread over the seeds
    OUT/checkpoint/                the seed that is best on validation, with its card
    OUT/plots/                     its loss curves, confusion, embedding spaces
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from avsent.errors import InputError, OutputError, UsageError
from avsent.training.settings import TrainSettings
from avsent.writers.files import atomic_text

FORMAT = "avsent-run/1"
SPACES_FILE = "spaces.safetensors"
"""Of a seed: its embedding spaces, to draw them anew."""
PACKAGES = ("avsent", "torch", "numpy", "scikit-learn", "librosa", "dlib-bin")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run's folder; made when the run begins."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        """The model to use."""
        return self.path / "checkpoint"

    @property
    def plots(self) -> Path:
        """Pictures of the seed that was chosen."""
        return self.path / "plots"

    def seed(self, seed: int) -> Path:
        """Everything of one seed."""
        return self.path / f"seed-{seed}"

    def spaces(self, seed: int) -> Path:
        """Its embedding spaces."""
        return self.seed(seed) / SPACES_FILE

    def finished(self) -> list[int]:
        """The seeds that are done, in their order."""
        found = (path.parent.name for path in self.path.glob("seed-*/evaluation.json"))
        seeds = (name.removeprefix("seed-") for name in found)
        return sorted(int(seed) for seed in seeds if seed.isdecimal())

    def best(self) -> int:
        """The seed that is best on validation among those that are done.

        Raises:
            InputError: none is, or this is no run.
        """
        config = self.path / "config.json"
        if not config.is_file() or read_json(config).get("format") != FORMAT:
            raise InputError(f"{self.path}: is no training run; give the -o OUT of avsent train")
        values = {seed: self.evaluation(seed) for seed in self.finished()}
        if not values:
            raise InputError(f"{self.path}: no seed is finished yet; run avsent train to its end")
        scored = {seed: float((one or {})["validation_value"]) for seed, one in values.items()}
        return max(scored, key=lambda seed: (scored[seed], -seed))

    def begin(self, told: Mapping[str, Any], *, fresh: bool) -> bool:
        """Make the folder, or take up the run in it; whether there was one.

        Raises:
            UsageError: it holds a run that was told otherwise. OutputError: it cannot be written,
            or holds something else. InputError: its config cannot be read.
        """
        config = self.path / "config.json"
        if config.is_file() and not fresh:
            self._compare(read_json(config), told)
            return True
        self.check()
        try:
            for left in ("summary.json", "checkpoint", "plots"):
                _remove(self.path / left)
            for seed in self.path.glob("seed-*"):
                _remove(seed)
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        write_json(config, {**told, "versions": versions()})
        return False

    def check(self) -> None:
        """Raise OutputError where no run can be kept: something else is there, or no right."""
        if self.path.exists() and not self._may_be_emptied():
            raise OutputError(f"{self.path}: holds other files; give a new folder with -o")
        there = self.path.absolute()
        while not there.exists():
            there = there.parent
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise OutputError(f"{self.path}: cannot be written; give another folder with -o")

    def _may_be_emptied(self) -> bool:
        """Whether there is nothing in it, or a run: a checkpoint has a ``config.json``, too."""
        config = self.path / "config.json"
        if not config.is_file():
            return self.path.is_dir() and not any(self.path.iterdir())
        try:
            return read_json(config).get("format") == FORMAT
        except InputError:  # damaged
            return any(self.path.glob("seed-*"))

    def _compare(self, before: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        """Raise UsageError where the run that is there was told otherwise."""
        for name, old, new in differences(before, json.loads(json.dumps(told))):
            raise UsageError(
                f"{self.path} holds a run with {name} {old!r}, not {new!r}; give another -o, or "
                "--fresh to start again"
            )

    def evaluation(self, seed: int) -> dict[str, Any] | None:
        """What a finished seed scored; None for one that is not finished."""
        path = self.seed(seed) / "evaluation.json"
        return read_json(path) if path.is_file() else None


def told(
    settings: TrainSettings, seeds: Sequence[int], data: Mapping[str, Any], baseline: bool
) -> dict[str, Any]:
    """What decides the result of a run, as ``config.json`` keeps it."""
    return {
        "format": FORMAT,
        "settings": dataclasses.asdict(settings),
        "seeds": list(seeds),
        "baseline": baseline,
        "data": dict(data),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Name, old and new value of every entry of ``now`` that is another one in ``before``."""
    found = []
    for name, new in now.items():
        old = before.get(name)
        if isinstance(new, dict) and isinstance(old, dict):
            found += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append((f"{prefix}{name}", old, new))
    return found


def write_json(path: Path, data: Any) -> None:
    """Write ``data``, whole or not at all. Raises OutputError."""
    with atomic_text(path) as file:
        json.dump(data, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object that :func:`write_json` wrote. Raises InputError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged; restore it, or start again with --fresh") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: damaged; restore it, or start again with --fresh")
    return data


def write_line(file: TextIO, data: Mapping[str, Any]) -> None:
    """One line of JSON, on the disk at once."""
    file.write(json.dumps(data) + "\n")
    file.flush()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
