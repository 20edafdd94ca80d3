"""Cues of subtitles: what stands on the screen, from when to when, such that it can be read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from avsent.results import UtteranceResult
from avsent.writers.text import one_line
from avsent.writers.wrapping import columns, wrap

LINE_COLUMNS = 42
"""What players show in one line."""
LINES = 2
"""Of text, below the line with label and score."""
SHORTEST_MS = 800
"""What can be noticed."""
CLOSE_MS = 250
"""Utterances that overlap by no more follow each other; the first gives way."""


@dataclass(frozen=True, slots=True)
class Cue:
    """From ``start_ms`` to ``end_ms``, of this utterance; ``lines``: of its text, plain."""

    start_ms: int
    end_ms: int
    utterance: UtteranceResult
    lines: tuple[str, ...]


def cues_of(utterances: Iterable[UtteranceResult]) -> list[Cue]:
    """The cues, ordered by time.

    A text that needs more than two lines is spread over several cues, each as long as its share
    of the text. Cues shorter than ``SHORTEST_MS`` last as long as that, or until the next begins.
    """
    whole = sorted((_whole(utterance) for utterance in utterances), key=lambda cue: cue.start_ms)
    return [part for cue in _apart(whole) for part in _parts(cue)]


def _whole(utterance: UtteranceResult) -> Cue:
    start = _milliseconds(utterance.start_s)
    # A cue that ends when it starts is an error in both formats.
    end = max(_milliseconds(utterance.end_s), start + 1)
    lines = wrap(one_line(utterance.text or ""), LINE_COLUMNS)
    return Cue(start, end, utterance, tuple(lines))


def _apart(cues: Sequence[Cue]) -> Iterable[Cue]:
    """Short cues made longer where there is room, small overlaps taken away."""
    for place, cue in enumerate(cues):
        end = max(cue.end_ms, cue.start_ms + SHORTEST_MS)
        for later in cues[place + 1 :]:
            if later.start_ms >= end:
                break
            room, overlap = later.start_ms - cue.start_ms, cue.end_ms - later.start_ms
            # Overlaps that are larger are two people who talk at the same time.
            if room and (overlap <= 0 or (overlap <= CLOSE_MS and room >= SHORTEST_MS)):
                end = later.start_ms
                break
        yield dataclasses.replace(cue, end_ms=end)


def _parts(cue: Cue) -> Iterable[Cue]:
    lasts = cue.end_ms - cue.start_ms
    count = math.ceil(len(cue.lines) / LINES)
    # More than two lines in 0.8 s are nothing that was spoken; there the rest is left out.
    count = max(1, min(count, lasts // SHORTEST_MS))
    shown = [cue.lines[LINES * n : LINES * (n + 1)] for n in range(count)]
    if len(cue.lines) > LINES * count:
        shown[-1] = (*shown[-1][:-1], _cut(shown[-1][-1]))
    sizes = [sum(map(columns, lines)) or 1 for lines in shown]
    # Each gets the shortest time, and what is left by the length of its text.
    spare = max(0, lasts - SHORTEST_MS * count)
    start, done = cue.start_ms, 0
    for number, (lines, size) in enumerate(zip(shown, sizes, strict=True), start=1):
        done += size
        end = cue.start_ms + (lasts - spare) * number // count + spare * done // sum(sizes)
        yield Cue(start, end, cue.utterance, lines)
        start = end


def _cut(line: str) -> str:
    """The line with dots at its end, no wider than allowed."""
    while columns(line) >= LINE_COLUMNS:
        line = line[:-1]
    return f"{line}…"


def _milliseconds(seconds: float) -> int:
    """No format of subtitles knows times before the start of the file."""
    return max(0, round(seconds * 1000))
