"""``make bench-batch``: speed of ``avsent batch``, what it is compared with, and what bounds it.

For Linux with two cores; where there are more, the first two are used.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import Report, medians, option_parser, positive, progress, run
from processes import BenchmarkError, Run, child, command, run_command
from videos import LONG, ClipSet, facts, make_set, many_small, talkers

FILES, LONG_FILES, SMALL_FILES, RERUNS, PROFILE_RUNS = 40, 8, 1000, 5, 3
QUICK = (4, 2, 100, 2, 1)
SCALING_AIM, REAL_TIME_AIM, RERUN_AIM_S = 1.8, 15.0, 2.0

WAYS = {
    "two": ("`avsent batch --workers 2`", 2),
    "one": ("`avsent batch --workers 1`, held to one core", 1),
    "roomy": ("`avsent batch --workers 1`", 2),
    "single": ("`avsent predict`, a process for each file", 2),
    "warm": ("`Predictor.predict` in one warm process", 2),
    "decoding": ("bare decoding (PyAV, all pictures and sound)", 2),
    "fer": ("`fer`, 5 pictures a second, no sound", 2),
}
WORK = "without the start"
RATIOS = (
    ("two workers / one on one core", "one", "two", "wall_s"),
    (f"two workers / one on one core, {WORK}", "one", "two", "work_s"),
    ("two workers / one on two cores", "roomy", "two", "wall_s"),
    (f"two workers / one on two cores, {WORK}", "roomy", "two", "work_s"),
    (f"one on two cores / one on one core, {WORK}", "one", "roomy", "work_s"),
    ("two workers / the sum of single `avsent predict`", "single", "two", "wall_s"),
    (f"two workers / one warm process, {WORK}", "warm", "two", "work_s"),
    (f"two workers / bare decoding, {WORK}", "decoding", "two", "work_s"),
    (f"two workers / `fer`, {WORK}", "fer", "two", "work_s"),
)
"""How many times as fast: text, slower way, faster way, seconds compared."""
NOTE = f"""Medians of turns (least–greatest); ratios are taken within a turn.
*{WORK.capitalize()}*: from the first worker's first file to the end of the last file. CPU seconds
count all processes."""

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, clips="folder of the clips")
    parser.add_argument("--turns", type=positive, default=2, metavar="N", help="default 2")
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="environment with fer")
    parser.add_argument("--quick", action="store_true", help="few files; printed, not written")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    """Every way ``--turns`` times, the stages of one worker, reruns with nothing to do."""
    files, long_files, small_files, reruns, profile_runs = (
        QUICK if options.quick else (FILES, LONG_FILES, SMALL_FILES, RERUNS, PROFILE_RUNS)
    )
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise BenchmarkError("two workers need two cores")
    sources = talkers(options.clips)
    peer = options.peer if options.peer and (options.peer / "bin" / "python").is_file() else None
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        folder = Path(name)
        clips = make_set(folder / "clips", sources, files)
        long = make_set(folder / "long", [options.clips / LONG], long_files)
        small = many_small(folder / "small", options.clips, small_files)
        turns = [measure_turn(clips, long, cores, peer) for _ in range(options.turns)]
        profile = measure_profile(options.clips / LONG, cores[0], profile_runs)
        again = measure_reruns(small, cores, reruns)
    versions = turns[0]["fer"]["versions"] if peer else "not run: no environment with fer"
    report = Report("batch", "Batch", NOTE, peer=versions)
    report.figures["turns"] = turns
    write_ways(report, clips, turns)
    write_long(report, long.media_s, turns)
    write_profile(report, profile)
    report.section("Nothing left to do: a finished batch of small files again", again)
    report.section("Aims", list(aims(turns, long.media_s, again, files)))
    yield report


def measure_turn(clips: ClipSet, long: ClipSet, cores: Sequence[int], peer: Path | None) -> Figures:
    """Every way once, one after the other. ``equal``: files for which batch and single command give
    the same result; ``faces``: sightings in all analysed pictures."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        out = Path(name)
        turn: Figures = {
            "two": run_batch(clips, out / "two", 2, cores),
            "one": run_batch(clips, out / "one", 1, cores[:1]),
            "roomy": run_batch(clips, out / "roomy", 1, cores),
            "long": run_batch(long, out / "long", 2, cores),
        }
        progress(f"avsent predict, {len(clips.files)} times")
        targets = {path: out / path.name for path in clips.files}
        singles = [
            run_command(command("predict", path, "-o", f"{target}.json"), cores)
            for path, target in targets.items()
        ]
        turn["single"] = {
            "wall_s": sum(one.seconds for one in singles),
            "cpu_s": sum(one.cpu_s for one in singles),
            "peak_bytes": max(one.peak_bytes for one in singles),
        }
        batch, single = (
            [json.loads((folder / f"{path.name}.json").read_text("utf-8")) for path in clips.files]
            for folder in (out / "two", out)
        )
    pairs = [({**a, "source": ""}, {**b, "source": ""}) for a, b in zip(batch, single, strict=True)]
    turn["equal"] = sum(a == b for a, b in pairs)
    turn["faces"] = sum(track["frames"] for result in batch for track in result["tracks"])
    progress("one warm process")
    warm = run_command(child("warm", "once", *clips.files), cores)
    turn["warm"] = _taken(warm, json.loads(warm.lines[-1][1])["turns"][0]["wall_s"])
    progress("bare decoding")
    decoding = run_command(child("decode", *clips.files), cores)
    turn["decoding"] = _taken(decoding, json.loads(decoding.lines[-1][1])["work_s"])
    if peer is not None:
        progress("fer")
        script = Path(__file__).with_name("peer.py")
        python = str(peer / "bin" / "python")
        taken = run_command([python, "-I", str(script), *map(str, clips.files)], cores)
        told = json.loads(taken.lines[-1][1])
        turn["fer"] = {**told, **_taken(taken, told["work_s"])}
    return turn


