"""``make bench-soak``: two hours of video as one file and as 400 files: is memory flat?

Sections already measured are kept in ``--work``; an interrupted run resumes. For Linux.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from harness import Report, option_parser, progress, run
from numpy.typing import NDArray
from processes import (
    SURVIVORS_AFTER_S,
    Sample,
    child,
    command,
    position_in_file,
    position_of_batch,
    run_command,
    watch,
)
from videos import long_video, make_set, pieces, talkers

MINUTES, FILES, WORKERS, EXTRA_MINUTES, TRACED = 120.0, 400, 2, (2.0, 10.0), 8.0
QUICK = (5.0, 12, 2, (1.0, 2.0), 3.0)
RUNS = {
    "one": "`avsent predict`, one file",
    "batch": "`avsent batch`, many files",
    "many": "`Predictor.predict_many`",
}
COUNTS = ("descriptors", "threads", "processes")
SECTIONS = (*RUNS, "extras", "kept")
EXTRAS = {
    "json alone": (),
    "--report": ("--report", "page.html"),
    "--annotate": ("--annotate", "seen.mp4"),
}

NOTE = """Every command has its own session and TMPDIR; `/proc` is sampled once a second. Memory:
RSS of `predict` and `predict_many`, PSS of all processes of the batch. _Steady_: after the first
twelfth of the video. MB are 10⁶ bytes."""

WARM_SHARE = 1 / 12
"""Of a run's media, not counted as steady: what is loaded at first need, pools that fill up."""
FLAT_SHARE = 0.02  # memory is flat if an hour of video adds less than this share to it
MB = 1e6
Figures = dict[str, Any]
Array = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, clips="folder of the clips", work="what was measured so far")
    parser.add_argument("--quick", action="store_true", help="minutes; printed, not written")
    parser.add_argument("--only", choices=SECTIONS, help="measure one part, write no report")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    """Every section, from the folder of an earlier run where it is there."""
    minutes, files, workers, extra_minutes, traced = (
        QUICK if options.quick else (MINUTES, FILES, WORKERS, EXTRA_MINUTES, TRACED)
    )
    sections: dict[str, Callable[[Path], Figures]] = {
        "one": lambda folder: one_file(folder, options.clips, minutes),
        "batch": lambda folder: batch(folder, options.clips, files, workers),
        "many": lambda folder: in_process(folder, options.clips, files),
        "extras": lambda folder: extras(folder, options.clips, extra_minutes),
        "kept": lambda folder: kept(folder, options.clips, traced),
    }
    options.work.mkdir(parents=True, exist_ok=True)
    measured = {}
    for name in (options.only,) if options.only else SECTIONS:
        path = options.work / f"{name}{'-quick' if options.quick else ''}.json"
        if not path.is_file():
            with TemporaryDirectory(prefix="avsent-bench-") as folder:
                text = json.dumps(sections[name](Path(folder)))
            part = path.with_suffix(".part")
            part.write_text(text, encoding="utf-8")
            part.rename(path)
        measured[name] = json.loads(path.read_text("utf-8"))
    if not options.only:
        report = Report("soak", "Long run", NOTE)
        write_report(report, measured)
        yield report


