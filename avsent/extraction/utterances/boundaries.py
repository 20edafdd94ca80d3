"""Utterance boundaries given by the user: subtitles, tables, ELAN and Praat files."""

import csv
import itertools
import os
import re
import statistics
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import eq
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from avsent.errors import BoundariesError
from avsent.extraction.utterances.segmentation import Segment
from avsent.extraction.utterances.subtitles import (
    SHORTEST_S,
    Cue,
    clock_seconds,
    fail,
    read_cues,
)
from avsent.extraction.utterances.tiers import choose, read_eaf, read_textgrid
from avsent.labels import is_missing
from avsent.text import counted, csv_rows, number, printable, quoted, read_text

MAX_FILE_BYTES = 10 * 1024**2  # an hour of subtitles has about 0.1 MB
MAX_UTTERANCES = 3_000
"""Two to four hours of talk. Memory grows with its square: each utterance attends to all others."""
MAX_GIVEN_S = 300.0  # longest utterance accepted from the user: it is kept in memory whole
TABLES = (".csv", ".tsv", ".txt")
TIERED = (".eaf", ".textgrid")
FORMATS = (".srt", ".vtt", *TABLES, ".eaf", ".TextGrid")

MAX_COLUMNS = 1000  # names of columns that are looked at
LONG_S = 60.0
"""Whole numbers so far apart are milliseconds, as Whisper writes them, not seconds."""
_UNIT = r"( ?time)?( (in )?(?P<unit>s|secs?|seconds|ms|msec|millis(econds)?|ss msec|hh mm ss ms))?"
_COLUMNS = {
    "start": re.compile(rf"(?:start|begin|onset|from|tmin|xmin){_UNIT}"),
    "end": re.compile(rf"(?:end|stop|offset|to|tmax|xmax){_UNIT}"),
    "duration": re.compile(rf"duration{_UNIT}"),
    "text": re.compile("text|transcript|transcription|utterance|annotation|sentence"),
    "video": re.compile("(?:video|source|file)(?: ?name| file| path)?"),
    "tier": re.compile("tier(?: name)?"),
}


@dataclass(frozen=True, slots=True)
class Boundaries:
    """The utterances of a file, ordered by start; what was left out of it or guessed."""

    segments: tuple[Segment, ...]
    warnings: tuple[str, ...] = ()


class _Column(NamedTuple):
    """A column of a table; ``unit``: "" where its name has none."""

    place: int
    name: str
    unit: str = ""


def read_boundaries(
    path: Path | str, video: Path | None = None, tier: str | None = None
) -> Boundaries:
    """Read the utterances of a file by its extension, one of ``FORMATS``; they may overlap.

    The text is UTF-8, UTF-16 with a byte order mark, or else taken for Windows-1252. The first
    line of a table names its columns: ``start_s,end_s[,text]``, in any order; a column ``video``
    or ``source`` tells which rows are those of ``video``. ``tier``: where the file has tiers.
    Raises ``BoundariesError`` for a file that cannot be read or makes no sense.
    """
    path = Path(path)
    name, suffix = printable(path), path.suffix.lower()
    warnings: list[str] = []
    text = _text_of(path, warnings)
    if tier is not None and suffix not in TIERED and "tier" not in _columns(_header(text)):
        fail(name, "has no tiers; leave --tier out")
    if suffix == ".eaf":
        cues = read_eaf(text, name, tier, "" if video is None else video.name, warnings)
    elif suffix == ".textgrid":
        cues = read_textgrid(text, name, tier)
    elif suffix in TABLES:
        cues = choose(_read_table(text, name, video, warnings), name, tier)
    else:
        cues = read_cues(text, name, vtt=suffix == ".vtt")
    segments = sorted(_segments(cues, warnings), key=lambda one: (one.start_s, one.end_s))
    if len(segments) > MAX_UTTERANCES:
        fail(name, f"{len(segments)} utterances, more than {MAX_UTTERANCES}; cut the video up")
    if not segments:
        why = warnings[-1] if cues else "no utterances in it"
        fail(name, f"{why}; give at least one start and end")
    return Boundaries(tuple(segments), tuple(f"{name}: {one}" for one in warnings))


