"""``make bench-predict``: speed, memory, start-up and boundaries of ``avsent predict``."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import Report, mean, medians, option_parser, positive, progress, run
from processes import BenchmarkError, command, run_command
from videos import LONG, decode_all, facts, long_video, require

CLIPS = (LONG, "speech_closeup_512.mp4", "acted_disgusted_1080p.mp4", "acted_happy_1080p.mp4")
BOUNDARIES = "many_utterances.csv"
MINUTES = (1, 5, 20)
START_UP_RUNS = 5
NEEDS = {"startup": (), "memory": (LONG,), "speed": CLIPS, "boundaries": (LONG, BOUNDARIES)}

REAL_TIME_AIM, DECODING_AIM = 10.0, 2.5
MEMORY_AIM_MB, MEMORY_GROWTH_AIM = 1200, 0.10
START_UP_AIM_S = 0.5
ROW_SUM_TOLERANCE = 1e-6

Interval = tuple[float, float]
Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, clips="folder of the clips")
    parser.add_argument("--runs", type=positive, default=3, metavar="N", help="default 3")
    parser.add_argument("--quick", action="store_true", help="leave the 20 minutes out")
    parser.add_argument("--only", choices=tuple(NEEDS), help="one section; printed, not written")
    return run(parser, measure, arguments, unwritten=("only",))


def measure(options: argparse.Namespace) -> Iterator[Report]:
    sections = (options.only,) if options.only else tuple(NEEDS)
    require(options.clips, [name for section in sections for name in NEEDS[section]])
    report = Report("predict", "Prediction", f"Medians of {options.runs} runs (least–greatest).")
    measures = {"startup": start_up, "memory": memory, "speed": speed, "boundaries": boundaries}
    report.section("Aims", [aim for name in sections for aim in measures[name](report, options)])
    yield report


def start_up(report: Report, options: argparse.Namespace) -> Iterator[Figures]:
    """Wall seconds of ``--help`` and ``--version`` in fresh processes, after one not counted."""
    progress("start-up")
    found = {
        f"`avsent {option}`, s": [
            run_command(command(option)).seconds for _ in range(START_UP_RUNS + 1)
        ][1:]
        for option in ("--help", "--version")
    }
    check = "import sys; from avsent.cli.app import main; main(['--version'])"
    check += "; sys.exit(9 if 'torch' in sys.modules else 0)"
    code = subprocess.run([sys.executable, "-c", check], stdout=subprocess.DEVNULL).returncode
    if code not in (0, 9):
        raise BenchmarkError("avsent --version failed in a child process")
    report.section("Start-up", found)
    for name, seconds in found.items():
        taken = statistics.median(seconds)
        yield _aim(f"{name}: under {START_UP_AIM_S}", taken, taken < START_UP_AIM_S)
    yield _aim("`avsent --version` does not import torch", None, code == 0)


def memory(report: Report, options: argparse.Namespace) -> Iterator[Figures]:
    """The command on videos of so many minutes, each in a fresh process."""
    rows = []
    for wanted in [m for m in MINUTES if m != 20 or not options.quick]:
        progress(f"memory for {wanted} min")
        with TemporaryDirectory(prefix="avsent-bench-") as name:
            video, turns, turn_s = long_video(Path(name), options.clips, wanted)
            output = Path(name, "result.json")
            taken = run_command(command("predict", video, "-o", output))
            result = json.loads(output.read_text(encoding="utf-8"))
        row = {
            "minutes": wanted,
            "duration, s": turns * turn_s,
            "peak memory, MB": taken.peak_bytes / 1e6,
            "wall, s": taken.seconds,
            "CPU, s": taken.cpu_s,
            "utterances": len(result["utterances"]),
            "warnings": len(result["warnings"]),
        }
        rows.append(row)
    report.section("Memory", rows, f"`avsent predict` on `{LONG}` repeated, in fresh processes.")
    peaks = {row["minutes"]: row["peak memory, MB"] for row in rows}
    if {1, 20} <= peaks.keys():
        growth = peaks[20] / peaks[1] - 1
        text = f"memory of 20 min above that of 1 min: at most {MEMORY_GROWTH_AIM:g}"
        yield _aim(text, growth, abs(growth) <= MEMORY_GROWTH_AIM)
        text = f"peak memory of 20 min, MB: under {MEMORY_AIM_MB}"
        yield _aim(text, peaks[20], peaks[20] < MEMORY_AIM_MB)


def speed(report: Report, options: argparse.Namespace) -> Iterator[Figures]:
    """Every clip in this process, which is warm after a first prediction."""
    began = time.perf_counter()
    from avsent.machine import torch_device
    from avsent.predictor import Predictor

    imported = time.perf_counter()
    predictor = Predictor.load()
    loaded = time.perf_counter()
    predictor.predict(options.clips / CLIPS[-1])
    warm = time.perf_counter()
    rows, stages = zip(
        *(_clip(options.clips / name, predictor.predict, options.runs) for name in CLIPS),
        strict=True,
    )
    report.section(
        "Speed",
        rows,
        f"One warm process on `{torch_device('auto')}`; not counted: imports "
        f"{imported - began:.2f} s, checkpoint {loaded - imported:.2f} s, first prediction "
        f"{warm - loaded:.2f} s. Decoding: PyAV, all pictures and sound. CPU: all threads.",
    )
    by_stage = [
        {"stage, s": stage}
        | {row["clip"]: s.get(stage, 0.0) for row, s in zip(rows, stages, strict=True)}
        for stage in dict.fromkeys(name for found in stages for name in found)
    ]
    note = "Separate runs with clocks. Reading and main thread run at the same time."
    report.section("Seconds per stage", by_stage, note)
    small = min(row["× real time"] for row in rows if row["size"] == "640×360")
    text = f"× real time at 640×360: at least {REAL_TIME_AIM:g}"
    yield _aim(text, small, small >= REAL_TIME_AIM)
    large = max(row["predict / decode"] for row in rows if row["size"] == "1920×1080")
    text = f"predict / decode at 1920×1080, the worst clip: at most {DECODING_AIM:g}"
    yield _aim(text, large, large <= DECODING_AIM)


def _clip(
    path: Path, predict: Callable[[Path], object], runs: int
) -> tuple[Figures, dict[str, float]]:
    """Decoding and prediction in turns, so that other load hits both; then stages by clocks."""
    from clocks import MAIN_STAGES, STAGES, timed

    progress(f"speed of {path.name}")
    decoding, predicting, stages = [], [], []
    for _ in range(runs):
        decoding.append(_clocked(lambda: decode_all(path)))
        predicting.append(_clocked(lambda: predict(path)))
    for _ in range(runs):
        with timed(STAGES) as seconds:
            wall_s, _ = _clocked(lambda: predict(path))
        other_s = wall_s - sum(seconds[name] for name in MAIN_STAGES)
        stages.append({**seconds, "main thread, other": other_s, "wall": wall_s})
    clip = facts(path)
    decode_s, predict_s = ([wall for wall, _ in taken] for taken in (decoding, predicting))
    row = {
        "clip": f"`{path.name}`",
        "size": f"{clip['width']}×{clip['height']}",
        "fps": clip["fps"],
        "duration, s": clip["duration_s"],
        "predict, s": predict_s,
        "× real time": clip["duration_s"] / statistics.median(predict_s),
        "decode, s": decode_s,
        "predict / decode": statistics.median(predict_s) / statistics.median(decode_s),
        "predict, CPU s": statistics.median(cpu for _, cpu in predicting),
        "decode, CPU s": statistics.median(cpu for _, cpu in decoding),
    }
    return row, medians(stages)


def _clocked(action: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def boundaries(report: Report, options: argparse.Namespace) -> Iterator[Figures]:
    """True utterances against those found; sums of the rows of context attention."""
    progress("boundaries")
    from avsent.extraction.utterances.boundaries import read_boundaries
    from avsent.predictor import predict

    given = read_boundaries(options.clips / BOUNDARIES).segments
    true = [(segment.start_s, segment.end_s) for segment in given]
    result = predict(options.clips / LONG)
    found = sorted((u.start_s, u.end_s) for u in result.utterances)
    single, span = "IoU, best single found one", "IoU, span of those more than half inside"
    rows: list[Figures] = [
        {
            "true utterance": number,
            single: max((_iou(one, f) for f in found), default=0.0),
            span: _iou(one, _span(one, found)),
        }
        for number, one in enumerate(true, 1)
    ]
    means = {name: mean([row[name] for row in rows]) for name in (single, span)}
    note = f"`{LONG}`: {len(true)} true utterances, {len(found)} found."
    report.section("Utterance boundaries", [*rows, {"true utterance": "mean", **means}], note)
    sums = [sum(row) for u in result.utterances for row in u.attention.context.values() if row]
    off = max((abs(total - 1) for total in sums), default=0.0)
    text = f"{len(sums)} rows of context attention sum to 1, off by at most {ROW_SUM_TOLERANCE:g}"
    yield _aim(text, off, bool(sums) and off <= ROW_SUM_TOLERANCE)


def _aim(text: str, measured: float | None, reached: bool) -> Figures:
    return {"aim": text, "measured": measured, "reached": reached}


def _overlap(a: Interval, b: Interval) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def _iou(a: Interval, b: Interval) -> float:
    both = _overlap(a, b)
    return both / (a[1] - a[0] + b[1] - b[0] - both)


def _span(true: Interval, found: list[Interval]) -> Interval:
    """From the first to the last found one of which more than half lies in ``true``."""
    inside = [f for f in found if _overlap(true, f) > (f[1] - f[0]) / 2]
    return (inside[0][0], max(f[1] for f in inside)) if inside else (true[0], true[0])


if __name__ == "__main__":
    sys.exit(main())
