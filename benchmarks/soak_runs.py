"""The long runs: one file, many files in a batch, many files in one process, pages and videos."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import BenchmarkError, command
from soak_sets import long_video, many_files, pieces, size_of, varied
from soak_watch import LEFT_AFTER_S, Position, Watched, of_batch, of_file, watch

_MANY = Path(__file__).with_name("soak_many.py")
_TRACE = Path(__file__).with_name("soak_trace.py")
EXTRAS = {
    "json alone": (),
    "--report": ("--report", "page.html"),
    "--annotate": ("--annotate", "seen.mp4"),
}
LAST_LINE = 400
"""As much of what a command says is kept."""


def say(text: str) -> None:
    """A line of progress on standard error."""
    print(f"bench-soak: {text}", file=sys.stderr, flush=True)


def one_file(clips: Path, minutes: float) -> dict[str, Any]:
    """``avsent predict`` on one file of so many minutes."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder, out = _folders(name)
        video, turns, turn_s = long_video(folder, clips, minutes)
        say(f"avsent predict, one file of {turns * turn_s / 60:.0f} min")
        target = out / "result.json"
        run = watch(
            [*command(), "predict", str(video), "-o", str(target)],
            of_file(video, turns * turn_s),
        )
        found = _facts(run, sorted(path.name for path in out.iterdir()), ["result.json"])
        result = json.loads(target.read_text("utf-8"))
        return {
            **found,
            "turns": turns,
            "turn_s": turn_s,
            "duration_s": result["duration_s"],
            "result_bytes": target.stat().st_size,
            "starts": [utterance["start_s"] for utterance in result["utterances"]],
            "warnings": result["warnings"],
            "tracks": len(result["tracks"]),
        }


def batch(clips: Path, count: int, workers: int) -> dict[str, Any]:
    """``avsent batch`` on so many files; each result is held against that of the single clip."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder, out = _folders(name)
        sources = pieces(folder, clips)
        many_files(folder / "many", sources, count)
        single = _single(sources, folder)
        say(f"avsent batch, {count} files, {workers} workers")
        line = ["batch", str(folder / "many"), "-o", str(out), "--workers", str(workers)]
        run = watch([*command(), *line, "--json-progress"], of_batch)
        names = [f"{number:04}_{source.name}" for number, source in _numbered(sources, count)]
        expected = [f"{one}.json" for one in names] + [".avsent", "summary.json", "utterances.csv"]
        there = sorted(path.name for path in out.iterdir())
        expected += [one for one in there if one == "utterances.parquet"]  # with pyarrow only
        found = _facts(run, there, expected)
        equal = sum(
            _told(out / f"{one}.json") == single[source.name]
            for one, (_, source) in zip(names, _numbered(sources, count), strict=True)
        )
        ended = json.loads(run.lines[-1])
        return {
            **found,
            "files": count,
            "workers": workers,
            "equal": equal,
            "distinct": len(sources),
            "did": ended.get("did"),
            "failed": ended.get("failed"),
            "utterances": ended.get("utterances"),
            "duration_s": ended.get("duration_s"),
            "expected_utterances": sum(
                len(single[source.name]["utterances"]) for _, source in _numbered(sources, count)
            ),
            "journal_bytes": size_of(out / ".avsent"),
            "journal_names": sorted(
                path.relative_to(out / ".avsent").as_posix()
                for path in (out / ".avsent").rglob("*")
            ),
        }


def in_process(clips: Path, count: int) -> dict[str, Any]:
    """``Predictor.predict_many`` on so many files of all sizes."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder, _ = _folders(name)
        sources = varied(clips)
        chosen = list(islice(cycle(sources), count))
        say(f"Predictor.predict_many, {count} files")
        listing = folder / "files.txt"
        listing.write_text("\n".join(str(path.resolve()) for path in chosen), encoding="utf-8")
        run = watch([sys.executable, str(_MANY), str(listing)], of_batch)
        told = [json.loads(line) for line in run.lines]
        return {
            **_facts(run, [], []),
            "files": count,
            "distinct": len(sources),
            "told": [[one["files"], one["descriptors"], one["threads"]] for one in told],
            "utterances": [one["utterances"] for one in told[:-1]],
            "duration_s": told[-1]["batch"]["reached_s"],
        }