def _taken(taken: Run, work_s: float) -> Figures:
    seconds = {"wall_s": taken.seconds, "cpu_s": taken.cpu_s, "work_s": work_s}
    return {**seconds, "peak_bytes": taken.peak_bytes}


def run_batch(clips: ClipSet, out: Path, workers: int, cores: Sequence[int]) -> Figures:
    """One batch from nothing. Raises BenchmarkError unless all files are done.

    ``work_s``: from the first worker's first file to the end of the last file; ``idle_s``: of
    workers that had nothing left before that end; ``between_s``: waits between files, in sum.
    """
    progress(f"avsent batch, {len(clips.files)} files, {workers} workers, {len(cores)} cores")
    line = command("batch", clips.folder, "-o", out, "--workers", str(workers), "--json-progress")
    taken = run_command(line, cores)
    events = [(when, json.loads(text)) for when, text in taken.lines]
    finished = [(when, one) for when, one in events if one["event"] == "finished"]
    if len(finished) != len(clips.files) or any(one["unchanged"] for _, one in finished):
        raise BenchmarkError(f"the batch did {len(finished)} of {len(clips.files)} files anew")
    ends_s = {one["worker"]: when for when, one in finished}
    end_s = max(ends_s.values())
    work_s = end_s - min(when - one["seconds"] for when, one in finished)
    idle_s = sum(end_s - own_s for own_s in ends_s.values())
    file_s = sum(one["seconds"] for _, one in finished)
    return {
        **_taken(taken, work_s),
        "idle_s": idle_s,
        "between_s": max(0.0, len(ends_s) * work_s - idle_s - file_s),
        "utterances": sum(one["utterances"] for _, one in finished),
    }


def measure_profile(clip: Path, core: int, runs: int) -> Figures:
    """As a worker of a batch does it: one core, one thread, so that stages add up."""
    progress(f"stages of {clip.name} on one core")
    taken = run_command(child("warm", str(runs), clip), [core])
    told = json.loads(taken.lines[-1][1])
    turns = told.pop("turns")
    middle = medians([{key: turn[key] for key in ("wall_s", "cpu_s")} for turn in turns])
    parts = {key: medians([turn[key] for turn in turns]) for key in ("stages", "parts")}
    counts = {key: turns[0][key] for key in ("utterances", "faces")}
    return {**told, **middle, **parts, **counts, "media_s": facts(clip)["duration_s"]}


