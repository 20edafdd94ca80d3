"""``make bench-mosi``: HMTL on the MOSI features, with everything switched on and off.

Writes ``OUT/YYYY-MM-DD-mosi.md`` and a figure next to it. Progress goes to standard error; results
are kept in the folder of ``--cache``, and only missing ones are computed.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from experiments import Cache, host_block, mean_sd, progress
from mosi_choice import Choice, choose
from mosi_course import Courses
from mosi_plain import Row, run_plain
from mosi_report import STRONG, Measured, report
from mosi_runs import TARGETS, TRANSFERS, Mosi
from mosi_speed import measure_speeds
from mosi_systems import Ensemble, run_systems

from avsent.errors import AvsentError
from avsent.training.metrics import AUC
from avsent.training.plots import Compared, save_comparison

EXIT_INPUT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, write the report; returns the exit code."""
    options = _options(arguments)
    torch.set_num_threads(1)
    host, load = host_block(), os.getloadavg()[0]
    try:
        mosi = Mosi(options.data, Cache(options.cache / "mosi.jsonl"))
        courses = Courses(mosi, Cache(options.cache / "mosi-leads.jsonl"))
        choice = choose(courses)
        _print(choice)
        if options.tune:
            return 0
        rows, sources = run_plain(mosi)
        systems = run_systems(courses, choice)
        speeds = measure_speeds(mosi, load)
        options.out.mkdir(parents=True, exist_ok=True)
        figure = options.out / f"{options.date}-mosi.svg"
        save_comparison(
            figure,
            _compared(rows, systems),
            majority=0.5,
            metric=AUC,
            title="MOSI features, test AUC over seeds",
        )
        measured = Measured(
            date=options.date,
            rerun=_command(sys.argv[1:] if arguments is None else arguments),
            figure=figure.name,
            host=host,
            data_sha256=mosi.sha256,
            seconds=mosi.cache.seconds + courses.cache.seconds,
            rows=rows,
            sources=sources,
            majority={part: mosi.constant(part) for part in ("train", "test")},
            choice=choice,
            systems=systems,
            speeds=speeds,
        )
        target = options.out / f"{options.date}-mosi.md"
        target.write_text(report(measured), encoding="utf-8")
        progress(f"wrote {target.name}")
    except (AvsentError, OSError) as error:
        progress(f"error: {error}")
        return EXIT_INPUT
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_mosi.py", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="mosi_utterance.npz")
    parser.add_argument("--cache", type=Path, required=True, help="folder of kept results")
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--date", default=str(datetime.date.today()), help="of the report")
    parser.add_argument("--tune", action="store_true", help="only the choice, on validation")
    return parser.parse_args(arguments)


def _command(arguments: Sequence[str]) -> str:
    return shlex.join([".venv/bin/python", "benchmarks/bench_mosi.py", *arguments])


def _print(choice: Choice) -> None:
    for step in (choice.candidates, choice.adapted, choice.transfers):
        for name, one in step.items():
            progress(f"validation AUC {one.value:.3f} after {one.epochs} epochs: {name}")
    progress(f"taken: {choice.candidate}; {choice.transfer}; {choice.epochs} epochs")


def _compared(rows: dict[str, Row], systems: dict[str, Ensemble]) -> list[Compared]:
    drawn = [
        _row(rows[f"{target}, {transfer}"].of(AUC), transfer, target)
        for target in TARGETS
        for transfer in TRANSFERS
    ]
    for name in STRONG:
        drawn.append(_row(rows[name].of(AUC), name.removeprefix("strong, "), "A+V, strong"))
    for name, one in systems.items():
        drawn.append(_row(one.of(AUC), name, "mean of 5"))
    return drawn


def _row(values: list[float], name: str, group: str) -> Compared:
    return Compared(name, *mean_sd(values), group)


if __name__ == "__main__":
    sys.exit(main())
