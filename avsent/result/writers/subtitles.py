"""Subtitles: the sentiment of each utterance over the picture, in SubRip and WebVTT."""

from __future__ import annotations

import dataclasses
import math
import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TextIO, TypeAlias

from avsent.errors import UsageError
from avsent.result.colours import colours_of
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult
from avsent.result.writers.base import Writer
from avsent.result.writers.wrapping import columns, wrap
from avsent.text import one_line

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


# SubRip has no escapes: players take <…> and {…} for styles, so look-alikes stand for them.
_SRT_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_NO_CLASS = re.compile("[^a-z0-9]+")

Dress: TypeAlias = Callable[[Cue, Sequence[str]], Sequence[str]]


class SubtitleWriter(Writer):
    """One cue per utterance: label and score, then the words if the user gave them; several cues
    where the words are more than a screen shows."""

    combines = False
    decimal_mark: str

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the cues of the one result, ordered by time; those of two people may overlap."""
        result, *others = results
        if others:
            raise UsageError(f"a .{self.extension} file is for one video; name a folder with -o")
        file.write(self.header(result))
        dress = self.dress(result)
        for number, cue in enumerate(cues_of(result.utterances), start=1):
            span = f"{self._timestamp(cue.start_ms)} --> {self._timestamp(cue.end_ms)}"
            utterance = cue.utterance
            head = one_line(f"{utterance.sentiment} {round(utterance.score, 2) + 0.0:+.2f}")
            lines = [self.escape(line) for line in (head, *cue.lines)]
            file.write("\n".join([str(number), span, *dress(cue, lines)]) + "\n\n")

    def header(self, result: Result) -> str:
        """What stands before the first cue."""
        return ""

    def dress(self, result: Result) -> Dress:
        """What turns the escaped lines of a cue into what is written."""
        return lambda cue, lines: lines

    @abstractmethod
    def escape(self, text: str) -> str:
        """The text such that a player shows it as it is."""

    def _timestamp(self, milliseconds: int) -> str:
        seconds, milliseconds = divmod(milliseconds, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}{self.decimal_mark}{milliseconds:03d}"


class SrtWriter(SubtitleWriter):
    """SubRip, which every player reads."""

    extension = "srt"
    decimal_mark = ","

    def escape(self, text: str) -> str:
        """Put look-alikes in place of the characters that begin styles."""
        return text.translate(_SRT_LOOKALIKES)


class VttWriter(SubtitleWriter):
    """WebVTT, for browsers: label and score in the colour of the label, and who speaks where
    several faces do."""

    extension = "vtt"
    decimal_mark = "."

    def header(self, result: Result) -> str:
        """A note on what this is, and the colours."""
        model = self._note(result.model.name)
        notes = [
            f"Sentiment of {self._note(PurePath(result.source).name)}, utterance by utterance.",
            f"Made by avsent with the model {model}: label, score from -1 to 1, and the text.",
        ]
        labels = _labels(result)
        styles = [
            f"::cue(.{name}) {{ color: #ffffff; background-color: {colour}; }}"
            for name, colour in zip(_classes(labels), colours_of(labels), strict=True)
        ]
        blocks = ["WEBVTT", "\n".join(["NOTE", *notes]), "\n".join(["STYLE", *styles])]
        return "\n\n".join(blocks) + "\n\n"

    def dress(self, result: Result) -> Dress:
        """Classes around label and score, voices around all of it."""
        labels = _labels(result)
        classes = dict(zip(labels, _classes(labels), strict=True))
        several = len({utterance.track for utterance in result.utterances} - {None}) > 1

        def dressed(cue: Cue, lines: Sequence[str]) -> Sequence[str]:
            head, *words = lines
            shown = [f"<c.{classes[cue.utterance.sentiment]}>{head}</c>", *words]
            if several and cue.utterance.track is not None:
                shown[0] = f"<v Track {cue.utterance.track}>{shown[0]}"
                shown[-1] += "</v>"
            return shown

        return dressed

    def escape(self, text: str) -> str:
        """Escape as in HTML."""
        return text.translate(_VTT_ESCAPES)

    def _note(self, text: str) -> str:
        # A note ends at an arrow, escaped or not.
        return self.escape(one_line(text))


def _labels(result: Result) -> tuple[str, ...]:
    """Those of the model, and any other that an utterance has."""
    found = (utterance.sentiment for utterance in result.utterances)
    return tuple(dict.fromkeys([*result.model.labels, *found]))


def _classes(labels: Sequence[str]) -> list[str]:
    """A class for each label; one that leaves no name of its own, or that of another, a number."""
    names: list[str] = []
    for number, label in enumerate(labels):
        name = _NO_CLASS.sub("-", label.casefold()).strip("-")
        plain = name and name[0].isalpha() and name not in names
        names.append(name if plain else f"label-{number}")
    return names