def names_videos(path: Path) -> bool:
    """Whether the file is a table that says which rows are those of which video."""
    if path.suffix.lower() not in TABLES:
        return False
    return "video" in _columns(_header(_text_of(path, [])))


def _text_of(path: Path, warnings: list[str]) -> str:
    name = printable(path)
    known = " ".join(FORMATS)
    if path.suffix.lower() not in map(str.lower, FORMATS) and os.path.isfile(path):
        fail(name, f"unknown kind of file; give one of {known}")
    what = f"a file of utterances ({known})"
    text = read_text(path, BoundariesError, max_bytes=MAX_FILE_BYTES, what=what, warnings=warnings)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    # What Excel and ELAN write above a table.
    return re.sub(r'\A("?sep=."?\n|("#.*\n)+)', "\n", text)


def _segments(cues: Iterable[Cue], warnings: list[str]) -> Iterator[Segment]:
    short = []
    for where, start_s, end_s, text in cues:
        if min(start_s, end_s) < 0:
            fail(where, "a time is negative; times count from the video's beginning")
        if end_s < start_s:
            fail(where, f"the end, {end_s:g} s, is before the start, {start_s:g} s; correct it")
        if not end_s - start_s <= MAX_GIVEN_S:  # nor where both are endless
            longer = f"the utterance at {start_s:.2f} s is longer than {MAX_GIVEN_S:.0f} s"
            fail(where, f"{longer}; split it")
        if round(end_s - start_s, 6) < SHORTEST_S:
            short.append(start_s)
        else:
            words = " ".join(text.split())
            yield Segment(start_s + 0.0, end_s, words or None)  # no negative zero
    if short:
        what = f"{counted(len(short), 'utterance')} shorter than {SHORTEST_S} s left out"
        warnings.append(f"{what}, the first at {short[0]:.2f} s")


def _read_table(
    text: str, name: str, video: Path | None, warnings: list[str]
) -> dict[str, list[Cue]]:
    """The rows of a table by tier; where it names videos, those of ``video``."""
    separator = _separator(text)
    rows = csv_rows(text, name, BoundariesError, strict=False, delimiter=separator)
    lines = {n: one for n, one in enumerate(text.split("\n"), 1) if one.strip()}
    if separator == "\t" and len({one.count("\t") for one in lines.values()}) == 1:
        # Each line is a row, also after a quote that is not closed: Whisper writes text as it is.
        rows = ((n, _first_cells(one, separator)) for n, one in lines.items())
    line, header = next(rows, (1, ["start_s", "end_s"]))
    columns = _columns(header)
    numbers = [number(cell.replace(",", ".")) for cell in header[:2]]
    if separator == "\t" and header[1:] and None not in numbers:
        # Labels of Audacity: start, end, text, and now and then a line of frequencies.
        rows = itertools.chain([(line, header)], (one for one in rows if one[1][:1] != ["\\"]))
        columns = _columns(header := ["start", "end", "text"])
    needed = ("start",) if "duration" in columns else ("start", "end")
    missing = [f"{one}_s" for one in needed if one not in columns]
    if missing:
        lacks = f"no column {' and '.join(missing)}"
        fail(f"{name}:{line}", f"{lacks}; begin the file with a line start_s,end_s[,text]")
    cues: list[Cue] = []
    of: dict[str, list[str]] = {"video": [], "tier": []}
    timeless: list[int] = []
    whole = not columns["start"].unit
    for line, row in rows:
        where, cells = f"{name}:{line}", [cell.strip() for cell in row]
        if any(cells[len(header) :]):
            what = f"{len(cells)} cells under {len(header)} names"
            fail(where, f"{what}; put a cell that holds the separator “{separator}” in quotes")
        cells += [""] * (min(len(header), MAX_COLUMNS) - len(cells))
        given = {k: cells[columns[k].place] for k in ("start", "end", "duration") if k in columns}
        if all(map(is_missing, given.values())):
            timeless.append(line)
            continue
        times = {key: _time_s(cell, columns[key], where) for key, cell in given.items()}
        end_s = times["end"] if "end" in times else times["start"] + times["duration"]
        words = cells[columns["text"].place] if "text" in columns else ""
        cues.append(Cue(where, times["start"], end_s, words))
        for kind, named in of.items():
            named.append(cells[columns[kind].place] if kind in columns else "")
        whole = whole and all(map(str.isdecimal, given.values()))
    if cues and whole and statistics.median(one.end_s - one.start_s for one in cues) > LONG_S:
        warnings.append("its whole numbers are read as milliseconds; name columns start_s, end_s")
        cues = [c._replace(start_s=c.start_s / 1000, end_s=c.end_s / 1000) for c in cues]
    if timeless:
        warnings.append(
            f"{counted(len(timeless), 'row')} without times left out: line {timeless[0]}"
        )
    own = [True] * len(cues)
    if video is not None and "video" in columns and not any(own := _those_of(video, of["video"])):
        listed = ", ".join(map(quoted, sorted(set(of["video"]))[:3]))
        column = columns["video"].name
        what = f"no row is for {printable(video.name)}; its column {column} has {listed}"
        fail(name, f"{what}; correct it, or remove the column")
    tiers = defaultdict(list)
    for cue, tier in itertools.compress(zip(cues, of["tier"], strict=True), own):
        tiers[tier].append(cue)
    return tiers


