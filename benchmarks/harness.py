"""What all benchmarks share: options, machine facts, kept results, tests, and the dated report."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from processes import BenchmarkError

from avsent.errors import AvsentError

EXIT_INPUT = 3
PACKAGES = (
    *("torch", "av", "dlib-bin", "dlib", "opencv-python-headless", "opencv-python", "silero-vad"),
    *("librosa", "numpy", "scikit-learn", "scipy"),
)


def progress(text: str) -> None:
    """A line on standard error with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def option_parser(doc: str | None, **folders: str) -> argparse.ArgumentParser:
    """Options of every benchmark: ``--out``, ``--date`` and required ``folders`` with help."""
    parser = argparse.ArgumentParser(description=doc)
    for name, text in folders.items():
        parser.add_argument(f"--{name}", type=Path, required=True, help=text)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="of the reports")
    parser.add_argument("--date", default=str(datetime.date.today()), help="in the files' names")
    return parser


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def run(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Iterable[Report]],
    arguments: Sequence[str] | None = None,
    *,
    unwritten: Sequence[str] = ("quick",),
) -> int:
    """Measure, then print and write every report (with one of the options ``unwritten``: only
    print); returns the exit code."""
    options = parser.parse_args(arguments)
    host = host_facts()  # first: the load before this benchmark adds its own
    given = sys.argv[1:] if arguments is None else arguments
    # Absolute paths are of this machine only: their last part is shown.
    shown_arguments = [Path(part).name if part.startswith("/") else part for part in given]
    line = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *shown_arguments])
    try:
        for report in measure(options):
            report.facts = {**avsent_facts(), **host, **report.facts}
            report.rerun, report.date = line, options.date
            print(report.markdown())
            if not any(getattr(options, name, None) for name in unwritten):
                report.write(options.out)
    except (BenchmarkError, AvsentError, OSError) as error:
        progress(f"error: {error}")
        return EXIT_INPUT
    return 0


def host_facts() -> dict[str, str]:
    """Machine and versions, without anything that identifies the machine."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, IndexError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        cpu = text.split("model name")[1].partition(":")[2].splitlines()[0].strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = {
        "CPU": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory / 2**30:.1f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f} (1 min mean)",
        "system": f"{platform.system()} {platform.machine()}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "Python": platform.python_version(),
    }
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            facts[name] = version(name)
    return facts


def avsent_facts() -> dict[str, str]:
    """Version, commit (and whether tracked files differ from it), model."""
    from avsent import __version__
    from avsent.model.checkpoint import load_checkpoint

    commit, folder = "unknown", Path(__file__).resolve().parent
    line = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        commit = subprocess.check_output(line, cwd=folder, text=True).strip()
    config = load_checkpoint("default").config
    model = f"{config.name}, sha256 {config.weights_sha256[:16]}…"
    return {"avsent": __version__, "git": commit, "model": model}


class Spread(list[float]):
    """Values of seeds or folds, shown as mean ± sample standard deviation."""

    def __str__(self) -> str:
        deviation = statistics.stdev(self) if self[1:] else 0.0
        return f"{mean(self):.3f} ± {deviation:.3f}"


Row = Mapping[str, Any]


class Report:
    """A dated Markdown file and the same figures as JSON: ``OUT/YYYY-MM-DD-NAME.{md,json}``."""

    def __init__(self, name: str, title: str, note: str = "", **facts: str) -> None:
        self.name, self.title, self.note, self.facts = name, title, note, facts
        self.figures: dict[str, Any] = {}
        self.rerun = self.date = ""
        self._parts: list[str] = []

    def section(self, title: str, rows: Row | Sequence[Row], note: str = "") -> None:
        """A table of ``rows`` (column → value), or of one row as two columns; kept as figures."""
        self.figures[title] = rows
        if isinstance(rows, Mapping):
            rows = [{"what": name, "measured": value} for name, value in rows.items()]
        self._parts += [f"## {title}", *([note] if note else []), table(rows)]

    def markdown(self) -> str:
        """The whole file."""
        facts = [{"what": name, "value": value} for name, value in self.facts.items()]
        parts = [f"# {self.title}, {self.date}", f"`{self.rerun}`", self.note, table(facts)]
        return "\n\n".join(part for part in [*parts, *self._parts] if part) + "\n"

    def write(self, out: Path) -> None:
        """Write all files into the folder ``out``."""
        out.mkdir(parents=True, exist_ok=True)
        stem = f"{self.date}-{self.name}"
        whole = {"command": self.rerun, "facts": self.facts, "figures": self.figures}
        text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
        (out / f"{stem}.json").write_text(text, encoding="utf-8")
        (out / f"{stem}.md").write_text(self.markdown(), encoding="utf-8")
        progress(f"wrote {stem}.md")


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; first column left-aligned, the others right."""
    headers = list(dict.fromkeys(name for row in rows for name in row))
    lines = [headers, ["---", *("---:" for _ in headers[1:])]]
    lines += [[shown(row.get(name)) for name in headers] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shown(value: Any) -> str:
    """A value in a table: a list of numbers as median (least–greatest)."""
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    if value is None:
        return "–"
    if isinstance(value, float):
        size = abs(value)
        return f"{value:.0f}" if size >= 1000 else f"{value:{'.3g' if size >= 0.001 else '.1g'}}"
    if isinstance(value, list) and not isinstance(value, Spread):
        if not value or isinstance(value[0], str):
            return ", ".join(value) or "none"
        middle = shown(statistics.median(value))
        return f"{middle} ({shown(min(value))}–{shown(max(value))})" if value[1:] else middle
    return str(value)


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each key; 0 counts where a run lacks it."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: statistics.median(run.get(name, 0.0) for run in runs) for name in names}


def mean(values: Sequence[float]) -> float:
    """The mean, summed exactly."""
    return math.fsum(values) / len(values)


def paired(a: Sequence[float], b: Sequence[float], prefix: str = "") -> dict[str, Any]:
    """Columns of a paired two-sided t-test (scipy.stats.ttest_rel) of ``a`` − ``b`` on the same
    units; t and p are None where all differences are equal. ``better``: units where a is larger."""
    from scipy import stats

    off = Spread(x - y for x, y in zip(a, b, strict=True))
    t, p = (None, None) if max(off) == min(off) else map(float, stats.ttest_rel(a, b))
    better = f"{sum(one > 0 for one in off)}/{len(off)}"
    return {f"{prefix}difference": off, f"{prefix}t": t, f"{prefix}p": p, f"{prefix}better": better}


def changed(settings: Any, **parts: Any) -> Any:
    """A frozen dataclass with other fields; a dict changes fields of the dataclass in a field."""
    made = {
        name: dataclasses.replace(getattr(settings, name), **part) if type(part) is dict else part
        for name, part in parts.items()
    }
    return dataclasses.replace(settings, **made)


class Cache:
    """Results in a JSONL file, one line ``{"key", "result"}`` each: an interrupted benchmark
    resumes, as only missing keys are computed. Lines that were cut short are skipped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                self._known[json.dumps(entry["key"], sort_keys=True)] = entry["result"]

    def get_or_run(self, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> Any:
        """The result of the run that ``key`` describes in full (plain JSON values only)."""
        name = json.dumps(key, sort_keys=True)
        if name not in self._known:
            line = json.dumps({"key": key, "result": compute()})
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n")  # begins on a line of its own after one cut short
            self._known[name] = json.loads(line)["result"]  # the same as if it had been kept
        return self._known[name]
