"""Start a run: see ``--help``."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import gc
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# Before numpy and torch: children are forked, which threads would not survive.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from tests.fuzzing.base import LIGHT, Base, make_base  # noqa: E402
from tests.fuzzing.kinds import SEED_STEP, Outcome, kind_of, make_case  # noqa: E402
from tests.fuzzing.lane import run_case, text_of  # noqa: E402


def main() -> int:
    """Run, print what failed, write the report; the exit code is 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="tests.fuzzing", description=__doc__)
    parser.add_argument("--count", type=int, default=3000, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other files")
    parser.add_argument("--clips", type=Path, help="a folder of clips to spoil besides the sample")
    parser.add_argument("--out", type=Path, help="the folder for the dated report")
    parser.add_argument("--notes", type=Path, help="text that the report ends with")
    parser.add_argument("--lanes", type=int, default=2, help="files at once")
    parser.add_argument("--only", type=int, help="do this one file alone, and keep it")
    parser.add_argument("--kind", help="only kinds whose name begins so")
    parser.add_argument("--state", type=Path, help="a file to go on from where a run stopped")
    parser.add_argument("--keep", type=Path, default=Path("cache/fuzz"), help="where failures go")
    told = parser.parse_args()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="avsent-fuzz-") as place:
        work = Path(place)
        base = make_base(work, told.clips, light=told.kind in LIGHT and told.only is None)
        outcomes = _done_before(told.state)
        done = {outcome.number % SEED_STEP for outcome in outcomes}
        numbers = [told.only] if told.only is not None else list(range(told.count))
        # What is loaded is not copied into each child only because it is looked at for garbage.
        gc.collect()
        gc.freeze()
        outcomes += _run([number for number in numbers if number not in done], base, work, told)
    outcomes.sort(key=lambda outcome: outcome.number)
    failed = [outcome for outcome in outcomes if outcome.failures]
    for outcome in failed:
        print(f"{outcome.number} {outcome.kind} ({outcome.what}): {'; '.join(outcome.failures)}")
    print(f"{len(outcomes) - len(failed)} passed, {len(failed)} failed")
    if told.out is not None:
        date = datetime.date.today().isoformat()
        notes = told.notes.read_text(encoding="utf-8") if told.notes else ""
        minutes = (time.monotonic() - began_s) / 60 if not done else None
        page = text_of(outcomes, seed=told.seed, date=date, minutes=minutes, notes=notes)
        (told.out / f"{date}-fuzz.md").write_text(page, encoding="utf-8")
    return 1 if failed else 0


def _done_before(state: Path | None) -> list[Outcome]:
    """The outcomes in the file, where there is one; the latest of each number."""
    if state is None or not state.exists():
        return []
    found = [Outcome(**json.loads(line)) for line in state.read_text("utf-8").splitlines()]
    return list({outcome.number: outcome for outcome in found}.values())


def _run(numbers: list[int], base: Base, work: Path, told: Any) -> list[Outcome]:
    """All cases, in so many lanes; failures are printed as they come, and their files kept."""
    context = multiprocessing.get_context("fork")
    following = context.Value("i", 0)
    lanes: list[Connection] = []
    for lane in range(told.lanes):
        ours, theirs = context.Pipe(duplex=False)
        arguments = (numbers, following, theirs, base, work / f"lane-{lane}", told)
        context.Process(target=_lane, args=arguments).start()
        theirs.close()
        lanes.append(ours)
    outcomes: list[Outcome] = []
    while lanes:
        for ready in wait(lanes):
            assert isinstance(ready, Connection)
            try:
                outcome = ready.recv()
            except EOFError:
                lanes.remove(ready)
                continue
            outcomes.append(outcome)
            if told.state is not None:
                with told.state.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
            if outcome.failures:
                print(outcome.number, outcome.kind, outcome.what, outcome.failures, flush=True)
            if len(outcomes) % 100 == 0:
                print(f"{len(outcomes)} of {len(numbers)}", file=sys.stderr, flush=True)
    return outcomes


def _lane(
    numbers: list[int], following: Any, told_to: Connection, base: Base, work: Path, told: Any
) -> None:
    while True:
        with following.get_lock():
            at = following.value
            following.value += 1
        if at >= len(numbers):
            return
        folder = work / str(numbers[at]) / "case"
        kind = kind_of(numbers[at], told.seed)
        if told.kind is None or kind.startswith(told.kind) or told.only is not None:
            case = make_case(numbers[at], told.seed, folder, base)
            outcome = run_case(case)
            if outcome.failures or told.only is not None:
                kept = told.keep / f"{told.seed}-{numbers[at]}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(folder, kept, symlinks=True)
                about = {"arguments": case.arguments, "call": case.call, "stderr": outcome.stderr}
                about |= {"failures": outcome.failures, "code": outcome.code}
                (kept / "about.json").write_text(json.dumps(about, indent=1))
                if told.only is not None:
                    print(f"{outcome}\n{outcome.stderr}\nkept in {kept}")
            told_to.send(outcome)
            shutil.rmtree(folder.parent)


if __name__ == "__main__":
    sys.exit(main())