def _separator(text: str) -> str:
    """What separates the cells: that by which most names of columns are known."""
    return max("\t;,", key=lambda separator: len(_columns(_first_cells(text, separator))))


def _header(text: str) -> list[str]:
    return _first_cells(text, _separator(text))


def _first_cells(text: str, separator: str) -> list[str]:
    """The cells of the first line that is not blank."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    with suppress(csv.Error):  # a cell that is too long
        return next(csv.reader([line], delimiter=separator), [])
    return []


def _columns(header: Sequence[str]) -> dict[str, _Column]:
    """The first column of each kind."""
    found: dict[str, _Column] = {}
    for place, cell in enumerate(header[:MAX_COLUMNS]):
        words = re.sub(r"[\W_]+", " ", cell.lower()).strip()
        for kind, pattern in _COLUMNS.items():
            if match := pattern.fullmatch(words):
                unit = match.groupdict().get("unit") or ""
                found.setdefault(kind, _Column(place, cell.strip(), unit))
    return found


def _time_s(cell: str, column: _Column, where: str) -> float:
    """A cell with a clock time, or with a number that may have a decimal comma."""
    if ":" in cell:
        return clock_seconds(cell, where)
    value = number(cell if "." in cell else cell.replace(",", "."))
    if value is None:
        fail(where, f"{column.name} {quoted(cell)} is not a number; write seconds like 62.345")
    return value / 1000 if column.unit.startswith("m") else value


def _those_of(video: Path, names: Sequence[str]) -> list[bool]:
    """Which of ``names`` (a path, or the end of one) stand for ``video``: those that are the end of
    its path, or else the whole path of another machine with the longest end in common."""

    def parts(path: str) -> tuple[str, ...]:
        folded = unicodedata.normalize("NFC", path).casefold()
        normal = os.path.normpath(folded.replace("\\", "/"))
        return tuple(part for part in PurePosixPath(normal).parts[::-1] if part != "..")

    whole, stem = parts(os.path.abspath(video)), parts(video.stem)
    given = [(whole[0], *one[1:]) if one[:1] == stem else one for one in map(parts, names)]
    common = {one: [*map(eq, one, whole), False].index(False) for one in given}
    # From the end to the root, which is / or C: at the front of a whole path.
    known = [one for one in common if one and (one[-1][-1] in ":/" or common[one] == len(one))]
    rank = {one: (common[one] == len(one), common[one]) for one in known if common[one]}
    top = max(rank.values(), default=None)
    best = [one for one in rank if rank[one] == top]
    return [[one] == best for one in given]