def measure_reruns(clips: ClipSet, cores: Sequence[int], runs: int) -> Figures:
    """A batch, then the same command with nothing left to do, each in a fresh process."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        first = run_batch(clips, Path(name), len(cores), cores)
        again = [
            run_command(command("batch", clips.folder, "-o", name), cores) for _ in range(runs)
        ]
    return {
        "files": len(clips.files),
        "first run, s": first["wall_s"],
        "wall, s": [one.seconds for one in again],
        "CPU, s": [one.cpu_s for one in again],
        "memory, MB": max(one.peak_bytes for one in again) / 1e6,
    }


def write_ways(report: Report, clips: ClipSet, turns: Sequence[Figures]) -> None:
    """Every way, ratios between them, the clips."""
    rows = []
    ways = [way for way in WAYS if all(way in turn for turn in turns)]
    for way in ways:
        walls, cpu = ([turn[way][key] for turn in turns] for key in ("wall_s", "cpu_s"))
        works = [turn[way]["work_s"] for turn in turns if "work_s" in turn[way]]
        row = {"way": WAYS[way][0], "cores": WAYS[way][1], "wall, s": walls}
        row["× real time"] = clips.media_s / statistics.median(walls)
        row[f"{WORK}, s"] = works or None
        row[f"× real time, {WORK}"] = clips.media_s / statistics.median(works) if works else None
        row["CPU, s"] = cpu
        row["CPU s per s of media"] = statistics.median(cpu) / clips.media_s
        row["largest process, MB"] = max(turn[way]["peak_bytes"] for turn in turns) / 1e6
        rows.append(row)
    first = turns[0]
    note = f"{clips.media_s:.1f} s of media; {first['two']['utterances']} utterances, "
    note += f"{first['faces']} sightings of faces."
    if "fer" in ways:
        note += f" `fer`: a face in {first['fer']['faces']} of {first['fer']['pictures']} pictures."
    report.section(f"{len(clips.files)} clips of talking heads", rows, note)
    ratios = {
        text: [turn[slow][key] / turn[fast][key] for turn in turns]
        for text, slow, fast, key in RATIOS
        if slow in ways
    }
    report.section("Times as fast", ratios)
    report.section("Clips", clips.clips)


def write_long(report: Report, media_s: float, turns: Sequence[Figures]) -> None:
    """The set at 640×360, and what bounds a batch of two workers."""
    runs = [turn["long"] for turn in turns]
    rows = {
        "wall, s": [one["wall_s"] for one in runs],
        "× real time": [media_s / one["wall_s"] for one in runs],
        f"{WORK}, s": [one["work_s"] for one in runs],
        f"× real time, {WORK}": [media_s / one["work_s"] for one in runs],
        "CPU, s": [one["cpu_s"] for one in runs],
        "CPU s per s of media": [one["cpu_s"] / media_s for one in runs],
        "busy share of two cores": [one["cpu_s"] / (2 * one["wall_s"]) for one in runs],
        "idle at the end, s": [one["idle_s"] for one in runs],
        "waiting between files, s": [one["between_s"] for one in runs],
        "utterances": runs[0]["utterances"],
    }
    note = f"`{LONG}` repeated, {media_s:.0f} s, two workers on two cores."
    report.section("640×360", rows, note)


def write_profile(report: Report, profile: Figures) -> None:
    """Stages, and parts of them."""
    wall_s, media_s = profile["wall_s"], profile["media_s"]
    other = {"other": wall_s - sum(profile["stages"].values()), "wall time": wall_s}
    note = (
        f"`{LONG}` in a warm process on one core in one thread, as a worker does it. The "
        f"thread was on its core for {profile['cpu_s'] / wall_s:.0%} of the time (below 95%: not a "
        f"quiet machine). {profile['utterances']} utterances, {profile['faces']} sightings; "
        f"imports {profile['import_s']:.1f} s, first prediction {profile['first_s']:.1f} s."
    )
    for title, seconds, rest in (
        ("Where the time goes", profile["stages"], other),
        ("Parts of the stages, by finer clocks in the same runs", profile["parts"], {}),
    ):
        ordered = dict(sorted(seconds.items(), key=lambda item: -item[1])) | rest
        rows = [
            {"": name, "s": s, "share": s / wall_s, "ms per s of video": 1000 * s / media_s}
            for name, s in ordered.items()
        ]
        report.section(title, rows, note)
        note = ""


def aims(
    turns: Sequence[Figures], media_s: float, reruns: Figures, files: int
) -> Iterator[Figures]:
    """Every aim and whether it was reached."""

    def least(text: str, figure: Callable[[Figures], float], aim: float) -> Figures:
        found = [figure(turn) for turn in turns]
        return {"aim": text, "measured": found, "reached": statistics.median(found) >= aim}

    for key, what in (("wall_s", "whole commands"), ("work_s", WORK)):
        text = f"two workers at least {SCALING_AIM:g} × as fast as one on one core, {what}"
        yield least(text, lambda t, k=key: t["one"][k] / t["two"][k], SCALING_AIM)
        text = f"two workers at least {REAL_TIME_AIM:g} × real time at 640×360, {what}"
        yield least(text, lambda t, k=key: media_s / t["long"][k], REAL_TIME_AIM)
    slowest, equal = max(reruns["wall, s"]), min(turn["equal"] for turn in turns)
    text = f"rerun of a finished batch of {reruns['files']} files in under {RERUN_AIM_S:g} s"
    yield {"aim": text, "measured": slowest, "reached": slowest < RERUN_AIM_S}
    text = f"all {files} results equal those of `avsent predict`"
    yield {"aim": text, "measured": equal, "reached": equal == files}


if __name__ == "__main__":
    sys.exit(main())
