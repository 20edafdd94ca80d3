"""ELAN: the utterances as annotations that belong to the video (EAF 3.0)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TextIO, TypeAlias
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from avsent.errors import UsageError
from avsent.result.record import Result
from avsent.result.utterance import UtteranceResult
from avsent.result.writers.base import Writer, is_utf8
from avsent.text import one_line

# Beside what `one_line` escapes, XML forbids these two.
_NO_CHARACTERS = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}


@dataclass(frozen=True, slots=True)
class Span:
    """An utterance from ``start`` to ``end``, in units of the tier."""

    start: int
    end: int
    utterance: UtteranceResult


@dataclass(frozen=True, slots=True)
class Tier:
    """``name`` tells whose utterances these are, such as ``track 1``; ``spans`` follow each other
    and never overlap."""

    name: str
    track: int | None
    spans: tuple[Span, ...]


def tiers_of(result: Result, units: int) -> tuple[Tier, ...]:
    """The utterances by face, those without a face last, times in whole ``units`` of a second.

    Where utterances of one face overlap, the later one goes to a further tier: ``track 1 (2)``.
    Every span lasts for at least one unit, and none begins before the file does.
    """
    found: list[Tier] = []
    tracks = {utterance.track for utterance in result.utterances}
    for track in sorted(tracks, key=lambda track: (track is None, track)):
        name = "no face" if track is None else f"track {track}"
        own = (utterance for utterance in result.utterances if utterance.track == track)
        for number, lane in enumerate(_lanes(own, units), start=1):
            found.append(Tier(name if number == 1 else f"{name} ({number})", track, tuple(lane)))
    return tuple(found)


def label_of(utterance: UtteranceResult) -> str:
    """``positive +0.63``."""
    return annotation(f"{utterance.sentiment} {round(utterance.score, 2) + 0.0:+.2f}")


def annotation(text: str) -> str:
    """The text in one line, of characters that every such tool reads."""
    return one_line(text).translate(_NO_CHARACTERS)


def _lanes(utterances: Iterable[UtteranceResult], units: int) -> list[list[Span]]:
    lanes: list[list[Span]] = []
    for utterance in sorted(utterances, key=lambda utterance: utterance.start_s):
        start = max(0, round(utterance.start_s * units))
        span = Span(start, max(round(utterance.end_s * units), start + 1), utterance)
        for lane in lanes:
            if lane[-1].end <= start:
                lane.append(span)
                break
        else:
            lanes.append([span])
    return lanes


UNITS = 1000
"""ELAN counts in milliseconds."""
SENTIMENT, TEXT = "sentiment", "text"
"""Kinds of tiers."""
# The format demands a date; without the time of writing the same result gives the same file.
_DATE = "1970-01-01T00:00:00+00:00"
_SCHEMA = {
    "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation": (
        "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
    )
}
_MIME_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".wav": "audio/x-wav",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".ogg": "audio/ogg",
    ".flac": "audio/flac",
}
_ASSOCIATION = "Symbolic_Association"
_FIRST_LINE = '<?xml version="1.0" encoding="UTF-8"?>\n'


class EafWriter(Writer):
    """For each face a tier of label and score; below it one of the text, if the user gave any."""

    extension = "eaf"
    combines = False

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the one result as a document of its own."""
        result, *others = results
        if others:
            raise UsageError("an .eaf file is for one video; name a folder with -o")
        document = _document(result)
        indent(document)
        # What a file of another encoding cannot hold stands as a number.
        text = tostring(document, "unicode" if is_utf8(file) else "us-ascii")
        if isinstance(text, bytes):
            text = text.decode("ascii")
        file.write(f"{_FIRST_LINE}{text}\n")


def _document(result: Result) -> Element:
    document = Element(
        "ANNOTATION_DOCUMENT",
        {"AUTHOR": "avsent", "DATE": _DATE, "FORMAT": "3.0", "VERSION": "3.0", **_SCHEMA},
    )
    header = SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    name = PurePath(result.source).name
    SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=_media_url(result.source),
        MIME_TYPE=_MIME_TYPES.get(PurePath(name).suffix.lower(), "unknown"),
        RELATIVE_MEDIA_URL=_beside(result.source),
    )
    tiers = tiers_of(result, UNITS)
    slots = _time_order(SubElement(document, "TIME_ORDER"), tiers)
    numbers = itertools.count(1)
    for tier in tiers:
        _add_tier(document, tier, slots, numbers)
    if not tiers:
        SubElement(document, "TIER", LINGUISTIC_TYPE_REF=SENTIMENT, TIER_ID=SENTIMENT)
    last = SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    last.text = str(next(numbers) - 1)
    model = SubElement(header, "PROPERTY", NAME="avsent model")
    model.text = annotation(result.model.name)
    _add_types(document)
    return document


def _media_url(source: str) -> str:
    """Where the video is now. ELAN looks beside its own file, too, where there is none."""
    if not os.path.exists(source):
        return _beside(source)
    return Path(os.path.abspath(source)).as_uri()


def _beside(source: str) -> str:
    return "./" + quote(os.fsencode(PurePath(source).name))


