"""Files for ELAN (EAF 3.0) and Praat (TextGrid): the utterances as annotations of the video."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TextIO, TypeAlias
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from avsent.result.record import Result, UtteranceResult, lanes
from avsent.result.writers.data import Writer, is_utf8
from avsent.text import one_line, score_text

ELAN_UNITS = 1000  # a second in ELAN's milliseconds
PRAAT_UNITS = 1_000_000  # Praat's times are written in seconds, to the microsecond
SENTIMENT, SCORE, TEXT = "sentiment", "score", "text"  # kinds of tiers
# Besides what `one_line` escapes, XML forbids these two.
_NOT_IN_XML = {0xFFFE: "\\ufffe", 0xFFFF: "\\uffff"}


@dataclass(frozen=True, slots=True)
class Span:
    """An utterance from ``start`` to ``end``, in units of the tier."""

    start: int
    end: int
    utterance: UtteranceResult


@dataclass(frozen=True, slots=True)
class Tier:
    """The utterances of one face, in their order and without overlaps; ``name``: ``track 1``."""

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
        spans = []
        for utterance in sorted(result.utterances, key=lambda utterance: utterance.start_s):
            if utterance.track == track:
                start = max(0, round(utterance.start_s * units))
                spans.append(Span(start, max(round(utterance.end_s * units), start + 1), utterance))
        chosen = lanes([(span.start, span.end) for span in spans])
        name = "no face" if track is None else f"track {track}"
        for lane in range(max(chosen) + 1):
            own = tuple(span for span, place in zip(spans, chosen, strict=True) if place == lane)
            found.append(Tier(f"{name} ({lane + 1})" if lane else name, track, own))
    return tuple(found)


def annotation(text: str) -> str:
    """The text in one line, of characters that both programs read."""
    return one_line(text).translate(_NOT_IN_XML)


def label_of(utterance: UtteranceResult) -> str:
    """``positive +0.63``; ``positive? +0.06`` where the decision is unsure."""
    return annotation(f"{utterance.marked_label} {score_text(utterance.score)}")


# --- ELAN ----------------------------------------------------------------------------------------

_DOCUMENT = {
    "AUTHOR": "avsent",
    # The format demands a date; without the time of writing the same result gives the same file.
    "DATE": "1970-01-01T00:00:00+00:00",
    "FORMAT": "3.0",
    "VERSION": "3.0",
    "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation": (
        "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
    ),
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


class EafWriter(Writer):
    """For each face a tier of label and score; below it one of the text, if the user gave any."""

    extension = "eaf"
    combines = False

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        document = _eaf_document(self.only(results))
        indent(document)
        # What a file of another encoding cannot hold is written as a number.
        text = tostring(document, "unicode" if is_utf8(file) else "us-ascii")
        if isinstance(text, bytes):
            text = text.decode("ascii")
        file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n')


def _eaf_document(result: Result) -> Element:
    document = Element("ANNOTATION_DOCUMENT", _DOCUMENT)
    header = SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    beside = "./" + quote(os.fsencode(PurePath(result.source).name))
    # ELAN also looks beside its own file.
    there = os.path.exists(result.source)
    SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        MEDIA_URL=Path(os.path.abspath(result.source)).as_uri() if there else beside,
        MIME_TYPE=_MIME_TYPES.get(PurePath(result.source).suffix.lower(), "unknown"),
        RELATIVE_MEDIA_URL=beside,
    )
    tiers = tiers_of(result, ELAN_UNITS)
    slots = _add_time_order(document, tiers)
    count = 0
    for tier in tiers:
        count = _add_tier(document, tier, slots, count)
    if not tiers:
        SubElement(document, "TIER", LINGUISTIC_TYPE_REF=SENTIMENT, TIER_ID=SENTIMENT)
    SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(count)
    SubElement(header, "PROPERTY", NAME="avsent model").text = annotation(result.model.name)
    common = {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": SENTIMENT}
    SubElement(document, "LINGUISTIC_TYPE", common, TIME_ALIGNABLE="true")
    common = {"CONSTRAINTS": _ASSOCIATION, **common, "LINGUISTIC_TYPE_ID": TEXT}
    SubElement(document, "LINGUISTIC_TYPE", common, TIME_ALIGNABLE="false")
    described = "1-1 association with a parent annotation"
    SubElement(document, "CONSTRAINT", DESCRIPTION=described, STEREOTYPE=_ASSOCIATION)
    return document


def _add_time_order(document: Element, tiers: Sequence[Tier]) -> dict[tuple[int, bool], str]:
    """Add all times in their order; returns the slots by (id of the span, whether its end)."""
    times = [
        # At the same time, what ends comes before what begins.
        (time, not is_end, number, id(span))
        for number, span in enumerate(span for tier in tiers for span in tier.spans)
        for time, is_end in ((span.start, False), (span.end, True))
    ]
    parent, slots = SubElement(document, "TIME_ORDER"), {}
    for count, (time, begins, _, span) in enumerate(sorted(times), start=1):
        slots[span, not begins] = f"ts{count}"
        SubElement(parent, "TIME_SLOT", TIME_SLOT_ID=f"ts{count}", TIME_VALUE=str(time))
    return slots


def _add_tier(document: Element, tier: Tier, slots: dict[tuple[int, bool], str], count: int) -> int:
    """Add the utterances of a face, and below them their texts; counts the annotations."""
    who = {} if tier.track is None else {"PARTICIPANT": f"track {tier.track}"}
    name = f"{SENTIMENT} {tier.name}"
    about = {"LINGUISTIC_TYPE_REF": SENTIMENT, **who, "TIER_ID": name}
    element = SubElement(document, "TIER", about)
    texts: list[tuple[str, str]] = []
    for span in tier.spans:
        count += 1
        start, end = slots[id(span), False], slots[id(span), True]
        about = {"ANNOTATION_ID": f"a{count}", "TIME_SLOT_REF1": start, "TIME_SLOT_REF2": end}
        _annotate(element, "ALIGNABLE_ANNOTATION", about, label_of(span.utterance))
        if text := annotation(span.utterance.text or ""):
            texts.append((f"a{count}", text))
    if texts:
        about = {"LINGUISTIC_TYPE_REF": TEXT, "PARENT_REF": name, **who}
        element = SubElement(document, "TIER", about, TIER_ID=f"{TEXT} {tier.name}")
    for parent, text in texts:
        count += 1
        about = {"ANNOTATION_ID": f"a{count}", "ANNOTATION_REF": parent}
        _annotate(element, "REF_ANNOTATION", about, text)
    return count


def _annotate(tier: Element, kind: str, about: dict[str, str], text: str) -> None:
    one = SubElement(SubElement(tier, "ANNOTATION"), kind, about)
    SubElement(one, "ANNOTATION_VALUE").text = text


# --- Praat ---------------------------------------------------------------------------------------

_Content: TypeAlias = Callable[[UtteranceResult], str]


class TextGridWriter(Writer):
    """For each face the tiers sentiment, score and, if the user gave any, text; every tier covers
    the whole file, with empty intervals where nobody speaks."""

    extension = "TextGrid"
    combines = False

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        result = self.only(results)
        tiers = tiers_of(result, PRAAT_UNITS)
        # Praat opens no file without time, and none without tiers.
        end = max([1, round(result.duration_s * PRAAT_UNITS), *(t.spans[-1].end for t in tiers)])
        named = [
            (f"{kind} {tier.name}", tier.spans, content)
            for tier in tiers
            for kind, content in _CONTENTS.items()
            if kind != TEXT or any(content(span.utterance) for span in tier.spans)
        ] or [(SENTIMENT, (), _CONTENTS[SENTIMENT])]
        file.write('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
        file.write(f"xmin = 0\nxmax = {_seconds(end)}\ntiers? <exists>\nsize = {len(named)}\n")
        file.write("item []:\n")
        for number, (name, spans, content) in enumerate(named, start=1):
            intervals = _intervals(spans, end, content)
            file.write(f'    item [{number}]:\n        class = "IntervalTier"\n')
            file.write(f"        name = {_quoted(name)}\n        xmin = 0\n")
            file.write(f"        xmax = {_seconds(end)}\n")
            file.write(f"        intervals: size = {len(intervals)}\n")
            for place, (start, stop, text) in enumerate(intervals, start=1):
                file.write(f"        intervals [{place}]:\n            xmin = {_seconds(start)}\n")
                file.write(f"            xmax = {_seconds(stop)}\n")
                file.write(f"            text = {_quoted(text)}\n")


_CONTENTS: dict[str, _Content] = {
    SENTIMENT: lambda utterance: annotation(utterance.marked_label),
    SCORE: lambda utterance: score_text(utterance.score),
    TEXT: lambda utterance: annotation(utterance.text or ""),
}


def _intervals(spans: Sequence[Span], end: int, content: _Content) -> list[tuple[int, int, str]]:
    """Start, end and text of each interval, from 0 to ``end`` without gaps."""
    found, reached = [], 0
    for span in spans:
        if span.start > reached:
            found.append((reached, span.start, ""))
        found.append((span.start, span.end, content(span.utterance)))
        reached = span.end
    return found if reached >= end else [*found, (reached, end, "")]


def _seconds(time: int) -> str:
    # Whole numbers, so that one interval ends exactly where the next begins.
    whole, rest = divmod(time, PRAAT_UNITS)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
