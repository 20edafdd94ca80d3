"""What the ``fer`` package makes of files, at so many pictures a second: JSON on standard output.

Runs in an environment of its own, where avsent is not. Pictures are taken by presentation time.
"""

from __future__ import annotations

import json
import sys
import time

import av
from fer.fer import FER

RATE_HZ = 5.0
_CLOSE_ENOUGH_S = 1e-3


def main() -> int:
    """Analyse the files named, with one model."""
    began = time.perf_counter()
    peer = FER()
    loaded = time.perf_counter()
    pictures = with_face = 0
    for path in sys.argv[1:]:
        looked, found = _analyse(peer, path)
        pictures, with_face = pictures + looked, with_face + found
    taken = {
        "load_s": loaded - began,
        "work_s": time.perf_counter() - loaded,
        "pictures": pictures,
        "with_face": with_face,
    }
    print(json.dumps(taken))
    return 0


def _analyse(peer: FER, path: str) -> tuple[int, int]:
    """Pictures looked at, and how many of them show a face."""
    pictures = with_face = 0
    next_s: float | None = None
    with av.open(path) as media:
        stream = media.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in media.decode(stream):
            if frame.time is None:
                continue
            next_s = frame.time if next_s is None else next_s
            if frame.time < next_s - _CLOSE_ENOUGH_S:
                continue
            while next_s <= frame.time + _CLOSE_ENOUGH_S:
                next_s += 1 / RATE_HZ
            pictures += 1
            with_face += bool(peer.detect_emotions(frame.to_ndarray(format="bgr24")))
    return pictures, with_face


if __name__ == "__main__":
    sys.exit(main())
