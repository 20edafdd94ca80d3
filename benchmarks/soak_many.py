"""Predict many files with ``Predictor.predict_many`` in one process; a line of JSON for each.

A process of its own, for ``bench_soak.py`` to watch.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from pathlib import Path


def main() -> int:
    """Print what the process holds after each file, and once more when the predictor is gone."""
    from avsent.predictor import Predictor

    files = [Path(name) for name in Path(sys.argv[1]).read_text("utf-8").splitlines()]
    predictor = Predictor.load()
    done_s = 0.0
    for number, result in enumerate(predictor.predict_many(files), 1):
        done_s += result.duration_s
        tell(number, done_s, len(result.utterances))
    del predictor
    gc.collect()
    tell(len(files), done_s, 0)
    return 0


def tell(files: int, done_s: float, utterances: int) -> None:
    """One line: ``batch.reached_s`` stands where a batch's progress has it."""
    said = {
        "files": files,
        "utterances": utterances,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "batch": {"reached_s": done_s},
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    sys.exit(main())
