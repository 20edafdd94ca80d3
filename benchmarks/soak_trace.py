"""What a prediction keeps while video goes by, by the line that asked for the memory; JSON.

A process of its own, because counting every allocation makes it slow.
"""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
from pathlib import Path

FROM, TO = 1 / 3, 14 / 15
"""Of the video: between these two moments allocations are compared."""
PLACES = 8


def main() -> int:
    """Predict the video that is named, and print what was kept of its middle."""
    import avsent
    from avsent.predictor import Predictor
    from avsent.progress import Progress

    video = Path(sys.argv[1])
    package = Path(avsent.__file__).parent.parent
    predictor = Predictor.load()
    moments: list[tuple[float, tracemalloc.Snapshot]] = []

    def look(progress: Progress) -> None:
        wanted = (FROM, TO)[len(moments)] if len(moments) < 2 else 2.0
        if progress.total and progress.completed >= wanted * progress.total:
            gc.collect()
            moments.append((progress.completed, tracemalloc.take_snapshot()))

    tracemalloc.start(1)
    result = predictor.predict(video, on_progress=look)
    (from_s, before), (to_s, after) = moments
    grown = after.compare_to(before, "lineno")
    told = {
        "from_s": from_s,
        "to_s": to_s,
        "utterances": sum(from_s < u.end_s <= to_s for u in result.utterances),
        "tracks": sum(from_s < track.start_s <= to_s for track in result.tracks),
        "bytes": sum(one.size_diff for one in grown),
        "places": [
            [_place(one.traceback[0].filename, package), one.traceback[0].lineno, one.size_diff]
            for one in sorted(grown, key=lambda one: -one.size_diff)[:PLACES]
        ],
    }
    print(json.dumps(told), flush=True)
    return 0


def _place(name: str, package: Path) -> str:
    """A file of ours by its place in the repository, another one by its package."""
    path = Path(name)
    if path.is_relative_to(package / "avsent"):
        return path.relative_to(package).as_posix()
    return name.rpartition("site-packages/")[2] if "site-packages/" in name else path.name


if __name__ == "__main__":
    sys.exit(main())
