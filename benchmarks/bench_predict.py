"""``make bench-predict``: speed, memory, start-up and utterance boundaries of avsent.

Writes ``OUT/YYYY-MM-DD-predict.md`` and prints it. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from host import avsent_facts, host_facts
from measure import (
    BOUNDARIES,
    CLIPS,
    LONG_CLIP,
    BenchmarkError,
    measure_boundaries,
    measure_memory,
    measure_speed,
    measure_start_up,
    say,
)
from report import Measured, report

from avsent.errors import AvsentError

MINUTES = (1, 5, 20)
NEEDS = {
    "startup": (),
    "memory": (LONG_CLIP,),
    "speed": CLIPS,
    "boundaries": (LONG_CLIP, BOUNDARIES),
}
EXIT_INPUT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; returns the exit code."""
    options = _options(arguments)
    sections = (options.only,) if options.only else tuple(NEEDS)
    try:
        _check(options.clips, sections)
        text = report(_measure(options, sections))
        print(text)
        if not options.only:
            options.out.mkdir(parents=True, exist_ok=True)
            target = options.out / f"{datetime.date.today()}-predict.md"
            target.write_text(text, encoding="utf-8")
            say(f"wrote {target}")
    except (BenchmarkError, AvsentError, OSError) as error:
        say(f"error: {error}")
        return EXIT_INPUT
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_predict.py", description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--runs", type=_positive, default=3, metavar="N", help="default 3")
    parser.add_argument("--quick", action="store_true", help="leave the 20 minutes out")
    parser.add_argument("--only", choices=tuple(NEEDS), help="one section; printed, not written")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _check(folder: Path, sections: Sequence[str]) -> None:
    missing = {name for s in sections for name in NEEDS[s] if not (folder / name).is_file()}
    if missing:
        raise BenchmarkError(f"missing in the folder of --clips: {', '.join(sorted(missing))}")


def _measure(options: argparse.Namespace, sections: Sequence[str]) -> Measured:
    facts = host_facts()  # first: the load before this benchmark adds its own
    clips, minutes = options.clips, [m for m in MINUTES if m != 20 or not options.quick]
    start_up = measure_start_up() if "startup" in sections else None
    memory = measure_memory(clips, minutes) if "memory" in sections else None
    speed = measure_speed(clips, options.runs) if "speed" in sections else None
    boundaries = measure_boundaries(clips) if "boundaries" in sections else None
    return Measured(
        facts=(*avsent_facts(), *facts),
        rerun=_rerun(options),
        date=str(datetime.date.today()),
        runs=options.runs,
        speed=speed,
        memory=memory,
        start_up=start_up,
        boundaries=boundaries,
    )


def _rerun(options: argparse.Namespace) -> str:
    """The command line, without absolute paths, which are of this machine only."""
    clips = "CLIPS" if options.clips.is_absolute() else shlex.quote(str(options.clips))
    out = "OUT" if options.out.is_absolute() else shlex.quote(str(options.out))
    line = f".venv/bin/python benchmarks/bench_predict.py --clips {clips} --out {out}"
    line += f" --runs {options.runs}" + (" --quick" if options.quick else "")
    return line + (f" --only {options.only}" if options.only else "")


if __name__ == "__main__":
    sys.exit(main())
