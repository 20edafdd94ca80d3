"""Where the time of a prediction goes: clocks round the parts of avsent, put on from outside."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from avsent.extraction.faces import active_speaker, tracking
from avsent.extraction.features import face, voice
from avsent.extraction.media import reader
from avsent.extraction.utterances import segmentation
from avsent.model import decision

READER_STAGES = ("media", "listening")
MAIN_STAGES = ("opening", "faces", "speaker", "features", "networks", "waiting")
STAGE_TEXTS = {
    "media": "decoding, grey conversion, resampling",
    "listening": "voice activity detection",
    "opening": "opening the file",
    "faces": "detection, tracking, landmarks, crops",
    "speaker": "which face speaks",
    "features": "log-mel, prosody, normalised landmarks",
    "networks": "encoders, context, decision",
    "waiting": "for the reading thread",
}

# A stage is timed by one thread only, so the clocks need no lock. A function is exchanged in
# every module of avsent that imported it; a name that is gone stops the benchmark.
_CALLS: tuple[tuple[str, object, str], ...] = (
    ("opening", reader.MediaReader, "__init__"),
    ("listening", segmentation.SpeechSegmenter, "push"),
    ("listening", segmentation.SpeechSegmenter, "flush"),
    ("faces", tracking.FaceTracker, "__init__"),
    ("faces", tracking.FaceTracker, "push"),
    ("speaker", active_speaker, "sound_envelope"),
    ("speaker", active_speaker, "choose_faces"),
    ("features", voice, "audio_features"),
    ("features", face, "face_features"),
    ("networks", decision.Decider, "encode"),
    ("networks", decision.Decider, "represent"),
)
_ITERATORS: tuple[tuple[str, object, str], ...] = (
    ("media", reader.MediaReader, "__iter__"),
    ("waiting", reader, "prefetch"),
    ("networks", decision.Decider, "decide"),
)


@contextmanager
def timed_stages() -> Iterator[Counter[str]]:
    """While inside, the wall seconds of each stage add up in the counter given."""
    seconds: Counter[str] = Counter()
    with ExitStack() as stack:
        for timed, names in ((_timed_call, _CALLS), (_timed_iterator, _ITERATORS)):
            for stage, owner, name in names:
                function = getattr(owner, name)
                wrapped = timed(function, stage, seconds)
                for user in _users(function, owner, name):
                    stack.enter_context(mock.patch.object(user, name, wrapped))
        yield seconds


def _users(function: object, owner: object, name: str) -> list[object]:
    """Where ``function`` can be called by ``name``: its class, or all modules that import it."""
    if not isinstance(owner, ModuleType):
        return [owner]
    modules = [m for key, m in sorted(sys.modules.items()) if key.partition(".")[0] == "avsent"]
    return [module for module in modules if vars(module).get(name) is function]


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