def one_file(folder: Path, clips: Path, minutes: float) -> Figures:
    """``avsent predict`` on one file of so many minutes."""
    video, turns, turn_s = long_video(folder, clips, minutes)
    progress(f"avsent predict, one file of {turns * turn_s / 60:.0f} min")
    target = folder / "out" / "result.json"
    position = position_in_file(video, turns * turn_s)
    found, _ = _watched(["predict", video, "-o", target], position, target.parent, [target.name])
    result = json.loads(target.read_text("utf-8"))
    found["table"] = {
        "turns of the clip": turns,
        "utterances": len(result["utterances"]),
        "tracks": len(result["tracks"]),
        "warnings": len(result["warnings"]),
        "result, MB of JSON": target.stat().st_size / MB,
        "peak at the end, MB": found["peak"] / MB,
    }
    # Starts of utterances within each turn of the repeated clip.
    starts: list[list[float]] = [[] for _ in range(turns)]
    for utterance in result["utterances"]:
        start_s = utterance["start_s"]
        starts[min(turns - 1, int(start_s // turn_s))].append(start_s % turn_s)
    return {**found, "duration_s": result["duration_s"], "starts": starts}


def batch(folder: Path, clips: Path, count: int, workers: int) -> Figures:
    """``avsent batch`` on so many files; each result is compared with that of the single clip."""
    sources = pieces(folder, clips)
    many = make_set(folder / "many", sources, count)
    single = []
    for source in sources:
        target = folder / f"{source.name}.json"
        run_command(command("predict", source, "-o", target))
        single.append(_result(target))
    progress(f"avsent batch, {count} files, {workers} workers")
    out = folder / "out"
    line = ["batch", many.folder, "-o", out, "--workers", str(workers), "--json-progress"]
    expected = [f"{path.name}.json" for path in many.files]
    expected += [".avsent", "summary.json", "utterances.csv", "utterances.parquet"]
    found, lines = _watched(line, position_of_batch, out, expected)
    ended = json.loads(lines[-1])
    pairs = list(zip(many.files, islice(cycle(single), count), strict=True))
    found["table"] = {
        "files": count,
        "different clips": len(sources),
        "done": ended.get("did"),
        "failed": ended.get("failed"),
        "utterances": ended.get("utterances"),
        "utterances of the single clips": sum(len(alone["utterances"]) for _, alone in pairs),
        "results equal to those of single clips": sum(
            _result(out / f"{path.name}.json") == alone for path, alone in pairs
        ),
        "journal, kB a file": sum(
            path.stat().st_size for path in (out / ".avsent").rglob("*") if path.is_file()
        )
        / count
        / 1000,
    }
    return {**found, "duration_s": ended.get("duration_s")}


def in_process(folder: Path, clips: Path, count: int) -> Figures:
    """``Predictor.predict_many`` on so many files of all sizes."""
    sources = talkers(clips)
    progress(f"Predictor.predict_many, {count} files")
    listing = folder / "files.txt"
    chosen = islice(cycle(sources), count)
    listing.write_text("\n".join(str(path.resolve()) for path in chosen), encoding="utf-8")
    found, lines = watch(child("many", listing), position_of_batch)
    told = [json.loads(line) for line in lines]
    counts = [one["utterances"] for one in told[:-1]]
    found["table"] = {
        "files": count,
        "different clips": len(sources),
        "the same file gives the same number of utterances": all(
            one == counts[place % len(sources)] for place, one in enumerate(counts)
        ),
        "descriptors between files": [one["descriptors"] for one in told],
        "Python's threads between files": [one["threads"] for one in told],
    }
    return {**found, "astray": [], "duration_s": told[-1]["batch"]["reached_s"]}


def extras(folder: Path, clips: Path, minutes: Sequence[float]) -> Figures:
    """``--report``, ``--annotate`` and neither, for a short and a long video."""
    runs = []
    for wanted in minutes:
        video, turns, turn_s = long_video(folder, clips, wanted)
        for what, options in EXTRAS.items():
            progress(f"avsent predict {what}, {wanted:g} min")
            out = folder / f"{wanted:g}-{len(runs)}"
            line = ["predict", video, "-o", out / "result.json"]
            line += [out / one if "." in one else one for one in options]
            expected = ["result.json", *(one for one in options if "." in one)]
            found, _ = _watched(line, position_in_file(video, turns * turn_s), out, expected)
            sizes = [f"{one.name} {one.stat().st_size / MB:.1f}" for one in sorted(out.iterdir())]
            row = {"`avsent predict`": what, "minutes": turns * turn_s / 60}
            found["table"] = {**row, "peak memory, MB": found["peak"] / MB, "files, MB": sizes}
            runs.append(found)
    return {"runs": runs}


def kept(folder: Path, clips: Path, minutes: float) -> Figures:
    """Memory that a prediction keeps during the video, by line of code."""
    video, _, _ = long_video(folder, clips, minutes)
    progress(f"what is kept, {minutes:g} min")
    told = json.loads(run_command(child("trace", video)).lines[-1][1])
    count, hours = max(1, told["utterances"]), (told["to_s"] - told["from_s"]) / 3600
    told["table"] = [
        {"line": line, "kB per utterance": size / count / 1000, "MB per hour": size / hours / MB}
        for line, size in told["places"]
    ]
    return told


def _result(path: Path) -> Figures:
    """A result without the name of its source."""
    return {**json.loads(path.read_text("utf-8")), "source": ""}


def _watched(
    line: Sequence[str | Path], position: Any, out: Path, expected: Sequence[str]
) -> tuple[Figures, list[str]]:
    """Watch ``avsent``; ``astray``: files in the folder ``out`` that are not ``expected``."""
    out.mkdir()
    found, lines = watch(command(*line), position)
    found["astray"] = sorted({path.name for path in out.iterdir()} - set(expected))
    return found, lines


class Trend:
    """Samples of one run; ``steady``: those after the start and before the end of the media.
    ``memory`` [S]: resident bytes of a single process, PSS of several; ``hours`` [S] of media."""

    def __init__(self, figures: Figures) -> None:
        self.total_s, self.load = figures["duration_s"], figures["load"]
        self._samples = np.array(figures["samples"], dtype=float)
        position_s = self.all("position_s")
        # A reader looks at the end of a file first; from there it comes back.
        forward = position_s <= np.fmin.accumulate(position_s[::-1])[::-1]
        start_s, end_s = WARM_SHARE * self.total_s, 0.995 * self.total_s
        self._steady = forward & (position_s >= start_s) & (position_s < end_s)
        self.kind = "pss" if self.steady("processes").max() > 1 else "rss"
        self.hours, self.memory = self.steady("position_s") / 3600, self.steady(self.kind)
        self.thirds = [float(part.mean()) for part in np.array_split(self.memory, 3)]

    def all(self, what: str) -> Array:
        """A field of all samples."""
        return self._samples[:, Sample._fields.index(what)]

    def steady(self, what: str) -> Array:
        """A field of the steady samples."""
        return self.all(what)[self._steady]

    def slope(self, share: float = 1.0) -> float:
        """Bytes per hour of media: least squares through the last ``share`` of steady samples."""
        first = int((1 - share) * len(self.memory))
        return float(np.polyfit(self.hours[first:], self.memory[first:], 1)[0])

    def span(self, what: str) -> str:
        """Least and greatest of a count, and the greatest in the last third."""
        counts = self.steady(what)
        late = np.array_split(counts, 3)[-1].max()
        return f"{counts.min():.0f}–{counts.max():.0f} ({late:.0f})"

    def grows(self, what: str) -> bool:
        """Whether a count is higher in the last third than ever in the first."""
        early, _, late = np.array_split(self.steady(what), 3)
        return bool(late.max() > early.max())


def drift(turns: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Signed median distance in seconds of starts in the last third of turns from those of the
    second and third turn, and the share of them with a match within 0.1 s."""
    early = np.array([start for turn in turns[1:3] for start in turn])
    late = [start for turn in turns[len(turns) * 2 // 3 : -1] for start in turn]
    off = np.array([min(start - early, key=abs) for start in late])
    near = off[np.abs(off) <= 0.1]
    return (float(np.median(near)) if len(near) else math.nan), len(near) / max(1, len(off))


def write_report(report: Report, measured: Figures) -> None:
    """What must hold, memory and counts, and a section for each run."""
    trends = {name: Trend(measured[name]) for name in RUNS}
    for name, trend in trends.items():
        points = np.stack([trend.hours, trend.memory / MB], axis=1)
        report.figures[f"{name}, hours and MB"] = points[:: 1 + len(points) // 200].tolist()
    report.section("What must hold", list(_verdicts(measured, trends)))
    memory, counts = [], []
    for name, trend in trends.items():
        row = {"run": RUNS[name]}
        row["MB, means of the steady thirds"] = " → ".join(f"{v / MB:.0f}" for v in trend.thirds)
        row |= {"MB per hour": trend.slope() / MB, "second half": trend.slope(0.5) / MB}
        memory.append(row)
        row = {"run": RUNS[name], "hours": trend.total_s / 3600, "load": trend.load}
        row |= {what: trend.span(what) for what in (*COUNTS, "temporary")}
        row["temporary MB"] = float(trend.all("temporary_bytes").max()) / MB
        counts.append({**row, "samples": len(trend.all("rss"))})
    report.section("Memory over the video", memory)
    note = "Steady samples: least–greatest (greatest in the last third)."
    report.section("Counts", counts, note)
    one = measured["one"]["table"]
    utterances, reading = one["utterances"], trends["one"].thirds[2] / MB
    weights, hours = 2 * utterances**2 / 1e6, trends["one"].total_s / 3600
    one |= {
        "memory while reading, last third, MB": reading,
        "context weights, million": weights,
        "bytes per weight at the peak": (one["peak at the end, MB"] - reading) / weights,
        "growth per utterance, kB": trends["one"].slope() * hours / utterances / 1000,
    }
    note = "Context attention has two weights for each pair of utterances."
    report.section("One file", one, note)
    report.section("Batch", measured["batch"]["table"])
    report.section("`predict_many`", measured["many"]["table"])
    pages = [found["table"] for found in measured["extras"]["runs"]]
    report.section("Pages and annotated videos", pages)
    told = measured["kept"]
    note = f"`tracemalloc` from {told['from_s']:.0f} s to {told['to_s']:.0f} s of one prediction: "
    note += f"{told['utterances']} utterances, {told['tracks']} tracks."
    report.section("Memory kept, by line", told["table"], note)


def _verdicts(measured: Figures, trends: dict[str, Trend]) -> Iterator[Figures]:
    def verdict(what: str, told: Any, holds: bool) -> Figures:
        return {"what": what, "measured": told, "holds": holds}

    for name, trend in trends.items():
        share = trend.slope() / trend.thirds[0]
        text = f"{RUNS[name]}: share that an hour of video adds to memory, under {FLAT_SHARE:g}"
        yield verdict(text, share, share < FLAT_SHARE)
    for name, trend in trends.items():
        more = [what for what in COUNTS if trend.grows(what)]
        yield verdict(f"{RUNS[name]}: no more {', '.join(COUNTS)} late than early", more, not more)
    runs = [*(measured[name] for name in RUNS), *measured["extras"]["runs"]]
    for key, text in (
        ("left", "temporary files and shared memory left behind"),
        ("astray", "unexpected files in the output folder"),
    ):
        names = [name for one in runs for name in one[key]]
        yield verdict(f"{text}, all {len(runs)} runs", names, not names)
    alive = sum(one["survivors"] for one in runs)
    yield verdict(f"processes alive {SURVIVORS_AFTER_S:g} s after their command", alive, not alive)
    batched = measured["batch"]["table"]
    for what, of in (
        ("results equal to those of single clips", "files"),
        ("utterances", "utterances of the single clips"),
    ):
        found, wanted = batched[what], batched[of]
        yield verdict(f"batch, {what}: {wanted}", found, found == wanted)
    turns = measured["one"]["starts"]
    counts = [len(starts) for starts in turns[1:-1]]
    apart = max(counts) - min(counts)
    yield verdict("one file: utterances per turn differ by 2 at most", apart, apart <= 2)
    off_s, share = drift(turns)
    text = f"one file: times do not drift, s (median; {share:.1%} within 100 ms)"
    yield verdict(text, off_s, abs(off_s) < 0.02)


if __name__ == "__main__":
    sys.exit(main())
