"""The cues of SubRip (.srt) and WebVTT (.vtt) files; rolling captions become one cue a line."""

import html
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, NoReturn

from avsent.errors import BoundariesError
from avsent.text import quoted

ROLLING_S = 0.05
"""A cue that begins so soon after the one before may repeat lines of it."""
SHORTEST_S = 0.04
"""Shorter cues are no utterances: automatic captions have cues of 10 ms between their lines."""
MAX_LINES = 9  # of a caption that rolls

_ARROW = "-->"
_VTT_BLOCK = re.compile(r"(NOTE|STYLE|REGION|WEBVTT)([ \t]|$)")  # blocks that are not cues
_CLOCK = re.compile(
    r"(?P<sign>-)?(?:(?P<h>[0-9]{1,5}):)?(?P<m>[0-9]{1,2}):(?P<s>[0-9]{1,2})"
    r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
)
# Formatting (<i>, </b>, <v Name>), karaoke times (<00:01.000>) and SubStation codes ({\an8}); a
# lone "<" as in "a < b" is text.
_TAG = re.compile(r"<(?:/?[A-Za-z]|[0-9])[^<>]*>|\{\\[^{}]*\}")


class Cue(NamedTuple):
    """A stretch of time with its words; ``where``: file and line, for messages."""

    where: str
    start_s: float
    end_s: float
    text: str = ""


def read_cues(text: str, name: str, *, vtt: bool) -> list[Cue]:
    """The cues of a SubRip or WebVTT file, in the order of the file.

    Rolling captions show a line again below which the next one appears, or a line that grows word
    by word: lines that were shown already are no part of the next cue. Raises ``BoundariesError``
    for a time that is none.
    """
    found: list[Cue] = []
    # Lines of the cue before, the same with markup, and the cue's end.
    shown: list[str] = []
    shown_raw, shown_s = "", float("-inf")
    for cue, raw in _cues(text, name, vtt):
        lines = _plain(raw, vtt)
        rolls = bool(found and shown) and -0.001 < cue.start_s - shown_s <= ROLLING_S
        rolls = rolls and cue.start_s <= cue.end_s
        again = range(min(len(shown), len(lines), MAX_LINES) + 1) if rolls else (0,)
        kept = max(n for n in again if lines[:n] == shown[len(shown) - n :])
        grows = (
            rolls and lines[:-1] == shown[:-1] and " ".join(lines).startswith(" ".join(shown) + " ")
        )
        if grows:
            longer = found[-1].text + lines[-1][len(shown[-1]) :]
            found[-1] = found[-1]._replace(end_s=cue.end_s, text=longer)
        elif not kept or kept < len(lines):
            found.append(cue._replace(text=" ".join(lines[kept:])))
        elif cue.end_s - cue.start_s >= SHORTEST_S:
            # The same words again, with another one of them marked: still one utterance.
            if (raw, shown_s) == (shown_raw, found[-1].end_s):
                found.append(cue._replace(text=" ".join(lines)))
            else:
                found[-1] = found[-1]._replace(end_s=cue.end_s)
        shown, shown_raw, shown_s = lines, raw, cue.end_s
    return found


def _cues(text: str, name: str, vtt: bool) -> Iterator[tuple[Cue, str]]:
    """Each cue without its text, and this as it stands in the file."""
    cue: Cue | None = None
    words: list[str] = []
    skipping = False
    lines = text.split("\n")
    for line_number, line in enumerate(lines, 1):
        if skipping:
            skipping = bool(line.strip())
        elif vtt and cue is None and (block := _VTT_BLOCK.match(line)):
            # In some files the first cue follows the first line without a blank one.
            skipping = block[1] != "WEBVTT"
        elif _ARROW in line:
            if cue is not None:
                yield cue, _joined(words, vtt)
            start, _, rest = line.partition(_ARROW)
            end = (rest.split(maxsplit=1) or [""])[0]  # cue settings may follow
            where, words = f"{name}:{line_number}", []
            cue = Cue(where, clock_seconds(start, where), clock_seconds(end, where))
        elif vtt and _ends(line, lines[line_number : line_number + 2]):
            # The name of the next cue or a comment follows.
            if cue is not None:
                yield cue, _joined(words, vtt)
            cue, words = None, []
        elif cue is not None:
            words.append(line)
    if cue is not None:
        words.append("")  # a number in the last line is not that of a next cue
        yield cue, _joined(words, vtt)


def _joined(lines: list[str], vtt: bool) -> str:
    return "\n".join(lines if vtt else _unnumbered(lines)).strip()


def _ends(line: str, following: Iterable[str]) -> bool:
    """Whether the line ends a WebVTT cue. One of blanks does only right before the next cue:
    automatic captions have such lines for lines that are still empty."""
    return not line or (not line.strip() and any(_ARROW in later for later in following))


def _unnumbered(lines: list[str]) -> list[str]:
    """A SubRip cue's lines without the number of the next cue: a number in the last line, or one
    between blank lines."""
    if lines and lines[-1].strip().isdecimal():
        return lines[:-1]
    last = len(lines) - 1
    while last >= 0 and not lines[last].strip():
        last -= 1
    if last >= 1 and lines[last].strip().isdecimal() and not lines[last - 1].strip():
        return lines[:last]
    return lines


def _plain(text: str, vtt: bool) -> list[str]:
    """The lines that hold words, without markup."""
    text = _TAG.sub("", text)
    if vtt:
        with suppress(ValueError):  # a character reference of thousands of digits
            text = html.unescape(text)
    return [" ".join(line.split()) for line in text.split("\n") if line.strip()]


def clock_seconds(clock: str, where: str) -> float:
    """``00:01:02.345`` or ``1:02,3`` in seconds. Raises ``BoundariesError`` for anything else."""
    match = _CLOCK.fullmatch(clock.strip())
    if match is None or int(match["m"]) > 59 or int(match["s"]) > 59:
        fail(where, f"{quoted(clock)} is not a time; write it like 00:01:02.345")
    if match["sign"]:
        fail(where, f"{quoted(clock)} is negative; times count from the video's beginning")
    whole = int(match["h"] or 0) * 3600 + int(match["m"]) * 60 + int(match["s"])
    return float(f"{whole}.{match['fraction'] or 0}")


def fail(where: str, what: str) -> NoReturn:
    """Raise ``BoundariesError``."""
    raise BoundariesError(f"{where}: {what}")
