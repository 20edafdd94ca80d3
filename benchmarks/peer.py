"""The peer that batches are compared with: the ``fer`` package, in an environment of its own.

Run by that environment's Python (``make bench-batch`` installs it): looks at RATE_HZ pictures a
second by presentation time and prints JSON.
"""

import json
import sys
import time
from importlib.metadata import version

import av
from fer.fer import FER

RATE_HZ = 5.0
_CLOSE_ENOUGH_S = 1e-3


def main() -> int:
    peer = FER()
    began = time.perf_counter()
    pictures = with_face = 0
    for path in sys.argv[1:]:
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
    work_s = time.perf_counter() - began
    names = ("fer", "tensorflow-cpu", "opencv-contrib-python-headless", "av")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    told = {"work_s": work_s, "pictures": pictures, "faces": with_face, "versions": versions}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
