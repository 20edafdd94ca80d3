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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from avsent.errors import InputError, OutputError, UsageError
from avsent.files import TEMPORARY, atomic_text
from avsent.labels import LabelSet
from avsent.model.folders import RUN_FORMAT
from avsent.schema import read_object
from avsent.training.metrics import TITLES
from avsent.training.settings import TrainSettings

MODELS = ("target", "no-transfer", "source")
"""Entries of a seed's ``evaluation.json`` that hold figures."""


def summarised(evaluations: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and sample deviation over seeds of every figure, by model and part; the best seed.

    The best one is chosen on validation alone. The deviation is None for a single seed.
    """
    seeds = sorted(evaluations)
    values = {seed: float(evaluations[seed]["validation_value"]) for seed in seeds}
    summary: dict[str, Any] = {
        "seeds": seeds,
        "best_seed": max(seeds, key=lambda seed: (values[seed], -seed)),
        "best_epochs": [int(evaluations[seed]["best_epoch"]) for seed in seeds],
        "parts": evaluations[seeds[0]]["parts"],
    }
    for model in MODELS:
        if not all(model in evaluations[seed] for seed in seeds):
            continue
        summary[model] = {
            part: _over_seeds([evaluations[seed][model][part] for seed in seeds])
            for part in ("valid", "test")
            if all(part in evaluations[seed][model] for seed in seeds)
        }
    best = evaluations[summary["best_seed"]]
    summary["chosen"] = best["target"]
    return summary


def _over_seeds(found: list[Mapping[str, Any]]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for name in found[0]["metrics"]:
        values = [one["metrics"][name] for one in found]
        if any(value is None for value in values):
            figures[name] = None
            continue
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        baseline = [one["baseline"].get(name) for one in found]
        known = [value for value in baseline if value is not None]
        figures[name] = {
            "mean": float(np.mean(values)),
            "sd": spread,
            "values": values,
            "majority": float(np.mean(known)) if known else None,
        }
    return figures


Board = Callable[[str, dict[str, float]], None]


@contextmanager
def scalars(folder: Path) -> Iterator[Board]:
    """A function that takes the stage and what was measured in one of its epochs."""
    if find_spec("tensorboard") is None:
        yield lambda stage, measured: None
        return
    from torch.utils.tensorboard import SummaryWriter

    for old in folder.glob("events.*"):  # a resumed run tells its earlier epochs again
        old.unlink(missing_ok=True)
    with SummaryWriter(str(folder)) as writer:

        def board(stage: str, measured: dict[str, float]) -> None:
            for name, value in measured.items():
                if name != "epoch":
                    writer.add_scalar(f"{stage}/{name}", value, int(measured["epoch"]))

        yield board


CARD_FILE = "CARD.md"
_ROWS = (("target", "this model"), ("no-transfer", "without transfer"), ("source", "source"))


def write_run_card(
    folder: Path, config: Mapping[str, Any], summary: Mapping[str, Any], labels: LabelSet
) -> None:
    """Write ``CARD.md`` into the checkpoint's ``folder``."""
    with atomic_text(folder / CARD_FILE) as file:
        file.write(card_text(folder.resolve().parent.name, config, summary, labels))


def card_text(
    name: str, config: Mapping[str, Any], summary: Mapping[str, Any], labels: LabelSet
) -> str:
    """The card as Markdown."""
    settings, data = config["settings"], config["data"]
    told = "numbers (−3 … 3)" if labels.real else ", ".join(labels.names)
    versions = ", ".join(f"{package} {number}" for package, number in config["versions"].items())
    return f"""# {name}: {" and ".join(settings["target"])}, {told}

Trained by `avsent train` (HMTL target model, fusion {settings["fusion"]["name"]}).

## Data and licence
- {data["name"]}: {data["utterances"]} utterances, SHA-256 {data["sha256"][:16]}…, licence:
  {data["licence"] or "not stated; whoever passes this model on must look it up"}.
{_teacher(settings, data)}
- No part shares a {settings["split"]["by"]} with another: {_parts(summary["parts"])}.

## Measured
Seeds {_seeds(summary["seeds"])}; here is seed {summary["best_seed"]}. Epoch and seed were chosen
on the validation part alone. Mean ± sample deviation over the seeds; majority: always deciding for
the training part's commonest class{" (numbers: its mean)" if labels.real else ""}.

{_tables(summary)}
{_chosen(summary)}
## Settings
{_settings(settings)}

Versions: {versions}.

## What it is not
It tells how an utterance comes across in voice and face, not what a person feels, and must not be
used to judge people. On other people, rooms, cameras and languages than those it learnt from,
expect less than the tables say.
"""


def _teacher(settings: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    transfer = settings["transfer"]
    if transfer["source"] is None:
        return "- No other modality taught it."
    whose = (
        f"the {data['texts']} texts of {data['text_corpus']}, paired anew by label in each epoch"
        if data["texts"]
        else "that of the same utterances"
    )
    return (
        f"- While it was trained {transfer['source']} taught it ({whose}); prediction does not "
        "need it."
    )


def _parts(parts: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{name} {sizes['utterances']} utterances in {sizes['videos']} videos"
        + (f" by {sizes['speakers']} speakers" if sizes["speakers"] else "")
        for name, sizes in parts.items()
    )


def _seeds(seeds: list[int]) -> str:
    return ", ".join(str(seed) for seed in seeds)


def _tables(summary: Mapping[str, Any]) -> str:
    tables = []
    for part, title in (("test", "Test part"), ("valid", "Validation part (chosen on it)")):
        rows = [(name, summary[m][part]) for m, name in _ROWS if part in summary.get(m, {})]
        if not rows:
            continue
        head = f"| {title} | " + " | ".join(name for name, _ in rows) + " | majority |"
        lines = [head, "|---" * (len(rows) + 2) + "|"]
        for metric, first in rows[0][1].items():
            cells = [_cell(found.get(metric)) for _, found in rows]
            majority = first["majority"] if first is not None else None
            cells.append("–" if majority is None else f"{majority:.3f}")
            lines.append(f"| {TITLES[metric]} | " + " | ".join(cells) + " |")
        tables.append("\n".join(lines))
    compared = "" if "no-transfer" in summary else _UNCOMPARED
    return "\n\n".join(tables) + "\n" + compared


_UNCOMPARED = "\nNot trained without transfer for comparison (`--baseline` does).\n"


def _cell(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure["sd"] is None else f" ± {figure['sd']:.3f}"
    return f"{figure['mean']:.3f}{spread}"


def _chosen(summary: Mapping[str, Any]) -> str:
    """Confusion of the seed that is here."""
    part = "test" if "test" in summary["chosen"] else "valid"
    found = summary["chosen"][part]
    if not found["confusion"]:
        return ""
    labels = found["labels"]
    head = f"| {part}: truth \\ decision | " + " | ".join(labels) + " |"
    rows = [
        f"| {label} | " + " | ".join(map(str, counts)) + " |"
        for label, counts in zip(labels, found["confusion"], strict=True)
    ]
    return "\n".join([head, "|---" * (len(labels) + 1) + "|", *rows]) + "\n"


def _settings(settings: Mapping[str, Any], prefix: str = "") -> str:
    lines = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            lines.append(_settings(value, f"{prefix}{name}."))
        else:
            lines.append(f"- {prefix}{name}: {value}")
    return "\n".join(lines)


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
        if not config.is_file() or read_run_file(config).get("format") != RUN_FORMAT:
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
            self._compare(read_run_file(config), told)
            for half_written in self.path.rglob(f"{TEMPORARY}*.tmp"):  # by a killed run
                half_written.unlink(missing_ok=True)
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
            return read_run_file(config).get("format") == RUN_FORMAT
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
        return read_run_file(path) if path.is_file() else None


def told(
    settings: TrainSettings, seeds: Sequence[int], data: Mapping[str, Any], baseline: bool
) -> dict[str, Any]:
    """What decides the result of a run, as ``config.json`` keeps it."""
    return {
        "format": RUN_FORMAT,
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


def read_run_file(path: Path) -> dict[str, Any]:
    """Read an object that :func:`write_json` wrote. Raises InputError."""
    return read_object(path, InputError, "restore it, or start again with --fresh")


def write_line(file: TextIO, data: Mapping[str, Any]) -> None:
    """One line of JSON, on the disk at once."""
    file.write(json.dumps(data) + "\n")
    file.flush()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
