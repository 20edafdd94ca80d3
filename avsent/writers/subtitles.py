"""Subtitles: the sentiment of each utterance over the picture, in SubRip and WebVTT."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import TextIO, TypeAlias

from avsent.colours import colours_of
from avsent.errors import UsageError
from avsent.results import Result
from avsent.writers.base import Writer
from avsent.writers.cues import Cue, cues_of
from avsent.writers.text import one_line

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
