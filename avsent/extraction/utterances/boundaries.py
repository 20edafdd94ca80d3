"""Utterance boundaries given by the user: SubRip (.srt), WebVTT (.vtt) or CSV files."""

import html
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from avsent.errors import BoundariesError
from avsent.extraction.utterances.segmentation import Segment
from avsent.text import csv_rows, number, printable, quoted, read_text

MAX_FILE_BYTES = 10 * 1024**2  # an hour of subtitles has about 0.1 MB
MAX_UTTERANCES = 3_000
"""Two to four hours of talk. Memory grows with its square: each utterance attends to all others."""
MAX_GIVEN_S = 300.0  # longest utterance accepted from the user: it is kept in memory whole
FORMATS = (".srt", ".vtt", ".csv")

_ARROW = "-->"
_VTT_BLOCK = re.compile(r"(NOTE|STYLE|REGION|WEBVTT)([ \t]|$)")  # blocks that are not cues
_CLOCK = re.compile(
    r"(?P<sign>-)?(?:(?P<h>[0-9]{1,5}):)?(?P<m>[0-9]{1,2}):(?P<s>[0-9]{1,2})"
    r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
)
# Formatting (<i>, </b>, <v Name>), karaoke times (<00:01.000>) and SubStation codes ({\an8}); a
# lone "<" as in "a < b" is text.
_TAG = re.compile(r"<(?:/?[A-Za-z]|[0-9])[^<>]*>|\{\\[^{}]*\}")


def read_boundaries(path: Path | str) -> list[Segment]:
    """Read the utterances of a .srt, .vtt or .csv file, sorted by start; they may overlap.

    The text is UTF-8, or UTF-16 with a byte order mark. A CSV file names its columns in the
    first line: ``start_s,end_s[,text]`` in seconds, in any order; other columns are ignored.
    Raises ``BoundariesError`` for a file that cannot be read or makes no sense.
    """
    path = Path(path)
    name, suffix = printable(path), path.suffix.lower()
    if suffix not in FORMATS and os.path.isfile(path):
        raise BoundariesError(f"{name}: unknown kind of file; give a .srt, .vtt or .csv")
    what = "a .srt, .vtt or .csv file of utterances"
    text = read_text(path, BoundariesError, max_bytes=MAX_FILE_BYTES, what=what)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    is_csv, vtt = suffix == ".csv", suffix == ".vtt"
    segments = list(_read_csv(text, name) if is_csv else _read_cues(text, name, vtt=vtt))
    if len(segments) > MAX_UTTERANCES:
        raise BoundariesError(
            f"{name}: {len(segments)} utterances, more than {MAX_UTTERANCES}; cut the video up"
        )
    if not segments:
        raise BoundariesError(f"{name}: no utterances in it; give at least one start and end")
    return sorted(segments, key=lambda segment: (segment.start_s, segment.end_s))


def _read_cues(text: str, name: str, *, vtt: bool) -> Iterator[Segment]:
    """The cues of a SubRip or WebVTT file, in the order of the file."""
    cue: tuple[float, float] | None = None
    words: list[str] = []
    skipping = False
    for line_number, line in enumerate(text.split("\n"), 1):
        blank = not line.strip()
        if skipping:
            skipping = not blank
        elif vtt and cue is None and (block := _VTT_BLOCK.match(line)):
            # In some files the first cue follows the first line without a blank one.
            skipping = block[1] != "WEBVTT"
        elif _ARROW in line:
            if cue is not None:
                yield Segment(*cue, _plain(words if vtt else _unnumbered(words), vtt))
            start, _, rest = line.partition(_ARROW)
            end = (rest.split(maxsplit=1) or [""])[0]  # cue settings may follow
            where, words = f"{name}:{line_number}", []
            cue = _checked(_seconds(start, where), _seconds(end, where), where)
        elif vtt and blank:
            # A blank line ends a WebVTT cue; the name of the next one or a comment follows.
            if cue is not None:
                yield Segment(*cue, _plain(words, vtt))
            cue = None
        elif cue is not None:
            words.append(line)
    if cue is not None:
        words.append("")  # a number in the last line is not that of a next cue
        yield Segment(*cue, _plain(words if vtt else _unnumbered(words), vtt))


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


def _plain(lines: list[str], vtt: bool) -> str | None:
    """The words on the lines, without markup, on one line; ``None`` if there are none."""
    text = _TAG.sub("", " ".join(lines))
    if vtt:
        with suppress(ValueError):  # a character reference of thousands of digits
            text = html.unescape(text)
    return " ".join(text.split()) or None


def _seconds(clock: str, where: str) -> float:
    match = _CLOCK.fullmatch(clock.strip())
    if match is None or int(match["m"]) > 59 or int(match["s"]) > 59:
        _fail(where, f"{quoted(clock)} is not a time; write it like 00:01:02.345")
    if match["sign"]:
        _fail(where, f"{quoted(clock)} is negative; times count from the video's beginning")
    whole = int(match["h"] or 0) * 3600 + int(match["m"]) * 60 + int(match["s"])
    return float(f"{whole}.{match['fraction'] or 0}")


def _read_csv(text: str, name: str) -> Iterator[Segment]:
    columns: dict[str, int] | None = None
    for line, row in csv_rows(text, name, BoundariesError, strict=False):
        where = f"{name}:{line}"
        cells = [cell.strip() for cell in row]
        if columns is None:
            columns = _columns(cells, where)
            continue
        cells += [""] * (max(columns.values()) + 1 - len(cells))
        start_s, end_s = (_number(cells[columns[c]], c, where) for c in ("start_s", "end_s"))
        words = cells[columns["text"]] if "text" in columns else ""
        yield Segment(*_checked(start_s, end_s, where), " ".join(words.split()) or None)


def _columns(header: list[str], where: str) -> dict[str, int]:
    names = [cell.lower() for cell in header]
    missing = [column for column in ("start_s", "end_s") if column not in names]
    if missing:
        wanted = "start_s,end_s[,text]"
        _fail(where, f"no column {' and '.join(missing)}; begin the file with a line {wanted}")
    return {name: names.index(name) for name in ("start_s", "end_s", "text") if name in names}


def _number(cell: str, column: str, where: str) -> float:
    value = number(cell)
    if value is None:
        _fail(where, f"{column} {quoted(cell)} is not a number; write seconds like 62.345")
    return value


def _checked(start_s: float, end_s: float, where: str) -> tuple[float, float]:
    if min(start_s, end_s) < 0:
        _fail(where, "a time is negative; times count from the video's beginning")
    if end_s <= start_s:
        _fail(where, f"the end, {end_s:g} s, is not after the start, {start_s:g} s; correct it")
    return start_s + 0.0, end_s  # no negative zero


def _fail(where: str, what: str) -> NoReturn:
    raise BoundariesError(f"{where}: {what}")
