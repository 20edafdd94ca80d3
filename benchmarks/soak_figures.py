"""What the samples of a long run come to: memory against position, slopes, what is constant."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from soak_watch import Sample

WARM_SHARE = 1 / 12
"""Of a run's media: what is loaded when it is first needed, and pools that fill up."""
MB = 1e6
FLAT_SHARE = 0.02
"""Memory is flat if an hour of video adds less than this share to it."""


@dataclass(frozen=True, slots=True)
class Course:
    """One run's samples; ``steady``: those after the start and before the end of its media."""

    samples: tuple[Sample, ...]
    steady: tuple[Sample, ...]

    def memory(self, sample: Sample) -> int:
        """What is held against position: of one process its resident memory, of several what
        they take together, shared pages counted once."""
        return sample.pss if any(one.processes > 1 for one in self.steady) else sample.rss

    @property
    def slope(self) -> float:
        """Bytes for an hour of media: least squares through the steady samples."""
        return self._slope(self.steady)

    @property
    def late_slope(self) -> float:
        """The same of the second half of the steady samples."""
        return self._slope(self.steady[len(self.steady) // 2 :])

    def _slope(self, samples: Sequence[Sample]) -> float:
        hours = [(one.position_s or 0.0) / 3600 for one in samples]
        return statistics.linear_regression(hours, [self.memory(one) for one in samples]).slope

    @property
    def thirds(self) -> tuple[float, float, float]:
        """Mean memory in the first, second and last third of the steady samples."""
        held = [self.memory(one) for one in self.steady]
        cuts = [round(len(held) * share / 3) for share in range(4)]
        first, second, third = (statistics.fmean(held[a:b]) for a, b in pairwise(cuts))
        return first, second, third

    @property
    def flat(self) -> bool:
        """Whether an hour adds next to nothing."""
        return self.slope < FLAT_SHARE * self.thirds[0]

    def near(self, position_s: float) -> float:
        """Mean memory of the steady samples closest to a position."""
        nearest = sorted(self.steady, key=lambda s: abs((s.position_s or 0.0) - position_s))[:15]
        return statistics.fmean(self.memory(one) for one in nearest)

    def spans(self, what: str) -> tuple[int, int, int]:
        """Least, greatest, and greatest in the last third, of a count in the steady samples."""
        counts = [getattr(one, what) for one in self.steady]
        return min(counts), max(counts), max(counts[len(counts) * 2 // 3 :])

    def grows(self, what: str) -> bool:
        """Whether a count is higher in the last third than ever in the first."""
        counts = [getattr(one, what) for one in self.steady]
        third = len(counts) // 3
        return max(counts[-third:]) > max(counts[:third])


def course(found: dict[str, Any]) -> Course:
    """The course of a run as it is kept."""
    samples = tuple(Sample(*values) for values in found["samples"])
    total_s = found["duration_s"]
    forward: list[Sample] = []
    least = total_s
    # A reader looks at the end of a file first; from there it comes back.
    for sample in reversed([one for one in samples if one.position_s is not None]):
        position_s = sample.position_s or 0.0
        if position_s <= least:
            least = position_s
            forward.append(sample)
    steady = [
        s
        for s in reversed(forward)
        if WARM_SHARE * total_s <= (s.position_s or 0) < 0.995 * total_s
    ]
    return Course(samples, tuple(steady))


def by_turn(starts: Sequence[float], turn_s: float, turns: int) -> list[list[float]]:
    """Starts of utterances within each turn of a video that is one clip again and again."""
    found: list[list[float]] = [[] for _ in range(turns)]
    for start_s in starts:
        found[min(turns - 1, int(start_s // turn_s))].append(start_s % turn_s)
    return found


def counts_of(turns: Sequence[Sequence[float]]) -> Counter[int]:
    """How many turns have how many utterances, but for the first and the last."""
    return Counter(len(starts) for starts in turns[1:-1])


def drift_s(turns: Sequence[Sequence[float]]) -> tuple[float, float]:
    """How far utterances begin from where they began in the second turn: the median over the
    last third of all turns, signed, and the share of those with a match within 0.1 s."""
    early = sorted(start for turn in turns[1:3] for start in turn)
    late = [start for turn in turns[len(turns) * 2 // 3 : -1] for start in turn]
    off = [min((start - one for one in early), key=abs) for start in late]
    near = [one for one in off if abs(one) <= 0.1]
    return (statistics.median(near) if near else math.nan), len(near) / max(1, len(off))
