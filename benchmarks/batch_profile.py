"""Where the time of one worker goes: stages, and parts of them, in one thread on one core."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_runs import run_warm, say
from looping import duration_s


@dataclass(frozen=True, slots=True)
class Profile:
    """One clip in a warm process. ``wall_s``, ``stages`` and ``parts``: medians of ``runs``;
    ``first_s``: the first prediction, which loads what is loaded once; ``faces``: seen, counted
    in all pictures looked at."""

    name: str
    media_s: float
    runs: int
    wall_s: float
    cpu_s: float
    import_s: float
    load_s: float
    first_s: float
    stages: dict[str, float]
    parts: dict[str, float]
    utterances: int
    faces: int

    @property
    def other_s(self) -> float:
        """Seconds in no stage."""
        return self.wall_s - sum(self.stages.values())

    @property
    def warm_up_s(self) -> float:
        """What the first prediction took more than later ones."""
        return max(0.0, self.first_s - self.wall_s)

    @property
    def core_s(self) -> float:
        """Seconds of a core for a second of video: other programs do not change that much."""
        return self.cpu_s / self.media_s

    @property
    def busy(self) -> float:
        """Share of the time in which the thread was on its core; 1 on a quiet machine."""
        return self.cpu_s / self.wall_s

    def dearest(self, count: int = 3) -> list[tuple[str, float]]:
        """The most expensive stages and their shares of the time."""
        stages = sorted(self.stages.items(), key=lambda item: -item[1])[:count]
        return [(name, seconds / self.wall_s) for name, seconds in stages]


def measure_profile(clip: Path, core: int, runs: int) -> Profile:
    """As a worker of a batch does it: one core, one thread, so that stages add up."""
    say(f"stages of {clip.name} on one core")
    told, _ = run_warm([clip], [core], "--profile", "--runs", str(runs))
    turns = told["turns"]
    return Profile(
        name=clip.name,
        media_s=duration_s(clip),
        runs=runs,
        wall_s=statistics.median(turn["wall_s"] for turn in turns),
        cpu_s=statistics.median(turn["cpu_s"] for turn in turns),
        import_s=told["import_s"],
        load_s=told["load_s"],
        first_s=told["first_s"],
        stages=_medians([turn["stages"] for turn in turns]),
        parts=_medians([turn["parts"] for turn in turns]),
        utterances=turns[0]["utterances"],
        faces=turns[0]["faces"],
    )


def _medians(turns: Sequence[dict[str, Any]]) -> dict[str, float]:
    names = dict.fromkeys(name for turn in turns for name in turn)
    return {name: statistics.median(turn.get(name, 0.0) for turn in turns) for name in names}
