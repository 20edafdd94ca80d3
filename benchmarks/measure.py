"""The measurements: speed of clips, memory of long videos, start-up, utterance boundaries."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from child import ChildRun, run_child

CLIPS = (
    "many_utterances.mp4",
    "speech_closeup_512.mp4",
    "acted_disgusted_1080p.mp4",
    "acted_happy_1080p.mp4",
)
LONG_CLIP, BOUNDARIES = "many_utterances.mp4", "many_utterances.csv"
START_UP_RUNS = 5


class BenchmarkError(Exception):
    """Something needed for a measurement is missing or failed."""


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall and CPU seconds of one thing done several times."""

    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def wall_s(self) -> float:
        return statistics.median(self.wall)

    @property
    def cpu_s(self) -> float:
        return statistics.median(self.cpu)


@dataclass(frozen=True, slots=True)
class ClipSpeed:
    """One clip: its facts, bare decoding, prediction, and seconds per stage."""

    name: str
    width: int
    height: int
    fps: float
    duration_s: float
    decoding: Seconds
    predicting: Seconds
    staged_s: float
    stages: dict[str, float]

    @property
    def times_real_time(self) -> float:
        return self.duration_s / self.predicting.wall_s

    @property
    def ratio(self) -> float:
        """Prediction over bare decoding, in wall seconds."""
        return self.predicting.wall_s / self.decoding.wall_s


@dataclass(frozen=True, slots=True)
class Speed:
    """All clips, and what came before the first: imports, checkpoint, first prediction."""

    import_s: float
    load_s: float
    warm_up_s: float
    device: str
    clips: tuple[ClipSpeed, ...]


@dataclass(frozen=True, slots=True)
class LongRun:
    """The command on one long video."""

    minutes: int
    duration_s: float
    run: ChildRun
    utterances: int
    warnings: int


@dataclass(frozen=True, slots=True)
class StartUp:
    """Wall seconds of ``--help`` and ``--version``, and whether ``--version`` imports torch."""

    help: tuple[float, ...]
    version: tuple[float, ...]
    imports_torch: bool


@dataclass(frozen=True, slots=True)
class Boundaries:
    """True utterances against those found: IoU with the best single one, and with the span of
    those that overlap; the largest deviation of a row of context attention from a sum of 1."""

    single: tuple[float, ...]
    span: tuple[float, ...]
    found: int
    rows: int
    deviation: float


def say(text: str) -> None:
    """A line of progress on standard error."""
    print(f"bench-predict: {text}", file=sys.stderr, flush=True)


def measure_speed(folder: Path, runs: int) -> Speed:
    """Every clip in this process, which is warm after a first prediction."""
    began = time.perf_counter()
    from avsent.machine import torch_device
    from avsent.predictor import Predictor

    imported = time.perf_counter()
    predictor = Predictor.load()
    loaded = time.perf_counter()
    predictor.predict(folder / CLIPS[-1])
    warm = time.perf_counter()
    return Speed(
        imported - began,
        loaded - imported,
        warm - loaded,
        str(torch_device("auto")),
        tuple(_measure_clip(folder / name, predictor.predict, runs) for name in CLIPS),
    )


def _measure_clip(path: Path, predict: Callable[[Path], object], runs: int) -> ClipSpeed:
    from stages import timed_stages

    say(f"speed of {path.name}")
    width, height, fps, duration_s = _facts(path)
    decoding, predicting = [], []
    for _ in range(runs):  # in turns, so that noise hits both
        decoding.append(_clocked(lambda: decode_all(path)))
        predicting.append(_clocked(lambda: predict(path)))
    staged = []
    for _ in range(runs):
        with timed_stages() as stages:
            wall_s, _ = _clocked(lambda: predict(path))
        staged.append((wall_s, dict(stages)))
    names = dict.fromkeys(name for _, stages in staged for name in stages)
    return ClipSpeed(
        name=path.name,
        width=width,
        height=height,
        fps=fps,
        duration_s=duration_s,
        decoding=_seconds(decoding),
        predicting=_seconds(predicting),
        staged_s=statistics.median(wall_s for wall_s, _ in staged),
        stages={n: statistics.median(s.get(n, 0.0) for _, s in staged) for n in names},
    )


