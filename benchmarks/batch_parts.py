"""Finer clocks than those of ``stages``: what the parts of a stage take, in one thread.

A clock stops while another one inside it runs, so that no second counts twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from avsent.extraction.faces import detection, landmarks, optical_flow, shots
from avsent.extraction.media import audio, video
from avsent.extraction.utterances import segmentation
from avsent.model.networks import target

WHOLE, NEAR, NETWORK = "faces on the whole picture", "a known face close up", "face network"
FLOW, POINTS, CUTS = "movement between pictures", "68 landmarks", "cuts"
PICTURES, SOUND, SPEECH = "pictures: decoding, grey", "sound: decoding, resampling", "speech"
PIXELS, VOICE, FACE = "pixel network", "voice experts", "face experts"
STAGE_OF = {
    **dict.fromkeys((WHOLE, NEAR, NETWORK, FLOW, POINTS, CUTS), "faces"),
    **dict.fromkeys((PICTURES, SOUND), "media"),
    SPEECH: "listening",
    **dict.fromkeys((PIXELS, VOICE, FACE), "networks"),
}

# A name that is gone stops the benchmark.
_CALLS: tuple[tuple[str, type, str], ...] = (
    (WHOLE, detection.FaceDetector, "whole"),
    (NEAR, detection.FaceDetector, "near"),
    (NETWORK, detection.FaceDetector, "network_whole"),
    (NETWORK, detection.FaceDetector, "network_near"),
    (FLOW, optical_flow.FaceFlow, "motion"),
    (FLOW, optical_flow.FaceFlow, "keep"),
    (POINTS, landmarks.LandmarkPredictor, "__call__"),
    (CUTS, shots.CutDetector, "push"),
    (SPEECH, segmentation.SpeechSegmenter, "push"),
    (SPEECH, segmentation.SpeechSegmenter, "flush"),
    (PIXELS, target.TargetModel, "look_at"),
    (VOICE, target.TargetModel, "encode_audio"),
    (FACE, target.TargetModel, "encode_face"),
)
_ITERATORS: tuple[tuple[str, type, str], ...] = (
    (PICTURES, video.PictureTrack, "feed"),
    (PICTURES, video.PictureTrack, "finish"),
    (SOUND, audio.SoundTrack, "feed"),
    (SOUND, audio.SoundTrack, "finish"),
)


@contextmanager
def timed_parts() -> Iterator[Counter[str]]:
    """While inside, the wall seconds of each part add up in the counter given."""
    clocks = _Clocks()
    with ExitStack() as stack:
        for timed, names in ((_timed_call, _CALLS), (_timed_iterator, _ITERATORS)):
            for part, owner, name in names:
                wrapped = timed(getattr(owner, name), part, clocks)
                stack.enter_context(mock.patch.object(owner, name, wrapped))
        yield clocks.seconds


class _Clocks:
    """Clocks of one thread, of which only the innermost runs."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._inside: list[float] = []

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        self._inside.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - began
            self.seconds[part] += taken - self._inside.pop()  # type: ignore[assignment]
            if self._inside:
                self._inside[-1] += taken


def _timed_call(function: Callable[..., Any], part: str, clocks: _Clocks) -> Callable[..., Any]:
    def wrapper(*args: Any, **named: Any) -> Any:
        with clocks.running(part):
            return function(*args, **named)

    return wrapper


def _timed_iterator(
    function: Callable[..., Iterable[Any]], part: str, clocks: _Clocks
) -> Callable[..., Generator[Any, None, None]]:
    def wrapper(*args: Any, **named: Any) -> Generator[Any, None, None]:
        iterator = iter(function(*args, **named))
        while True:
            with clocks.running(part):
                item = next(iterator, clocks)
            if item is clocks:
                return
            yield item

    return wrapper
