"""Where each face is at any time, between the analysed frames."""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from avsent.extraction.faces.types import Box, Sighting

MAX_GAP_S = 0.35
"""A face not seen for longer was away: no box is drawn across the gap."""

_GAP_IN_INTERVALS = 1.75  # where fewer pictures were analysed: one missing is a gap
_TOLERANCE_S = 0.002  # times that went through a file are rounded


class FaceBoxes:
    """The boxes of all tracks over time, linear between two sightings of the same face."""

    def __init__(self, sightings: Sequence[Sighting]) -> None:
        by_track: dict[int, list[Sighting]] = defaultdict(list)
        for sighting in sorted(sightings, key=lambda seen: seen.time_s):
            by_track[sighting.track].append(sighting)
        self._times = {track: [s.time_s for s in seen] for track, seen in by_track.items()}
        self._boxes = {track: [s.box for s in seen] for track, seen in by_track.items()}
        gaps_s = [b - a for times in self._times.values() for a, b in pairwise(times)]
        usual_s = statistics.median(gaps_s) if gaps_s else 0.0
        self.max_gap_s = max(MAX_GAP_S, _GAP_IN_INTERVALS * usual_s)

    def at(self, time_s: float) -> dict[int, Box]:
        """Track → box of every face that is to be seen at ``time_s``."""
        found = {track: self._box(track, time_s) for track in self._times}
        return {track: box for track, box in found.items() if box is not None}

    def between(self, start_s: float, end_s: float) -> list[Box]:
        """All boxes seen from ``start_s`` to ``end_s``, of all faces."""
        return [
            box
            for track, times in self._times.items()
            for box in self._boxes[track][bisect_right(times, start_s) : bisect_right(times, end_s)]
        ]

    def _box(self, track: int, time_s: float) -> Box | None:
        times, boxes = self._times[track], self._boxes[track]
        after = bisect_right(times, time_s)
        if after > 0 and time_s - times[after - 1] <= _TOLERANCE_S:
            return boxes[after - 1]
        if after < len(times) and times[after] - time_s <= _TOLERANCE_S:
            return boxes[after]
        if after in (0, len(times)) or times[after] - times[after - 1] > self.max_gap_s:
            return None
        share = (time_s - times[after - 1]) / (times[after] - times[after - 1])
        left, top, right, bottom = (
            a + share * (b - a) for a, b in zip(boxes[after - 1], boxes[after], strict=True)
        )
        return left, top, right, bottom
