"""Praat: the utterances as intervals of a TextGrid, in the long text format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TextIO, TypeAlias

from avsent.errors import UsageError
from avsent.results import Result, UtteranceResult
from avsent.writers.base import Writer
from avsent.writers.tiers import Span, annotation, tiers_of

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