def _time_order(parent: Element, tiers: Sequence[Tier]) -> dict[tuple[int, bool], str]:
    """Add all times in their order; the names of the slots by (id of the span, whether its end)."""
    times = [
        # At the same time what ends comes before what begins.
        (time, not is_end, number, id(span))
        for number, span in enumerate(span for tier in tiers for span in tier.spans)
        for time, is_end in ((span.start, False), (span.end, True))
    ]
    slots = {}
    for count, (time, begins, _, span) in enumerate(sorted(times), start=1):
        slots[span, not begins] = f"ts{count}"
        SubElement(parent, "TIME_SLOT", TIME_SLOT_ID=f"ts{count}", TIME_VALUE=str(time))
    return slots


def _add_tier(
    document: Element,
    tier: Tier,
    slots: dict[tuple[int, bool], str],
    numbers: Iterator[int],
) -> None:
    """Add the utterances of a face, and below them their texts."""
    who = {} if tier.track is None else {"PARTICIPANT": f"track {tier.track}"}
    identity = f"{SENTIMENT} {tier.name}"
    about = {"LINGUISTIC_TYPE_REF": SENTIMENT, **who, "TIER_ID": identity}
    element = SubElement(document, "TIER", about)
    texts: list[tuple[str, str]] = []
    for span, number in zip(tier.spans, numbers, strict=False):
        one = SubElement(
            SubElement(element, "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            TIME_SLOT_REF1=slots[id(span), False],
            TIME_SLOT_REF2=slots[id(span), True],
        )
        SubElement(one, "ANNOTATION_VALUE").text = label_of(span.utterance)
        text = annotation(span.utterance.text or "")
        if text:
            texts.append((f"a{number}", text))
    if not texts:
        return
    about = {"LINGUISTIC_TYPE_REF": TEXT, "PARENT_REF": identity, **who}
    element = SubElement(document, "TIER", {**about, "TIER_ID": f"{TEXT} {tier.name}"})
    for (parent, text), number in zip(texts, numbers, strict=False):
        one = SubElement(
            SubElement(element, "ANNOTATION"),
            "REF_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            ANNOTATION_REF=parent,
        )
        SubElement(one, "ANNOTATION_VALUE").text = text


def _add_types(document: Element) -> None:
    SubElement(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=SENTIMENT,
        TIME_ALIGNABLE="true",
    )
    SubElement(
        document,
        "LINGUISTIC_TYPE",
        CONSTRAINTS=_ASSOCIATION,
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=TEXT,
        TIME_ALIGNABLE="false",
    )
    SubElement(
        document,
        "CONSTRAINT",
        DESCRIPTION="1-1 association with a parent annotation",
        STEREOTYPE=_ASSOCIATION,
    )


UNITS = 1_000_000
"""Times are written in seconds, to the microsecond."""

_Content: TypeAlias = Callable[[UtteranceResult], str]


class TextGridWriter(Writer):
    """For each face the tiers sentiment, score and, if the user gave any, text; every tier covers
    the whole file, with empty intervals where nothing is said."""

    extension = "TextGrid"
    combines = False

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the one result as a TextGrid of its own."""
        result, *others = results
        if others:
            raise UsageError("a .TextGrid file is for one video; name a folder with -o")
        tiers = tiers_of(result, UNITS)
        # Praat opens no file without time, and none without tiers.
        end = max([1, round(result.duration_s * UNITS), *(t.spans[-1].end for t in tiers)])
        named: list[tuple[str, Sequence[Span], _Content]] = []
        for tier in tiers:
            for kind, content in _contents(tier.spans):
                named.append((f"{kind} {tier.name}", tier.spans, content))
        named = named or [("sentiment", (), _sentiment)]
        file.write('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
        file.write(f"xmin = 0\nxmax = {_seconds(end)}\ntiers? <exists>\nsize = {len(named)}\n")
        file.write("item []:\n")
        for number, (name, spans, content) in enumerate(named, start=1):
            intervals = list(_intervals(spans, end, content))
            file.write(f'    item [{number}]:\n        class = "IntervalTier"\n')
            file.write(f"        name = {_quoted(name)}\n        xmin = 0\n")
            file.write(f"        xmax = {_seconds(end)}\n")
            file.write(f"        intervals: size = {len(intervals)}\n")
            for place, (start, stop, text) in enumerate(intervals, start=1):
                file.write(f"        intervals [{place}]:\n            xmin = {_seconds(start)}\n")
                file.write(f"            xmax = {_seconds(stop)}\n")
                file.write(f"            text = {_quoted(text)}\n")


def _contents(spans: Sequence[Span]) -> Iterable[tuple[str, _Content]]:
    yield "sentiment", _sentiment
    yield "score", lambda utterance: f"{round(utterance.score, 2) + 0.0:+.2f}"
    if any(annotation(span.utterance.text or "") for span in spans):
        yield "text", lambda utterance: annotation(utterance.text or "")


def _sentiment(utterance: UtteranceResult) -> str:
    return annotation(utterance.sentiment)


def _intervals(
    spans: Sequence[Span], end: int, content: _Content
) -> Iterable[tuple[int, int, str]]:
    """Start, end and text of each interval, from 0 to ``end`` without gaps."""
    reached = 0
    for span in spans:
        if span.start > reached:
            yield reached, span.start, ""
        yield span.start, span.end, content(span.utterance)
        reached = span.end
    if reached < end:
        yield reached, end, ""


def _seconds(time: int) -> str:
    # Whole numbers, so that one interval ends exactly where the next begins.
    whole, rest = divmod(time, UNITS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    """As Praat quotes: what is doubled stands for itself."""
    return '"' + text.replace('"', '""') + '"'
