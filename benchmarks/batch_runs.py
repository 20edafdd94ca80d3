"""The measurements: batches with one worker and with two, and what they are held against."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batch_child import FamilyRun, run_family
from batch_peer import PeerRun, run_peer
from batch_sets import ClipSet
from measure import BenchmarkError, command, decode_all

_WARM = Path(__file__).with_name("batch_warm.py")


def say(text: str) -> None:
    """A line of progress on standard error."""
    print(f"bench-batch: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Taken:
    """One way through a set: wall seconds, CPU seconds of all processes; ``work_s`` without the
    start, where that can be told apart; ``peak_bytes`` of the largest process, 0 if unknown."""

    wall_s: float
    cpu_s: float
    work_s: float | None = None
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BatchRun:
    """One ``avsent batch``. ``start_s``: until a first worker began with its first file;
    ``work_s``: from then to the end of the last file; ``idle_s``: of workers that found nothing
    left to do before that end, in sum; ``file_s``: of all files, each in its worker."""

    taken: Taken
    workers: int
    files: int
    utterances: int
    start_s: float
    work_s: float
    idle_s: float
    file_s: float

    @property
    def between_s(self) -> float:
        """Seconds in which workers waited for their next file, in sum."""
        return max(0.0, self.workers * self.work_s - self.idle_s - self.file_s)


@dataclass(frozen=True, slots=True)
class Turn:
    """Every way once, one after the other; ``peer`` None where it was left out.
    ``equal``: files of which batch and single command tell the same; ``faces``: found in them,
    counted in all pictures looked at.

    ``one``: one worker on one core; ``roomy``: one worker on two; ``two``: two on two;
    ``plain``: two on two, with the set at 640×360.
    """

    two: BatchRun
    one: BatchRun
    roomy: BatchRun
    plain: BatchRun
    single: Taken
    warm: Taken
    decoding: Taken
    peer: PeerRun | None
    equal: int
    faces: int


def measure_turn(clips: ClipSet, plain: ClipSet, cores: Sequence[int], peer: Path | None) -> Turn:
    """One turn; ``peer``: the environment of ``fer``, ``cores``: two."""
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        out = Path(name)
        say(f"avsent batch, {len(clips.files)} files, 2 workers")
        two = run_batch(clips, out / "two", 2, cores)
        say("the same, 1 worker on one core")
        one = run_batch(clips, out / "one", 1, cores[:1])
        say("the same, 1 worker on two cores")
        roomy = run_batch(clips, out / "roomy", 1, cores)
        say(f"avsent batch, {len(plain.files)} files at 640×360, 2 workers")
        plain_run = run_batch(plain, out / "plain", 2, cores)
        say(f"avsent predict, {len(clips.files)} times")
        single = _singles(clips, out / "single", cores)
        equal = sum(_same(path, out) for path in clips.files)
        faces = sum(_faces(out / "two" / f"{path.name}.json") for path in clips.files)
    say("one warm process")
    warm = _warm(clips.files, cores)
    say("bare decoding")
    decoding = _decoding(clips.files, cores)
    if peer is not None:
        say("fer")
    found = None if peer is None else run_peer(peer, clips.files, cores)
    return Turn(two, one, roomy, plain_run, single, warm, decoding, found, equal, faces)


def run_batch(clips: ClipSet, out: Path, workers: int, cores: Sequence[int]) -> BatchRun:
    """One batch of ``clips`` from nothing. Raises BenchmarkError unless all files are done."""
    line = ["batch", str(clips.folder), "-o", str(out), "--workers", str(workers)]
    run = succeeded(run_family([*command(), *line, "--json-progress"], cores))
    news = [(when, json.loads(text)) for when, text in run.lines]
    finished = [(when, one) for when, one in news if one["event"] == "finished"]
    if len(finished) != len(clips.files) or any(one["unchanged"] for _, one in finished):
        raise BenchmarkError(f"the batch did {len(finished)} of {len(clips.files)} files anew")
    began_s = min(when - one["seconds"] for when, one in finished)
    ends_s: dict[int, float] = {}
    for when, one in finished:
        ends_s[one["worker"]] = when
    end_s = max(ends_s.values())
    work_s = end_s - began_s
    return BatchRun(
        taken=Taken(run.seconds, run.cpu_s, work_s, run.peak_bytes),
        workers=len(ends_s),
        files=len(finished),
        utterances=sum(one["utterances"] for _, one in finished),
        start_s=began_s,
        work_s=work_s,
        idle_s=sum(end_s - own_s for own_s in ends_s.values()),
        file_s=sum(one["seconds"] for _, one in finished),
    )


def _singles(clips: ClipSet, out: Path, cores: Sequence[int]) -> Taken:
    """``avsent predict`` for each file, each in a fresh process."""
    out.mkdir()
    wall_s = cpu_s = 0.0
    peak_bytes = 0
    for path in clips.files:
        target = out / f"{path.name}.json"
        run = succeeded(run_family([*command(), "predict", str(path), "-o", str(target)], cores))
        wall_s, cpu_s = wall_s + run.seconds, cpu_s + run.cpu_s
        peak_bytes = max(peak_bytes, run.peak_bytes)
    return Taken(wall_s, cpu_s, peak_bytes=peak_bytes)


def _same(path: Path, out: Path) -> bool:
    """Whether batch and single command tell the same of a file, but for the name they give it."""
    one, other = (
        {**json.loads((folder / f"{path.name}.json").read_text("utf-8")), "source": ""}
        for folder in (out / "two", out / "single")
    )
    return one == other


def _faces(result: Path) -> int:
    return sum(track["frames"] for track in json.loads(result.read_text("utf-8"))["tracks"])


def _warm(files: Sequence[Path], cores: Sequence[int]) -> Taken:
    told, run = run_warm(files, cores)
    turn = told["turns"][0]
    return Taken(run.seconds, run.cpu_s, turn["wall_s"], run.peak_bytes)


def run_warm(
    files: Sequence[Path], cores: Sequence[int], *options: str
) -> tuple[dict[str, Any], FamilyRun]:
    """What ``batch_warm.py`` tells of ``files``."""
    line = [sys.executable, str(_WARM), *options, *map(str, files)]
    run = succeeded(run_family(line, cores))
    return json.loads(run.lines[-1][1]), run


def _decoding(files: Sequence[Path], cores: Sequence[int]) -> Taken:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import batch_runs; "
    code += "batch_runs.decode_files(sys.argv[2:])"
    here = str(Path(__file__).parent)
    line = [sys.executable, "-c", code, here, *map(str, files)]
    run = succeeded(run_family(line, cores))
    return Taken(run.seconds, run.cpu_s, json.loads(run.lines[-1][1]))


def decode_files(names: Sequence[str]) -> None:
    """Decode files and print the seconds, without those of imports."""
    import time

    import av  # noqa: F401

    began = time.perf_counter()
    for name in names:
        decode_all(Path(name))
    print(json.dumps(time.perf_counter() - began))


@dataclass(frozen=True, slots=True)
class Reruns:
    """A batch of so many files, and the same command again with nothing left to do."""

    files: int
    first: BatchRun
    again: tuple[Taken, ...]


def measure_reruns(clips: ClipSet, cores: Sequence[int], runs: int) -> Reruns:
    """Each in a fresh process; what they take does not depend on how long the files are."""
    say(f"avsent batch, {len(clips.files)} small files, and again")
    with TemporaryDirectory(prefix="avsent-bench-") as name:
        first = run_batch(clips, Path(name), len(cores), cores)
        line = [*command(), "batch", str(clips.folder), "-o", name]
        found = [succeeded(run_family(line, cores)) for _ in range(runs)]
    again = tuple(Taken(run.seconds, run.cpu_s, peak_bytes=run.peak_bytes) for run in found)
    return Reruns(len(clips.files), first, again)


def succeeded(run: FamilyRun) -> FamilyRun:
    """``run``. Raises BenchmarkError where it failed."""
    if run.code != 0:
        last = run.said.strip().splitlines()[-1:] or ["no message"]
        raise BenchmarkError(f"a command ended with code {run.code}: {last[0]}")
    return run
