"""Which utterances are on at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from avsent.result.utterance import UtteranceResult


class Schedule:
    """The utterances of a result, found by time; they may overlap."""

    def __init__(self, utterances: Sequence[UtteranceResult]) -> None:
        self._utterances = sorted(utterances, key=lambda u: (u.start_s, u.end_s, u.index))
        self._starts = [utterance.start_s for utterance in self._utterances]
        self._latest_ends = list(accumulate((u.end_s for u in self._utterances), max))

    def at(self, time_s: float) -> tuple[UtteranceResult, ...]:
        """Those that have begun and not ended at ``time_s``, the earliest first."""
        found = []
        position = bisect_right(self._starts, time_s) - 1
        # Before this position, everything is over.
        while position >= 0 and self._latest_ends[position] > time_s:
            if self._utterances[position].end_s > time_s:
                found.append(self._utterances[position])
            position -= 1
        return tuple(reversed(found))


def lanes(utterances: Sequence[UtteranceResult], most: int) -> tuple[list[int], int]:
    """A lane for each of the utterances, so that those of one lane do not overlap, and the number
    of lanes; with more than ``most`` at once, the last lane is shared."""
    ends_s: list[float] = []
    chosen: dict[int, int] = {}
    for number in sorted(range(len(utterances)), key=lambda n: utterances[n].start_s):
        utterance = utterances[number]
        free = [lane for lane, end_s in enumerate(ends_s) if end_s <= utterance.start_s]
        if free:
            lane = free[0]
        elif len(ends_s) < most:
            lane = len(ends_s)
            ends_s.append(0.0)
        else:
            lane = most - 1
        ends_s[lane] = max(ends_s[lane], utterance.end_s)
        chosen[number] = lane
    return [chosen[number] for number in range(len(utterances))], max(1, len(ends_s))
