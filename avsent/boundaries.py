"""Utterance boundaries given by the user: SubRip (.srt), WebVTT (.vtt) or CSV files."""

from __future__ import annotations

import codecs
import csv
import html
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from avsent.errors import BoundariesError
from avsent.utterances import Segment

MAX_FILE_BYTES = 50 * 1024**2  # an hour of subtitles has about 0.1 MB
FORMATS = (".srt", ".vtt", ".csv")
START_COLUMN, END_COLUMN, TEXT_COLUMN = "start_s", "end_s", "text"

_ARROW = "-->"
_VTT_BLOCK = re.compile(r"(NOTE|STYLE|REGION|WEBVTT)([ \t]|$)")  # blocks that are not cues
_CLOCK = re.compile(
    r"(?P<sign>-)?(?:(?P<h>[0-9]{1,5}):)?(?P<m>[0-9]{1,2}):(?P<s>[0-9]{1,2})"
    r"(?:[.,](?P<fraction>[0-9]{1,9}))?"
)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# Formatting (<i>, </b>, <v Name>), karaoke times (<00:01.000>) and SubStation codes ({\an8});
# a lone "<" as in "a < b" is text.
_TAG = re.compile(r"<(?:/?[A-Za-z]|[0-9])[^<>]*>|\{\\[^{}]*\}")


def read_boundaries(path: Path | str) -> list[Segment]:
    """Read the utterances of a .srt, .vtt or .csv file, sorted by start; they may overlap.

    The text is UTF-8, or UTF-16 with a byte order mark. A CSV file names its columns in the
    first line: ``start_s,end_s[,text]`` in seconds, in any order, further ones are ignored.
    Raises ``BoundariesError`` for anything that cannot be read or makes no sense.
    """
    path = Path(path)
    name = _printable(str(path))
    data = _read_bytes(path, name)
    text = _decode(data, name).replace("\r\n", "\n").replace("\r", "\n")
    if path.suffix.lower() == ".csv":
        segments = list(_read_csv(text, name))
    else:
        segments = list(_read_cues(text, name, vtt=path.suffix.lower() == ".vtt"))
    if not segments:
        raise BoundariesError(f"{name}: no utterances in it; give at least one start and end")
    return sorted(segments, key=lambda segment: (segment.start_s, segment.end_s))


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        if path.is_dir():
            raise BoundariesError(f"{name}: is a folder; give a .srt, .vtt or .csv file")
        if not path.exists():
            raise BoundariesError(f"{name}: no such file; check the path")
        if not path.is_file():
            raise BoundariesError(f"{name}: not a regular file; save the utterances to one")
        if path.suffix.lower() not in FORMATS:
            raise BoundariesError(f"{name}: unknown kind of file; give a .srt, .vtt or .csv")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = _printable(getattr(error, "strerror", None) or str(error))
        raise BoundariesError(f"{name}: cannot be read ({reason}); check the path") from error
    if len(data) > MAX_FILE_BYTES:
        limit_mb = MAX_FILE_BYTES // 1024**2
        raise BoundariesError(f"{name}: over {limit_mb} MB, too large for a list of utterances")
    return data


def _decode(data: bytes, name: str) -> str:
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if utf16 else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        # Line ends are single bytes in UTF-8 only; elsewhere say how far into the file.
        place = f"byte {error.start}" if utf16 else str(data.count(b"\n", 0, error.start) + 1)
        kind = "UTF-16" if utf16 else "UTF-8"
        raise BoundariesError(f"{name}:{place}: not {kind} text; save it as UTF-8") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BoundariesError(f"{name}:{line}: zero bytes, so not UTF-8 text; save it as UTF-8")
    return text


