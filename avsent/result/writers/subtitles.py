"""Subtitles: the sentiment of each utterance over the picture, in SubRip and WebVTT."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, TextIO

from avsent.result.colours import colours_of
from avsent.result.record import Result, UtteranceResult
from avsent.result.writers.data import Writer
from avsent.result.writers.wrapping import columns, wrap
from avsent.text import one_line, score_text

LINE_COLUMNS = 42  # what players show in one line
LINES = 2  # of text, below the line with label and score
SHORTEST_MS = 800  # a shorter cue goes unnoticed
CLOSE_MS = 250  # where cues overlap by no more than this, the first ends when the second begins


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue of an utterance; ``lines``: of its text, not escaped."""

    start_ms: int
    end_ms: int
    utterance: UtteranceResult
    lines: tuple[str, ...]


def cues_of(utterances: Iterable[UtteranceResult]) -> list[Cue]:
    """The cues, ordered by time.

    A text of more than ``LINES`` lines is spread over several cues, each as long as its share of
    the text. Cues shorter than ``SHORTEST_MS`` last as long as that, or until the next begins.
    """
    whole = []
    for utterance in utterances:
        # Neither format knows times before the start of the file, nor cues without duration.
        start = max(0, round(utterance.start_s * 1000))
        end = max(round(utterance.end_s * 1000), start + 1)
        lines = wrap(one_line(utterance.text or ""), LINE_COLUMNS)
        whole.append(Cue(start, end, utterance, tuple(lines)))
    whole.sort(key=lambda cue: cue.start_ms)
    return [part for cue in _separated(whole) for part in _parts(cue)]


def _separated(cues: Sequence[Cue]) -> Iterable[Cue]:
    """Lengthen short cues where there is room, and remove small overlaps."""
    for place, cue in enumerate(cues):
        end = max(cue.end_ms, cue.start_ms + SHORTEST_MS)
        for later in cues[place + 1 :]:
            if later.start_ms >= end:
                break
            room, overlap = later.start_ms - cue.start_ms, cue.end_ms - later.start_ms
            # Larger overlaps are two people who talk at the same time.
            if room and (overlap <= 0 or (overlap <= CLOSE_MS and room >= SHORTEST_MS)):
                end = later.start_ms
                break
        yield dataclasses.replace(cue, end_ms=end)


def _parts(cue: Cue) -> Iterable[Cue]:
    """The cue as cues of at most ``LINES`` lines."""
    duration = cue.end_ms - cue.start_ms
    # Nobody speaks more than two lines in 0.8 s: what does not fit is left out.
    count = max(1, min(math.ceil(len(cue.lines) / LINES), duration // SHORTEST_MS))
    blocks = [cue.lines[LINES * n : LINES * (n + 1)] for n in range(count)]
    if len(cue.lines) > LINES * count:
        *full, last = blocks[-1]
        while columns(last) >= LINE_COLUMNS:
            last = last[:-1]
        blocks[-1] = (*full, f"{last}…")
    sizes = [sum(map(columns, lines)) or 1 for lines in blocks]
    # Each gets the shortest time, and of the rest a share by the length of its text.
    spare = max(0, duration - SHORTEST_MS * count)
    start, done = cue.start_ms, 0
    for number, (lines, size) in enumerate(zip(blocks, sizes, strict=True), start=1):
        done += size
        end = cue.start_ms + (duration - spare) * number // count + spare * done // sum(sizes)
        yield Cue(start, end, cue.utterance, lines)
        start = end


class SrtWriter(Writer):
    """SubRip, which every player reads. One cue per utterance: label and score, then the text if
    the user gave any; several cues where the text is more than a screen shows."""

    extension = "srt"
    combines = False
    decimal_mark = ","
    # SubRip has no escapes: players take <…> and {…} for styles, so look-alikes replace them.
    escapes: ClassVar = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")"})

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the cues of the one result, ordered by time; those of two people may overlap."""
        result = self.only(results)
        # The model's labels, and any other that an utterance has.
        found = (utterance.sentiment for utterance in result.utterances)
        labels = list(dict.fromkeys([*result.model.labels, *found]))
        classes = dict(zip(labels, _class_names(labels), strict=True))
        several = len({utterance.track for utterance in result.utterances} - {None}) > 1
        file.write(self.header(result, classes))
        for number, cue in enumerate(cues_of(result.utterances), start=1):
            one = cue.utterance
            head = f"{one.marked_label} {score_text(one.score)}"
            lines = [self.escape(line) for line in (head, *cue.lines)]
            track = one.track if several else None
            lines = self.marked_up(lines, classes[one.sentiment], track)
            span = f"{self._timestamp(cue.start_ms)} --> {self._timestamp(cue.end_ms)}"
            file.write("\n".join([str(number), span, *lines]) + "\n\n")

    def escape(self, text: str) -> str:
        """The text in one line that a player shows as it is."""
        return one_line(text).translate(self.escapes)

    def header(self, result: Result, classes: Mapping[str, str]) -> str:
        """What stands before the first cue; ``classes``: names of the labels' classes."""
        return ""

    def marked_up(self, lines: list[str], class_name: str, track: int | None) -> list[str]:
        """The lines of a cue; ``track``: of the speaker, where several faces speak."""
        return lines

    def _timestamp(self, milliseconds: int) -> str:
        seconds, milliseconds = divmod(milliseconds, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02d}:{minutes:02d}:{seconds:02d}{self.decimal_mark}{milliseconds:03d}"


class VttWriter(SrtWriter):
    """WebVTT, for browsers: the label in its colour, and who speaks where several faces do."""

    extension = "vtt"
    decimal_mark = "."
    escapes: ClassVar = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

    def header(self, result: Result, classes: Mapping[str, str]) -> str:
        """A note on what this is, and the colours."""
        # Escaped, as an arrow would end a note.
        name, model = self.escape(PurePath(result.source).name), self.escape(result.model.name)
        styles = "\n".join(
            f"::cue(.{name}) {{ color: #ffffff; background-color: {colour}; }}"
            for name, colour in zip(classes.values(), colours_of(list(classes)), strict=True)
        )
        return (
            f"WEBVTT\n\nNOTE\nSentiment of {name}, utterance by utterance.\n"
            f"Made by avsent with the model {model}: label, score from -1 to 1, and the text.\n"
            "A question mark behind a label: unsure.\n\n"
            f"STYLE\n{styles}\n\n"
        )

    def marked_up(self, lines: list[str], class_name: str, track: int | None) -> list[str]:
        """A class around label and score, which has the label's colour; a voice around all."""
        lines = [f"<c.{class_name}>{lines[0]}</c>", *lines[1:]]
        if track is not None:
            lines[0] = f"<v Track {track}>{lines[0]}"
            lines[-1] += "</v>"
        return lines


def _class_names(labels: Sequence[str]) -> list[str]:
    """A class for each label: its letters, or a number where these are none or taken."""
    names: list[str] = []
    for number, label in enumerate(labels):
        name = re.sub("[^a-z0-9]+", "-", label.casefold()).strip("-")
        usable = name and name[0].isalpha() and name not in names
        names.append(name if usable else f"label-{number}")
    return names
