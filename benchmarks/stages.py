"""Where the time of a prediction goes: clocks round the parts of avsent, put on from outside."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from avsent import extraction, pipeline

READER_STAGES = ("media", "listening")
MAIN_STAGES = ("opening", "faces", "speaker", "features", "networks", "waiting")
STAGE_TEXTS = {
    "media": "decoding, grey conversion, resampling",
    "listening": "voice activity detection",
    "opening": "opening the file, decoding its first picture",
    "faces": "detection, tracking, landmarks, crops",
    "speaker": "which face speaks",
    "features": "log-mel, normalised landmarks",
    "networks": "encoders, context, decision",
    "waiting": "for the reading thread",
}

# A stage is timed by one thread only, so the clocks need no lock. The names are those that
# extraction and pipeline use; a name that is gone stops the benchmark.
_CALLS: tuple[tuple[str, object, str], ...] = (
    ("opening", extraction.MediaReader, "__init__"),
    ("listening", extraction, "default_detector"),
    ("listening", extraction.SpeechSegmenter, "push"),
    ("listening", extraction.SpeechSegmenter, "flush"),
    ("faces", extraction.FaceTracker, "__init__"),
    ("faces", extraction.FaceTracker, "push"),
    ("speaker", extraction, "sound_envelope"),
    ("speaker", extraction, "choose_faces"),
    ("features", extraction, "audio_features"),
    ("features", extraction, "face_features"),
    ("networks", pipeline.Decider, "encode"),
)
_ITERATORS: tuple[tuple[str, object, str], ...] = (
    ("media", extraction.MediaReader, "__iter__"),
    ("waiting", extraction, "prefetch"),
    ("networks", pipeline.Decider, "decide"),
)


@contextmanager
def timed_stages() -> Iterator[Counter[str]]:
    """While inside, the wall seconds of each stage add up in the counter given."""
    seconds: Counter[str] = Counter()
    with ExitStack() as stack:
        for timed, names in ((_timed_call, _CALLS), (_timed_iterator, _ITERATORS)):
            for stage, owner, name in names:
                wrapped = timed(getattr(owner, name), stage, seconds)
                stack.enter_context(mock.patch.object(owner, name, wrapped))
        yield seconds


def _timed_call(
    function: Callable[..., Any], stage: str, seconds: Counter[str]
) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            seconds[stage] += time.perf_counter() - began  # type: ignore[assignment]

    return wrapper


def _timed_iterator(
    function: Callable[..., Iterable[Any]], stage: str, seconds: Counter[str]
) -> Callable[..., Generator[Any, None, None]]:
    def wrapper(*args: Any, **named: Any) -> Generator[Any, None, None]:
        iterator = iter(function(*args, **named))
        try:
            while True:
                began = time.perf_counter()
                try:
                    item = next(iterator)
                except StopIteration:
                    return
                finally:
                    seconds[stage] += time.perf_counter() - began  # type: ignore[assignment]
                yield item
        finally:
            if isinstance(iterator, Generator):
                iterator.close()

    return wrapper
