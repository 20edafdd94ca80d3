"""Subtitles: the sentiment of each utterance over the picture, in SubRip and WebVTT."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TextIO

from avsent.errors import UsageError
from avsent.results import Result, UtteranceResult
from avsent.writers.base import Writer
from avsent.writers.text import one_line

# SubRip has no escapes: players take <…> and {…} for styles, so look-alikes stand for them.
_SRT_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})
_VTT_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class SubtitleWriter(Writer):
    """One cue per utterance: label and score, then the words if the user gave them."""

    combines = False
    header = ""
    decimal_mark: str

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the cues of the one result, ordered by time; cues may overlap."""
        result, *others = results
        if others:
            raise UsageError(f"a .{self.extension} file is for one video; name a folder with -o")
        file.write(self.header)
        in_time = sorted(result.utterances, key=lambda utterance: utterance.start_s)
        for number, utterance in enumerate(in_time, start=1):
            file.write(f"{number}\n{self._span(utterance)}\n{self._body(utterance)}\n\n")

    @abstractmethod
    def escape(self, text: str) -> str:
        """The text such that a player shows it as it is."""

    def _span(self, utterance: UtteranceResult) -> str:
        start = _milliseconds(utterance.start_s)
        # A cue that ends when it starts is an error in both formats.
        end = max(_milliseconds(utterance.end_s), start + 1)
        return f"{self._timestamp(start)} --> {self._timestamp(end)}"

    def _timestamp(self, milliseconds: int) -> str:
        seconds, milliseconds = divmod(milliseconds, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}{self.decimal_mark}{milliseconds:03d}"

    def _body(self, utterance: UtteranceResult) -> str:
        lines = [f"{utterance.sentiment} {utterance.score:+.2f}", utterance.text or ""]
        return "\n".join(self.escape(one_line(line)) for line in lines if one_line(line))


class SrtWriter(SubtitleWriter):
    """SubRip, which every player reads."""

    extension = "srt"
    decimal_mark = ","

    def escape(self, text: str) -> str:
        """Put look-alikes in place of the characters that begin styles."""
        return text.translate(_SRT_LOOKALIKES)


class VttWriter(SubtitleWriter):
    """WebVTT, for browsers."""

    extension = "vtt"
    decimal_mark = "."
    header = "WEBVTT\n\n"

    def escape(self, text: str) -> str:
        """Escape as in HTML."""
        return text.translate(_VTT_ESCAPES)


def _milliseconds(seconds: float) -> int:
    """Neither format knows times before the start of the file."""
    return max(0, round(seconds * 1000))