def _clocked(action: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - wall, time.process_time() - cpu


def _seconds(pairs: Iterable[tuple[float, float]]) -> Seconds:
    wall, cpu = zip(*pairs, strict=True)
    return Seconds(wall, cpu)


def decode_all(path: Path) -> None:
    """Bare decoding: every picture and all sound, nothing done with them."""
    import av

    with av.open(str(path)) as media:
        streams = [*media.streams.video[:1], *media.streams.audio[:1]]
        for stream in streams:
            stream.thread_type = "AUTO"
        for packet in media.demux(streams):
            packet.decode()


def _facts(path: Path) -> tuple[int, int, float, float]:
    import av

    with av.open(str(path)) as media:
        video = media.streams.video[0]
        rate, duration_s = float(video.average_rate or 0), (media.duration or 0) / av.time_base
        return video.width, video.height, rate, duration_s


def measure_memory(folder: Path, minutes: Sequence[int]) -> tuple[LongRun, ...]:
    """The installed command on videos of so many minutes, each in a fresh process."""
    from looping import duration_s, loop_video

    source = folder / LONG_CLIP
    long_runs = []
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        for wanted in minutes:
            say(f"memory for {wanted} min")
            video, output = Path(name, f"{wanted}min.mp4"), Path(name, f"{wanted}min.json")
            times = max(1, round(wanted * 60 / duration_s(source)))
            loop_video(source, video, times)
            length_s = duration_s(video)
            if abs(length_s - times * duration_s(source)) > 1:
                raise BenchmarkError(f"looping gave {length_s:.1f} s, not {times} times the clip")
            run = _succeeded(run_child([*command(), "predict", str(video), "-o", str(output)]))
            result = json.loads(output.read_text(encoding="utf-8"))
            counts = len(result["utterances"]), len(result["warnings"])
            long_runs.append(LongRun(wanted, length_s, run, *counts))
            video.unlink()
    return tuple(long_runs)


def measure_start_up() -> StartUp:
    """Help and version in fresh processes, after one that is not counted."""
    say("start-up")
    taken: dict[str, tuple[float, ...]] = {}
    for option in ("--help", "--version"):
        runs = [_succeeded(run_child([*command(), option])) for _ in range(START_UP_RUNS + 1)]
        taken[option] = tuple(run.seconds for run in runs[1:])
    check = "import sys; from avsent.cli.app import main; main(['--version'])"
    check += "; sys.exit(9 if 'torch' in sys.modules else 0)"
    code = subprocess.run([sys.executable, "-c", check], stdout=subprocess.DEVNULL).returncode
    if code not in (0, 9):
        raise BenchmarkError("avsent --version failed in a child process")
    return StartUp(taken["--help"], taken["--version"], code == 9)


def measure_boundaries(folder: Path) -> Boundaries:
    """Utterances found in the long clip against the true ones."""
    say("boundaries")
    from avsent.extraction.utterances.boundaries import read_boundaries
    from avsent.predictor import predict

    true = [(s.start_s, s.end_s) for s in read_boundaries(folder / BOUNDARIES)]
    result = predict(folder / LONG_CLIP)
    found = sorted((u.start_s, u.end_s) for u in result.utterances)
    sums = [sum(row) for u in result.utterances for row in u.attention.context.values() if row]
    return Boundaries(
        single=tuple(max((_iou(t, f) for f in found), default=0.0) for t in true),
        span=tuple(_iou(t, _span(t, found)) for t in true),
        found=len(found),
        rows=len(sums),
        deviation=max((abs(total - 1) for total in sums), default=0.0),
    )


Interval = tuple[float, float]


def _overlap(a: Interval, b: Interval) -> float:
    return max(0.0, min(a[1], b[1]) - max(a[0], b[0]))


def _iou(a: Interval, b: Interval) -> float:
    both = _overlap(a, b)
    return both / (a[1] - a[0] + b[1] - b[0] - both)


def _span(true: Interval, found: list[Interval]) -> Interval:
    """From the first to the last found one of which more than half lies in ``true``."""
    inside = [f for f in found if _overlap(true, f) > (f[1] - f[0]) / 2]
    return (inside[0][0], max(f[1] for f in inside)) if inside else (true[0], true[0])


def command() -> list[str]:
    """The installed ``avsent`` beside this Python."""
    script = Path(sys.executable).with_name("avsent")
    if not script.is_file():
        raise BenchmarkError("avsent is not installed beside this Python; run pip install -e .")
    return [str(script)]


def _succeeded(run: ChildRun) -> ChildRun:
    if run.code != 0:
        last = run.said.strip().splitlines()[-1:] or ["no message"]
        raise BenchmarkError(f"avsent ended with code {run.code}: {last[0]}")
    return run