def _read_cues(text: str, name: str, *, vtt: bool) -> Iterator[Segment]:
    """The cues of a SubRip or WebVTT file, in the order of the file."""
    cue: tuple[float, float] | None = None
    words: list[str] = []
    skipping = False
    for number, line in enumerate(text.split("\n"), 1):
        blank = not line.strip()
        if skipping:
            skipping = not blank
        elif vtt and cue is None and (block := _VTT_BLOCK.match(line)):
            # Files with a cue right below their first line exist, so that line stands alone.
            skipping = block[1] != "WEBVTT"
        elif _ARROW in line:
            if cue is not None:
                yield Segment(*cue, _plain(words if vtt else _unnumbered(words), vtt))
            cue, words = _timing(line, f"{name}:{number}"), []
        elif vtt and blank:
            # A blank line ends a WebVTT cue: what follows is a name of the next, or a comment.
            if cue is not None:
                yield Segment(*cue, _plain(words, vtt))
            cue = None
        elif cue is not None:
            words.append(line)
    if cue is not None:
        words.append("")  # below the last line there is no time that a number could belong to
        yield Segment(*cue, _plain(words if vtt else _unnumbered(words), vtt))


def _unnumbered(lines: list[str]) -> list[str]:
    """A SubRip cue's lines without the number of the next cue, if they end with one.

    It is one if it stands right above the next cue's times, or apart between blank lines.
    """
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
    return " ".join((html.unescape(text) if vtt else text).split()) or None


def _timing(line: str, where: str) -> tuple[float, float]:
    start, _, rest = line.partition(_ARROW)
    end = (rest.split(maxsplit=1) or [""])[0]  # cue settings may follow
    return _checked(_seconds(start, where), _seconds(end, where), where)


def _seconds(clock: str, where: str) -> float:
    match = _CLOCK.fullmatch(clock.strip())
    if match is None or int(match["m"]) > 59 or int(match["s"]) > 59:
        _fail(where, f"{_quoted(clock)} is not a time; write it like 00:01:02.345")
    if match["sign"]:
        _fail(where, f"{_quoted(clock)} is negative; times count from the video's beginning")
    whole = int(match["h"] or 0) * 3600 + int(match["m"]) * 60 + int(match["s"])
    return float(f"{whole}.{match['fraction'] or 0}")


def _read_csv(text: str, name: str) -> Iterator[Segment]:
    rows = csv.reader(io.StringIO(text, newline=""))
    columns: dict[str, int] | None = None
    try:
        for row in rows:
            where = f"{name}:{rows.line_num}"
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _columns(cells, where)
                continue
            cells += [""] * (max(columns.values()) + 1 - len(cells))
            start_s = _number(cells[columns[START_COLUMN]], START_COLUMN, where)
            end_s = _number(cells[columns[END_COLUMN]], END_COLUMN, where)
            words = cells[columns[TEXT_COLUMN]] if TEXT_COLUMN in columns else ""
            yield Segment(*_checked(start_s, end_s, where), " ".join(words.split()) or None)
    except csv.Error as error:
        _fail(f"{name}:{rows.line_num}", f"not a CSV row ({_printable(str(error))}); correct it")


def _columns(header: list[str], where: str) -> dict[str, int]:
    names = [cell.lower() for cell in header]
    missing = [column for column in (START_COLUMN, END_COLUMN) if column not in names]
    if missing:
        wanted = f"{START_COLUMN},{END_COLUMN}[,{TEXT_COLUMN}]"
        _fail(where, f"no column {' and '.join(missing)}; begin the file with a line {wanted}")
    known = (START_COLUMN, END_COLUMN, TEXT_COLUMN)
    return {column: names.index(column) for column in known if column in names}


def _number(cell: str, column: str, where: str) -> float:
    value = float(cell) if _NUMBER.fullmatch(cell) else math.inf
    if not math.isfinite(value):
        _fail(where, f"{column} {_quoted(cell)} is not a number; write seconds like 62.345")
    return value


def _checked(start_s: float, end_s: float, where: str) -> tuple[float, float]:
    if min(start_s, end_s) < 0:
        _fail(where, "a time is negative; times count from the video's beginning")
    if end_s <= start_s:
        _fail(where, f"the end, {end_s:g} s, is not after the start, {start_s:g} s; correct it")
    return start_s + 0.0, end_s  # no negative zero


def _fail(where: str, what: str) -> NoReturn:
    raise BoundariesError(f"{where}: {what}")


def _quoted(text: str) -> str:
    text = _printable(text.strip())
    return f"“{text if len(text) <= 40 else text[:39] + '…'}”"


def _printable(text: str) -> str:
    """The text on one line, with whatever a terminal could not show written as ``\\x…``."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
