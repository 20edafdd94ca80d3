"""What benchmarks run in processes of their own: ``python children.py KIND ...``, JSON out."""

import gc
import json
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

TRACED = (1 / 3, 14 / 15, 2.0)
"""Allocations are compared between the first two of these shares of the video."""
TRACE_PLACES = 8


def warm(runs: str, *files: str) -> Iterator[dict[str, Any]]:
    """All files once in a warm process; or, with a number of ``runs``, so often as a batch's worker
    does it, in one thread and with clocks."""
    began = time.perf_counter()
    from clocks import PARTS, STAGES, timed

    from avsent.batch.engines.worker import use_threads
    from avsent.options import PredictOptions
    from avsent.predictor import Predictor

    profile = runs != "once"
    if profile:
        import avsent.batch.engines.preload  # noqa: F401  # workers find it imported

        use_threads(1)
    imported = time.perf_counter()
    options = PredictOptions(threads=1 if profile else None)
    predictor = Predictor.load()
    loaded = time.perf_counter()
    predictor.predict(Path(files[0]), options=options)
    start = {"import_s": imported - began, "first_s": time.perf_counter() - loaded}
    turns = []
    for _ in range(int(runs) if profile else 1):
        with ExitStack() as stack:
            stages, parts = (
                stack.enter_context(timed(clocked)) if profile else {}
                for clocked in (STAGES, PARTS)
            )
            wall, cpu = time.perf_counter(), time.process_time()
            utterances = faces = 0
            for path in files:
                result = predictor.predict(Path(path), options=options)
                utterances += len(result.utterances)
                faces += sum(track.frames for track in result.tracks)
            seconds = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        found = {"stages": dict(stages), "parts": dict(parts)}
        turns.append({**seconds, **found, "utterances": utterances, "faces": faces})
    yield {**start, "turns": turns}


def decode(*files: str) -> Iterator[dict[str, Any]]:
    """Seconds of decoding, without imports."""
    from videos import decode_all

    began = time.perf_counter()
    for path in files:
        decode_all(Path(path))
    yield {"work_s": time.perf_counter() - began}


def many(listing: str) -> Iterator[dict[str, Any]]:
    """``predict_many`` on the files that ``listing`` names: a line after each file, and one when
    the predictor is gone."""
    from avsent.predictor import Predictor

    def line(utterances: int) -> dict[str, Any]:
        descriptors = len(os.listdir("/proc/self/fd"))
        counts = {"descriptors": descriptors, "threads": threading.active_count()}
        # The position stands where a batch's progress has it.
        return {"utterances": utterances, **counts, "batch": {"reached_s": done_s}}

    files = [Path(name) for name in Path(listing).read_text("utf-8").splitlines()]
    predictor = Predictor.load()
    done_s = 0.0
    for result in predictor.predict_many(files):
        done_s += result.duration_s
        yield line(len(result.utterances))
    del predictor
    gc.collect()
    yield line(0)


def trace(video: str) -> Iterator[dict[str, Any]]:
    """Memory kept between two moments of one prediction, by line of code."""
    import avsent
    from avsent.predictor import Predictor

    predictor = Predictor.load()
    moments: list[tuple[float, tracemalloc.Snapshot]] = []

    def look(progress: Any) -> None:
        if progress.total and progress.completed >= TRACED[len(moments)] * progress.total:
            gc.collect()
            moments.append((progress.completed, tracemalloc.take_snapshot()))

    def place(name: str) -> str:
        path, package = Path(name), Path(avsent.__file__).parent
        if path.is_relative_to(package):
            return path.relative_to(package.parent).as_posix()
        return name.rpartition("site-packages/")[2] if "site-packages/" in name else path.name

    tracemalloc.start(1)
    result = predictor.predict(Path(video), on_progress=look)
    (from_s, before), (to_s, after) = moments
    grown = sorted(after.compare_to(before, "lineno"), key=lambda one: -one.size_diff)
    sizes = [
        [f"{place(one.traceback[0].filename)}:{one.traceback[0].lineno}", one.size_diff]
        for one in grown[:TRACE_PLACES]
    ]
    yield {
        "from_s": from_s,
        "to_s": to_s,
        "utterances": sum(from_s < u.end_s <= to_s for u in result.utterances),
        "tracks": sum(from_s < track.start_s <= to_s for track in result.tracks),
        "places": [["all", sum(one.size_diff for one in grown)], *sizes],
    }


if __name__ == "__main__":
    kinds = {"warm": warm, "decode": decode, "many": many, "trace": trace}
    for told in kinds[sys.argv[1]](*sys.argv[2:]):
        print(json.dumps(told), flush=True)
