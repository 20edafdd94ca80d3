"""Tiers of annotation tools: the utterances of each face, none of which overlap."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from avsent.results import Result, UtteranceResult
from avsent.writers.text import one_line

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
