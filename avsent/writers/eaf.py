"""ELAN: the utterances as annotations that belong to the video (EAF 3.0)."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TextIO
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from avsent.errors import UsageError
from avsent.results import Result
from avsent.writers.base import Writer, is_utf8
from avsent.writers.tiers import Tier, annotation, label_of, tiers_of

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
