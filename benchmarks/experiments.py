"""What experiments share: results kept by their settings, paired tests, Markdown tables."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class Cache:
    """Results of runs in a JSONL file, one line ``{"key", "result", "seconds"}`` each.

    An interrupted experiment goes on where it was: only runs whose key is not there are made.
    A line that a kill cut short is left out; the next one begins on a line of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked: set[str] = set()
        self._known: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:
                    continue
                self._known[_identity(entry["key"])] = entry

    def get_or_run(self, key: dict[str, Any], run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of the run that ``key`` describes in full (plain JSON values only)."""
        name = _identity(key)
        if name not in self._known:
            started = time.perf_counter()
            result = run()
            entry = {"key": key, "result": result, "seconds": time.perf_counter() - started}
            self._append(entry)
            # Through JSON, so that a fresh result is the same as one that was kept.
            self._known[name] = json.loads(json.dumps(entry))
        self._asked.add(name)
        found: dict[str, Any] = self._known[name]["result"]
        return found

    @property
    def seconds(self) -> float:
        """Time that all results took that were asked for, also those made in earlier runs."""
        return math.fsum(self._known[name]["seconds"] for name in self._asked)

    def __contains__(self, key: dict[str, Any]) -> bool:
        return _identity(key) in self._known

    def _append(self, entry: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write((json.dumps(entry) + "\n").encode("utf-8"))


@dataclass(frozen=True, slots=True)
class Paired:
    """``a`` against ``b`` on the same units: mean and sd of a − b, Student's t, two-sided p, and
    on how many of the ``n`` units ``a`` is larger."""

    mean: float
    sd: float
    t: float
    p: float
    better: int
    n: int

    def cells(self, digits: int = 3) -> list[str]:
        """Cells of a table: difference, t, p, units better."""
        return [
            f"{self.mean:+.{digits}f} ± {self.sd:.{digits}f}",
            f"{self.t:.1f}",
            "< .001" if self.p < 0.001 else f"{self.p:.3f}",
            f"{self.better}/{self.n}",
        ]


PAIRED_HEADERS = ("difference", "t", "p", "better")


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """Paired two-sided t-test (scipy.stats.ttest_rel); NaN where all differences are equal.

    Raises:
        ValueError: different lengths, or fewer than two units.
    """
    from scipy import stats

    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"cannot pair {len(a)} values with {len(b)}")
    differences = [x - y for x, y in zip(a, b, strict=True)]
    mean, sd = mean_sd(differences)
    if sd == 0:
        t = p = math.nan
    else:
        t, p = (float(value) for value in stats.ttest_rel(a, b))
    return Paired(mean, sd, t, p, sum(d > 0 for d in differences), len(differences))


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n − 1); 0 for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def spread(values: Sequence[float], digits: int = 3) -> str:
    """ "mean ± sd" of ``values``."""
    mean, sd = mean_sd(values)
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    lines = [list(headers), ["---", *("---:" for _ in headers[1:])], *map(list, rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def host_block() -> str:
    """Commit, machine and versions as a Markdown table, without names of the machine."""
    from importlib.metadata import version

    import torch
    from host import git_sha, host_facts

    facts = [("git", git_sha()), *host_facts(), ("torch threads", str(torch.get_num_threads()))]
    facts += [(name, version(name)) for name in ("scikit-learn", "scipy")]
    return table(("what", "value"), facts)


def progress(line: str) -> None:
    """A line to stderr, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", file=sys.stderr, flush=True)


def _identity(key: dict[str, Any]) -> str:
    return json.dumps(key, sort_keys=True)
