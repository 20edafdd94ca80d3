"""``make bench-soak``: two hours of video as one file and as 400 files: is memory flat?

Writes ``OUT/YYYY-MM-DD-soak.md`` and a drawing beside it, and prints the text. Progress goes to
standard error. What was measured is kept in ``--work``: an interrupted run goes on where it was.
For Linux.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from host import avsent_facts, host_facts
from measure import BenchmarkError
from soak_runs import batch, extras, in_process, kept, one_file, say

from avsent.errors import AvsentError

MINUTES, FILES, WORKERS, EXTRA_MINUTES, TRACED = 120.0, 400, 2, (2.0, 10.0), 8.0
QUICK = (5.0, 12, 2, (1.0, 2.0), 3.0)
SECTIONS = ("one", "batch", "many", "extras", "kept")
EXIT_INPUT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; returns the exit code."""
    options = _options(arguments)
    try:
        measured = _measure(options)
        if options.only:
            return 0
        from soak_report import draw, report

        date = datetime.date.today()
        picture = f"{date}-soak.svg"
        print(text := report(measured, str(date), _rerun(options), picture))
        if not options.quick:
            options.out.mkdir(parents=True, exist_ok=True)
            draw(measured, options.out / picture)
            (options.out / f"{date}-soak.md").write_text(text, encoding="utf-8")
            say(f"wrote {options.out / f'{date}-soak.md'}")
    except (BenchmarkError, AvsentError, OSError) as error:
        say(f"error: {error}")
        return EXIT_INPUT
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_soak.py", description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--work", type=Path, required=True, help="what was measured so far")
    parser.add_argument("--quick", action="store_true", help="minutes; printed, not written")
    parser.add_argument("--only", choices=SECTIONS, help="measure one part, write no report")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every section, from the folder of an earlier run where it is there."""
    minutes, files, workers, extra_minutes, traced = (
        QUICK if options.quick else (MINUTES, FILES, WORKERS, EXTRA_MINUTES, TRACED)
    )
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "one": lambda: one_file(options.clips, minutes),
        "batch": lambda: batch(options.clips, files, workers),
        "many": lambda: in_process(options.clips, files),
        "extras": lambda: extras(options.clips, extra_minutes),
        "kept": lambda: kept(options.clips, traced),
    }
    options.work.mkdir(parents=True, exist_ok=True)
    measured = {}
    for name in (options.only,) if options.only else SECTIONS:
        path = options.work / f"{name}{'-quick' if options.quick else ''}.json"
        if not path.is_file():
            facts = [*avsent_facts(), *host_facts()]
            part = path.with_suffix(".part")
            part.write_text(json.dumps({"facts": facts, **sections[name]()}), encoding="utf-8")
            part.rename(path)
        measured[name] = json.loads(path.read_text("utf-8"))
    return measured


def _rerun(options: argparse.Namespace) -> str:
    """The command line, without absolute paths, which are of this machine only."""

    def shown(path: Path, name: str) -> str:
        return name if path.is_absolute() else shlex.quote(str(path))

    line = f".venv/bin/python benchmarks/bench_soak.py --clips {shown(options.clips, 'CLIPS')}"
    line += f" --out {shown(options.out, 'OUT')} --work {shown(options.work, 'WORK')}"
    return line + (" --quick" if options.quick else "")


if __name__ == "__main__":
    sys.exit(main())
