"""``make bench-batch``: speed of ``avsent batch``, what it is held against, and what bounds it.

Writes ``OUT/YYYY-MM-DD-batch.md`` and prints it. Progress goes to standard error. For Linux, with
two cores: where there are more, the first two are used.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from batch_figures import Measured
from batch_peer import PeerError, prepare
from batch_profile import measure_profile
from batch_report import report
from batch_runs import measure_reruns, measure_turn, say
from batch_sets import PLAIN, make_set, many_small, talkers
from host import avsent_facts, host_facts
from measure import BenchmarkError

from avsent.errors import AvsentError

FILES, PLAIN_FILES, SMALL_FILES, RERUNS, PROFILE_RUNS = 40, 8, 1000, 5, 3
QUICK = (4, 2, 100, 2, 1)
EXIT_INPUT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write and print; returns the exit code."""
    options = _options(arguments)
    try:
        text = report(_measure(options))
        print(text)
        if not options.quick:
            options.out.mkdir(parents=True, exist_ok=True)
            target = options.out / f"{datetime.date.today()}-batch.md"
            target.write_text(text, encoding="utf-8")
            say(f"wrote {target}")
    except (BenchmarkError, AvsentError, OSError) as error:
        say(f"error: {error}")
        return EXIT_INPUT
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_batch.py", description=__doc__)
    parser.add_argument("--clips", type=Path, required=True, help="folder of the clips")
    parser.add_argument("--out", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--turns", type=_positive, default=2, metavar="N", help="default 2")
    parser.add_argument(
        "--peer", type=Path, metavar="FOLDER", help="environment of fer; made if it is not there"
    )
    parser.add_argument("--quick", action="store_true", help="few files; printed, not written")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number


def _measure(options: argparse.Namespace) -> Measured:
    facts = host_facts()  # first: the load before this benchmark adds its own
    files, plain_files, small_files, reruns, profile_runs = (
        QUICK if options.quick else (FILES, PLAIN_FILES, SMALL_FILES, RERUNS, PROFILE_RUNS)
    )
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise BenchmarkError("two workers need two cores")
    sources = talkers(options.clips)
    peer, peer_text = _peer(options.peer)
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder = Path(name)
        clips = make_set(folder / "clips", sources, files)
        plain = make_set(folder / "plain", [options.clips / PLAIN], plain_files)
        small = many_small(folder / "small", options.clips, small_files)
        turns = []
        for number in range(options.turns):
            say(f"turn {number + 1} of {options.turns}")
            turns.append(measure_turn(clips, plain, cores, peer))
        profile = measure_profile(options.clips / PLAIN, cores[0], profile_runs)
        again = measure_reruns(small, cores, reruns)
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return Measured(
        facts=(*avsent_facts(), *facts, ("OMP_NUM_THREADS", threads)),
        rerun=_rerun(options),
        date=str(datetime.date.today()),
        clips=clips,
        plain=plain,
        turns=tuple(turns),
        profile=profile,
        reruns=again,
        peer=peer_text,
    )


def _peer(folder: Path | None) -> tuple[Path | None, str]:
    """Where the peer is, if it can be had, and its versions or why it cannot."""
    if folder is None:
        return None, "--peer was not given"
    say("environment of fer")
    try:
        return folder, prepare(folder)
    except PeerError as error:
        return None, str(error)


def _rerun(options: argparse.Namespace) -> str:
    """The command line, without absolute paths, which are of this machine only."""

    def shown(path: Path, name: str) -> str:
        return name if path.is_absolute() else shlex.quote(str(path))

    line = f".venv/bin/python benchmarks/bench_batch.py --clips {shown(options.clips, 'CLIPS')}"
    line += f" --out {shown(options.out, 'OUT')} --turns {options.turns}"
    if options.peer is not None:
        line += f" --peer {shown(options.peer, 'FER')}"
    return line + (" --quick" if options.quick else "")


if __name__ == "__main__":
    sys.exit(main())
