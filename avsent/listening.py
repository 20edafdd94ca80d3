"""Sound listened to while it is read: utterances found, or only whether there is any sound."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from avsent.media import SAMPLE_RATE_HZ, Damage, Frame, MediaReader, Sound
from avsent.speech import SpeechDetector
from avsent.utterances import SILENCE_FLOOR_DB, Segment, SpeechSegmenter


@dataclass(frozen=True, slots=True)
class Heard:
    """A chunk of sound after it was listened to: utterances that became final, how far back a
    future one may begin, and whether anything was louder than silence so far."""

    sound: Sound
    segments: list[Segment]
    open_since_s: float
    heard: bool


def listened(
    reader: MediaReader, detector: SpeechDetector
) -> Generator[Frame | Heard | Damage, None, None]:
    """The reader's events, its sound cut into utterances by voice activity."""
    segmenter = SpeechSegmenter(detector)
    end_s: float | None = None
    for event in reader:
        if not isinstance(event, Sound):
            yield event
            continue
        end_s = event.start_s + event.samples.size / SAMPLE_RATE_HZ
        segments = segmenter.push(event.start_s, event.samples)
        yield Heard(event, segments, segmenter.open_since_s, segmenter.heard)
    if end_s is not None:
        rest = Sound(end_s, np.zeros(0, dtype=np.float32))
        yield Heard(rest, segmenter.flush(), end_s, segmenter.heard)


def watched_for_silence(reader: MediaReader) -> Generator[Frame | Heard | Damage, None, None]:
    """The reader's events; its sound is only watched for silence, the utterances are given."""
    heard = False
    for event in reader:
        if not isinstance(event, Sound):
            yield event
            continue
        level = (
            float(np.mean(np.square(event.samples, dtype=np.float64)))
            if len(event.samples)
            else 0.0
        )
        heard = heard or level > 10 ** (SILENCE_FLOOR_DB / 10)
        yield Heard(event, [], np.inf, heard)