def extras(clips: Path, minutes: Sequence[float]) -> dict[str, Any]:
    """``--report`` and ``--annotate`` beside no such option, for a short and a long video."""
    found = []
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder, _ = _folders(name)
        for wanted in minutes:
            video, turns, turn_s = long_video(folder, clips, wanted)
            for what, options in EXTRAS.items():
                say(f"avsent predict {what}, {wanted:g} min")
                out = folder / f"{wanted:g}-{len(found)}"
                out.mkdir()
                line = ["predict", str(video), "-o", str(out / "result.json")]
                line += [str(out / one) if "." in one else one for one in options]
                run = watch([*command(), *line], of_file(video, turns * turn_s))
                expected = ["result.json", *(one for one in options if "." in one)]
                found.append(
                    {
                        **_facts(run, sorted(path.name for path in out.iterdir()), expected),
                        "what": what,
                        "minutes": turns * turn_s / 60,
                        "bytes": {path.name: path.stat().st_size for path in out.iterdir()},
                    }
                )
    return {"runs": found}


def kept(clips: Path, minutes: float) -> dict[str, Any]:
    """What ``Predictor.predict`` keeps while video goes by, by line of code."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder, _ = _folders(name)
        video, _, _ = long_video(folder, clips, minutes)
        say(f"what is kept, {minutes:g} min")
        line = [sys.executable, str(_TRACE), str(video)]
        done = subprocess.run(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise BenchmarkError(f"soak_trace.py ended with code {done.returncode}")
        told: dict[str, Any] = json.loads(done.stdout)
        return told


def _folders(name: str) -> tuple[Path, Path]:
    folder, out = Path(name, "in"), Path(name, "out")
    folder.mkdir()
    out.mkdir()
    return folder, out


def _numbered(sources: Sequence[Path], count: int) -> list[tuple[int, Path]]:
    return list(enumerate(islice(cycle(sources), count)))


def _single(sources: Sequence[Path], folder: Path) -> dict[str, dict[str, Any]]:
    """What ``avsent predict`` tells of each, alone."""
    told = {}
    nowhere: Position = lambda family, last: None  # noqa: E731
    for source in sources:
        target = folder / f"{source.name}.json"
        run = watch([*command(), "predict", str(source), "-o", str(target)], nowhere)
        _succeeded(run)
        told[source.name] = _told(target)
    return told


def _told(path: Path) -> dict[str, Any]:
    """A result without the name that it was given by."""
    return {**json.loads(path.read_text("utf-8")), "source": ""}


def _facts(run: Watched, there: Sequence[str], expected: Sequence[str]) -> dict[str, Any]:
    """What every run tells; ``astray``: files in the output folder that nobody asked for."""
    _succeeded(run)
    return {
        "code": run.code,
        "seconds": run.seconds,
        "peak": run.peak,
        "said": run.said[-LAST_LINE:],
        "survivors": run.survivors,
        "outlived_s": run.outlived_s,
        "waited_s": LEFT_AFTER_S,
        "left": list(run.left),
        "load": run.load,
        "astray": sorted(set(there) - set(expected)),
        "missing": sorted(set(expected) - set(there)),
        "samples": [list(asdict(sample).values()) for sample in run.samples],
    }


def _succeeded(run: Watched) -> None:
    if run.code != 0:
        last = run.said.strip().splitlines()[-1:] or ["no message"]
        raise BenchmarkError(f"a command ended with code {run.code}: {last[0]}")
    if not all(math.isfinite(sample.at_s) for sample in run.samples):
        raise BenchmarkError("no clock")
