"""Predict files in one warm process, and print, as JSON, what that took.

A process of its own, because the number of its threads is settled when libraries are imported.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def main() -> int:
    """Predict ``--runs`` times all files; with ``--profile`` as a batch's worker does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="one thread, and clocks in it")
    given = parser.parse_args()
    began = time.perf_counter()
    from batch_parts import timed_parts
    from stages import timed_stages

    from avsent.batch.engines.worker import use_threads
    from avsent.options import PredictOptions
    from avsent.predictor import Predictor

    if given.profile:
        import avsent.batch.engines.preload  # noqa: F401  # as workers find it done

    imported = time.perf_counter()
    if given.profile:
        use_threads(1)
    options = PredictOptions(threads=1 if given.profile else None)
    predictor = Predictor.load()
    loaded = time.perf_counter()
    predictor.predict(given.files[0], options=options)
    warm = time.perf_counter()

    def turn() -> dict[str, Any]:
        with ExitStack() as stack:
            stages = stack.enter_context(timed_stages()) if given.profile else {}
            parts = stack.enter_context(timed_parts()) if given.profile else {}
            wall, cpu = time.perf_counter(), time.process_time()
            utterances = faces = 0
            for path in given.files:
                result = predictor.predict(path, options=options)
                utterances += len(result.utterances)
                faces += sum(track.frames for track in result.tracks)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {
            "wall_s": wall,
            "cpu_s": cpu,
            "stages": dict(stages),
            "parts": dict(parts),
            "utterances": utterances,
            "faces": faces,
        }

    turns = [turn() for _ in range(given.runs)]
    start = {
        "import_s": imported - began,
        "load_s": loaded - imported,
        "first_s": warm - loaded,
    }
    json.dump({**start, "turns": turns}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
