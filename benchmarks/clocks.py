"""Clocks around parts of avsent, attached from outside: where the time of a prediction goes.

A clock stops while another one in the same thread runs inside it, so no second counts twice.
"""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from avsent.extraction.faces.active_speaker import choose_faces, sound_envelope
from avsent.extraction.faces.detection import FaceDetector
from avsent.extraction.faces.landmarks import LandmarkPredictor
from avsent.extraction.faces.motion import CutDetector, FaceFlow
from avsent.extraction.faces.tracking import FaceTracker
from avsent.extraction.features.face import face_features
from avsent.extraction.features.voice import audio_features
from avsent.extraction.media.audio import SoundTrack
from avsent.extraction.media.reader import MediaReader, prefetch
from avsent.extraction.media.video import PictureTrack
from avsent.extraction.utterances.segmentation import SpeechSegmenter
from avsent.model.decision import Decider
from avsent.model.networks.experts import AudioExperts, FaceExperts
from avsent.model.networks.target import TargetModel

# Stage or part → functions, or classes with names of methods. An unknown name stops the benchmark.
Clocked = Mapping[str, tuple[Any, ...]]

READER_STAGES: Clocked = {
    "media: decoding, grey conversion, resampling": ((MediaReader, "__iter__"),),
    "listening: voice activity detection": ((SpeechSegmenter, "push flush"),),
}
MAIN_STAGES: Clocked = {
    "opening: opening the file": ((MediaReader, "__init__"),),
    "faces: detection, tracking, landmarks, crops": ((FaceTracker, "__init__ push"),),
    "speaker: which face speaks": (sound_envelope, choose_faces),
    "features: mel, prosody, landmarks": (audio_features, face_features),
    "networks: encoders, context, decision": ((Decider, "encode encode_faces decide"),),
    "waiting: for the reading thread": (prefetch,),
}
STAGES: Clocked = {**READER_STAGES, **MAIN_STAGES}
PARTS: Clocked = {
    "faces: whole picture": ((FaceDetector, "whole"),),
    "faces: known face close up": ((FaceDetector, "near"),),
    "faces: face network": ((FaceDetector, "network_whole network_near"),),
    "faces: movement between pictures": ((FaceFlow, "motion keep"),),
    "faces: 68 landmarks": ((LandmarkPredictor, "__call__"),),
    "faces: cuts": ((CutDetector, "push"),),
    "media: pictures, decoding and grey": ((PictureTrack, "feed finish"),),
    "media: sound, decoding and resampling": ((SoundTrack, "feed finish"),),
    "listening: speech": ((SpeechSegmenter, "push flush"),),
    "networks: pixel network": ((TargetModel, "classify_pixels"),),
    "networks: voice experts": ((AudioExperts, "forward"),),
    "networks: face experts": ((FaceExperts, "forward"),),
}
_GENERATORS = ("__iter__", "prefetch", "decide", "feed", "finish")
_DONE = object()


@contextmanager
def timed(clocked: Clocked) -> Iterator[Counter[str]]:
    """While inside, the wall seconds of each stage or part add up in the yielded counter."""
    clocks = _Clocks()
    modules = [m for key, m in sorted(sys.modules.items()) if key.partition(".")[0] == "avsent"]
    with ExitStack() as stack:
        for name, functions in clocked.items():
            for one in functions:
                if isinstance(one, tuple):
                    users, attributes = [one[0]], one[1].split()
                else:  # a function, wherever it was imported
                    attributes = [one.__name__]
                    users = [m for m in modules if vars(m).get(one.__name__) is one]
                for attribute in attributes:
                    wrap = _generator if attribute in _GENERATORS else _call
                    wrapped = wrap(getattr(users[0], attribute), name, clocks)
                    for user in users:
                        stack.enter_context(mock.patch.object(user, attribute, wrapped))
        yield clocks.seconds


class _Clocks:
    """Of each thread only the innermost clock runs; a name is timed in one thread only."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._thread = threading.local()

    @contextmanager
    def running(self, name: str) -> Iterator[None]:
        inside: list[float] = self._thread.__dict__.setdefault("inside", [])
        began = time.perf_counter()
        inside.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - began
            self.seconds[name] += taken - inside.pop()  # type: ignore[assignment]
            if inside:
                inside[-1] += taken


def _call(function: Callable[..., Any], name: str, clocks: _Clocks) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Any:
        with clocks.running(name):
            return function(*args, **named)

    return wrapper


def _generator(function: Callable[..., Any], name: str, clocks: _Clocks) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Generator[Any, None, None]:
        iterator = iter(function(*args, **named))
        try:
            while True:
                with clocks.running(name):
                    item = next(iterator, _DONE)
                if item is _DONE:
                    return
                yield item
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    return wrapper
