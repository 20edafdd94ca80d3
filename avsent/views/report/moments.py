"""Which moments of an utterance its report shows, and how much of it, so that pages stay small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avsent.result.record import Result
from avsent.result.utterance import TimeWeight

MAX_APART_S = 0.3
"""Two pictures shown of an utterance lie this far apart, where it is long enough: neighbours look
the same."""
_USUAL_RATE_HZ = 10.0
_MIN_FRAMES = 8
_HIGHEST_RATE_HZ = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is shown of each utterance.

    ``faces``: pictures at most; ``face_px``: their side at most; ``quality``: of the WebP, 0 to
    100; ``columns``: width of the spectrogram at most; ``row``: other utterances in a row of
    context attention, None for all.
    """

    faces: int = 6
    face_px: int = 160
    quality: int = 78
    columns: int = 720
    row: int | None = None


def sizes_for(utterances: int) -> Sizes:
    """Less of each where there are many: a page of an hour stays below ten megabytes or so."""
    if utterances <= 80:
        return Sizes()
    if utterances <= 400:
        return Sizes(faces=5, face_px=112, quality=70, columns=480)
    return Sizes(faces=4, face_px=80, quality=60, columns=240, row=100)


def strongest(frames: Sequence[TimeWeight], most: int) -> list[TimeWeight]:
    """The up to ``most`` moments with the greatest weights, greatest first, not side by side."""
    if not frames or most < 1:
        return []
    lasted_s = frames[-1].time_s - frames[0].time_s
    apart_s = min(MAX_APART_S, lasted_s / (2 * most))
    chosen: list[TimeWeight] = []
    for frame in sorted(frames, key=lambda one: (-one.weight, one.time_s)):
        # Times are rounded in files: half a millisecond more or less is no difference.
        if all(abs(frame.time_s - other.time_s) >= apart_s - 5e-4 for other in chosen):
            chosen.append(frame)
            if len(chosen) == most:
                break
    return chosen


def analysis_rate_of(result: Result) -> float:
    """Pictures per second in which faces were looked for, as the times in ``result`` tell.

    Where a face is not always seen they tell too few, never too many: the densest utterance
    counts. Near the usual rate, or where nothing can be told, it is the usual one.
    """
    densest = 0.0
    for utterance in result.utterances:
        frames = utterance.attention.face_frames
        if len(frames) >= _MIN_FRAMES and frames[-1].time_s > frames[0].time_s:
            lasted_s = frames[-1].time_s - frames[0].time_s
            densest = max(densest, (len(frames) - 1) / lasted_s)
    if densest < 1 or abs(densest - _USUAL_RATE_HZ) < 0.15 * _USUAL_RATE_HZ:
        return _USUAL_RATE_HZ
    return min(_HIGHEST_RATE_HZ, float(round(densest)))
