"""The annotations of one tier of an ELAN (.eaf) or Praat (.TextGrid) file."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import TypeVar
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np

from avsent.extraction.utterances.subtitles import Cue, fail
from avsent.text import counted, number, printable, quoted

_SILENCE = frozenset({"", "#", "sil", "sp", "<sil>", "<p:>", "silent", "silence"})
"""What aligners write where nobody speaks."""
_PRAAT_TOKEN = re.compile(r'!.*|"[^"]*(?:""[^"]*)*"|\S+')  # a comment, a text, anything else

MAX_DEPTH = 20  # of tiers below tiers; references of broken files form circles

_T = TypeVar("_T")


def read_eaf(text: str, name: str, tier: str | None, video: str, warnings: list[str]) -> list[Cue]:
    """The annotations of a tier of an ELAN file, in seconds of the media file named ``video``.

    An annotation that refers to another one has the times of that; annotations with the same times
    are one cue; missing times are set evenly between those beside them. ``tier``: its name, None
    for the only one with annotations, not counting those below others. Raises ``BoundariesError``.
    """
    if "<!DOCTYPE" in text:  # it could define entities without end
        fail(name, "has a DOCTYPE, which no ELAN file has; save it with ELAN")
    try:
        root = ElementTree.fromstring(re.sub(r'\sxmlns="[^"]*"', "", text, count=1))
    except (ElementTree.ParseError, ValueError) as error:
        fail(name, f"not XML ({printable(error)}); save it with ELAN")
    if any("frames" in one.get("TIME_UNITS", "") for one in root.iter("HEADER")):
        fail(name, "its times are counted in frames; save it with ELAN, in milliseconds")
    media = list(root.iter("MEDIA_DESCRIPTOR"))
    own = [m for m in media if PurePosixPath(unquote(m.get("MEDIA_URL", ""))).name == video]
    # The place in the media that is the annotations' time zero.
    origin_ms = sum(number(m.get("TIME_ORIGIN", "")) or 0.0 for m in (own or media)[:1])
    slots = {one.get("TIME_SLOT_ID"): one.get("TIME_VALUE") for one in root.iter("TIME_SLOT")}
    tiers = {
        one.get("TIER_ID", ""): [note for holder in one.iter("ANNOTATION") for note in holder]
        for one in root.iter("TIER")
    }
    by_id = {note.get("ANNOTATION_ID"): note for notes in tiers.values() for note in notes}
    if tier is None:
        below = {one.get("TIER_ID", "") for one in root.iter("TIER") if one.get("PARENT_REF")}
        tiers = {one: notes for one, notes in tiers.items() if one not in below}
    spans = []
    for note in choose(tiers, name, tier):
        timed = note
        for _ in range(MAX_DEPTH):
            timed = by_id.get(timed.get("ANNOTATION_REF", ""), timed)
        spans.append((note, [timed.get(f"TIME_SLOT_REF{n}", "") for n in (1, 2)]))
    used = list(dict.fromkeys(slot for _, both in spans for slot in both))
    times = [number(slots.get(slot) or "") for slot in used]
    known = {-1: math.nan} | {n: ms for n, ms in enumerate(times) if ms is not None}
    # Between them evenly, as ELAN shows the parts of a subdivision.
    evenly = np.interp(range(len(used)), [*known], [*known.values()], right=math.nan)
    ms_of = dict(zip(used, evenly.tolist(), strict=True))
    words = defaultdict(list)
    for note, both in spans:
        start_s, end_s = ((ms_of[slot] + origin_ms) / 1000 for slot in both)
        if math.isnan(start_s + end_s):
            which = quoted(note.get("ANNOTATION_ID", ""))
            fail(name, f"the annotation {which} has no time; align it in ELAN")
        words[start_s, end_s].append(note.findtext("ANNOTATION_VALUE") or "")
    if lacking := times.count(None):
        warnings.append(f"{counted(lacking, 'unaligned time')} set evenly between the aligned ones")
    return [Cue(name, start_s, end_s, " ".join(said)) for (start_s, end_s), said in words.items()]


def read_textgrid(text: str, name: str, tier: str | None) -> list[Cue]:
    """The intervals with text of a tier of a Praat file, long or short; points are no utterances.

    As Praat does, it reads the texts in quotes and the numbers that stand free, and nothing else.
    ``tier`` as in :func:`read_eaf`. Raises ``BoundariesError``.
    """
    found = (token for token in _PRAAT_TOKEN.findall(text) if token[0] != "!")
    tokens = iter([t for t in found if t[0] in '"<' or number(t) is not None])

    broken = "not a whole TextGrid; save it with Praat, as a text file"

    def words() -> str:
        token = next(tokens, "")
        if not (len(token) > 1 and token[0] == token[-1] == '"'):
            fail(name, broken)
        return token[1:-1].replace('""', '"')

    def value() -> float:
        if (found := number(next(tokens, ""))) is None:
            fail(name, broken)
        return found

    tiers: dict[str, list[Cue]] = {}
    if not words().startswith("ooTextFile") or words() != "TextGrid":
        fail(name, broken)
    value(), value(), next(tokens, "")
    for _ in range(int(value())):
        points, cues = words() == "TextTier", tiers.setdefault(words(), [])
        value(), value()
        for _ in range(int(value())):
            start_s = value()
            cue = Cue(name, start_s, start_s if points else value(), words())
            if not points and cue.text.strip().casefold() not in _SILENCE:
                cues.append(cue)
    return choose(tiers, name, tier)


def choose(tiers: Mapping[str, list[_T]], name: str, tier: str | None) -> list[_T]:
    """What is on the tier of this name, by default on the only one that has anything."""
    filled = [one for one in tiers if tiers[one]]
    asked = [one for one in filled if tier is None or one.casefold() == tier.casefold()]
    if tier is not None and tier in tiers:
        asked = [tier]
    if len(asked) > 1 or (not asked and tier is not None):
        has = f"its tiers are {', '.join(map(quoted, filled[:9]))}"
        wrong = "has several tiers" if tier is None else f"has no tier {quoted(tier)}"
        hint = f"{wrong}: {has}; name one with --tier" if filled else f"{wrong} with annotations"
        fail(name, hint)
    return tiers[asked[0]] if asked else []
